"""One look for every figure: two themes, a colour-blind-safe palette, the same bytes every time."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isoflop._errors import MissingExtraError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, slots=True, kw_only=True)
class Theme:
    """Colours of one rendering; the four accents are Okabe and Ito's, darkened or lightened."""

    ink: str
    muted: str
    grid: str
    paper: str
    blue: str
    orange: str
    green: str
    red: str
    ramp: tuple[str, ...]
    """Anchors of the ordered scale (small to large), monotone in lightness."""


LIGHT = Theme(
    ink="#1c2127",
    muted="#5b6570",
    grid="#e6e9ed",
    paper="#ffffff",
    blue="#0072b2",
    orange="#c75000",
    green="#00785a",
    red="#b3261e",
    ramp=("#e0a100", "#d0643c", "#a23b72", "#5c3a8c", "#1f2f6b"),
)
DARK = Theme(
    ink="#e6e9ed",
    muted="#9aa5b1",
    grid="#2b333c",
    paper="#14181d",
    blue="#56b4e9",
    orange="#f0a04b",
    green="#3ecf9b",
    red="#f2897f",
    ramp=("#6a76d9", "#a06ad0", "#dd6fa6", "#f59a76", "#ffd96a"),
)


@contextmanager
def styled(theme: Theme) -> Iterator[None]:
    """Matplotlib's settings while a figure is built or saved, restored afterwards.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        import matplotlib
    except ImportError as error:
        raise MissingExtraError("matplotlib", extra="plot", needed_for="A figure") from error
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # a reader's own matplotlibrc must not change the report
        parameters: Any = matplotlib.rcParams  # typed by key name since 3.11, by nothing before
        parameters.update(_settings(theme))
        yield


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure of the given size [inch] with an SVG canvas and no pyplot state."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def svg(figure: "Figure", theme: Theme = LIGHT) -> bytes:
    """The figure as SVG; equal figures give equal bytes (fixed salt, no date)."""
    buffer = io.BytesIO()
    with styled(theme):
        figure.savefig(
            buffer,
            format="svg",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    return buffer.getvalue()


def ramp(theme: Theme, n: int) -> Sequence[tuple[float, float, float, float]]:
    """`n` colours from small to large along the theme's ordered scale."""
    from matplotlib.colors import LinearSegmentedColormap

    colours = LinearSegmentedColormap.from_list("isoflop", list(theme.ramp))
    return [colours(0.5 if n == 1 else i / (n - 1)) for i in range(n)]


def _settings(theme: Theme) -> dict[str, Any]:
    return {
        # Outlines instead of text: the page looks alike wherever it is opened.
        "svg.fonttype": "path",
        "svg.hashsalt": "isoflop",
        "text.parse_math": False,  # a run may be named $\\alpha
        "font.family": ["DejaVu Sans"],
        "font.size": 9.0,
        "mathtext.fontset": "dejavusans",
        "figure.facecolor": theme.paper,
        "savefig.facecolor": theme.paper,
        "axes.facecolor": theme.paper,
        "axes.edgecolor": theme.muted,
        "axes.linewidth": 0.8,
        "axes.labelcolor": theme.ink,
        "axes.labelsize": 9.0,
        "axes.titlesize": 9.5,
        "axes.titlecolor": theme.ink,
        "axes.titlelocation": "left",
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "grid.color": theme.grid,
        "grid.linewidth": 0.7,
        "text.color": theme.ink,
        "xtick.color": theme.muted,
        "ytick.color": theme.muted,
        "xtick.labelsize": 8.0,
        "ytick.labelsize": 8.0,
        "xtick.minor.size": 0.0,
        "ytick.minor.size": 0.0,
        "lines.linewidth": 1.5,
        "lines.solid_capstyle": "round",
        "legend.frameon": False,
        "legend.fontsize": 8.0,
    }
