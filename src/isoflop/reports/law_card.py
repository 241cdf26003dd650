"""The law card as files: JSON that reads back, and the same as Markdown for an appendix."""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop._errors import InputError
from isoflop._types import Interval, Problem
from isoflop.reports import numbers
from isoflop.reports.agreement import APPROACHES

if TYPE_CHECKING:
    from isoflop.fitting import LawCard

_MARK = "<!-- isoflop law card -->"
"""First line of the Markdown file: only a file that has it is written over."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~&$])")
_HEAD = 4096
"""Bytes of a file that show whether it is a card: the mark is at its beginning."""


def write_law_card(path: str | Path, card: "LawCard") -> tuple[Path, Path]:
    """Write the card as `path` (JSON) and, beside it, as Markdown; both paths.

    Raises:
        InputError: `path` does not end in .json, one of the files is there and no law card, or
            the place cannot be written.
    """
    from isoflop.fitting.card_json import card_to_text  # with it comes SciPy: plans do without

    path = check_place(path)
    files = ((path, card_to_text(card)), (path.with_suffix(".md"), card_markdown(card)))
    for file, text in files:
        temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
        try:
            temporary.write_bytes(text.encode("utf-8"))
            temporary.replace(file)
        except OSError as error:
            raise InputError(
                f"{file}: cannot be written ({error.strerror}). Name another place."
            ) from error
    return files[0][0], files[1][0]


def check_place(path: str | Path) -> Path:
    """The path, if a law card may be written there.

    Raises:
        InputError: it does not end in .json, its folder is not there, or a file that is no law
            card would be lost.
    """
    path = Path(path)
    if path.suffix != ".json":
        raise InputError(
            f"{path}: a law card ends in .json; the Markdown is written beside it. "
            f"Name it {path.name}.json."
        )
    if not path.parent.is_dir():
        raise InputError(f"{path.parent}: no such folder. Make it, or name another place.")
    from isoflop.fitting.card_json import KIND

    for file, mark in ((path, f'"kind": "{KIND}"'), (path.with_suffix(".md"), _MARK)):
        if file.exists() and not (file.is_file() and mark in _beginning(file)):
            raise InputError(f"{file}: is there and is no law card. Name another file.")
    return path


def read_law_card(path: str | Path, *, law: Callable[..., Any] | None = None) -> "LawCard":
    """The law card of a JSON file: `iso.plan(card, flops=...)` plans with it.

    Args:
        path: the file.
        law: the function of a law of one's own, where the card has one: a card holds no code.

    Raises:
        InputError: no such file, no law card, or a law that is not known here; the text names
            the file.
    """
    from isoflop.fitting.card_json import card_from_text

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        card = card_from_text(text)
        card = card if law is None else card.with_own(law)
        assert card.estimate.components  # its laws must be known here
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Check the path.") from error
    except (InputError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: {error}") from error
    return card


def card_markdown(card: "LawCard") -> str:
    """The card as Markdown: every word that came from a file is escaped."""
    parts = [_MARK, f"# Law card: {plain(card.target)}", _introduction(card)]
    for law in sorted(card.laws, key=lambda one: -one.weight):
        heading = f"## {plain(law.name)}, weight {law.weight:.3f}"
        parts += [heading, f"Law: {plain(law.formula)}", f"Source: {plain(law.source)}."]
        rows = tuple(
            (name, *_exact(value), law.units.get(name) or numbers.MISSING)
            for name, value in law.constants.items()
        )
        parts.append(_table(("constant", "value", "low", "high", "unit"), rows))
    parts += ["## The laws that competed", _scores(card)]
    if card.allocations:
        parts += ["## Optimum: N as C^a, D as C^b", _allocations(card)]
    parts += ["## Noise of log loss", _noise(card), "## Certificate", _certificate(card)]
    return "\n\n".join([*parts, "## Problems", _problems(card), "## Data", _data(card)]) + "\n"


def plain(text: str) -> str:
    """Text on one line that Markdown and HTML show as it is."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))


def _introduction(card: "LawCard") -> str:
    return (
        f"{card.n_runs} runs on {card.n_trunks} trunks, data SHA-256 "
        f"`{re.sub('[^0-9a-f]', '', card.record.data_sha256)}`. "
        f"Intervals: {numbers.level(card.level)}. The forecast is the geometric mean of the laws "
        f"below, by their weights; its interval holds draws, noise and the choice of law."
    )


def _table(header: tuple[str, ...], rows: tuple[tuple[str, ...], ...]) -> str:
    lines = [header, tuple("---" for _ in header), *(tuple(map(plain, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _exact(value: Interval) -> tuple[str, str, str]:
    """Eight digits of the value: printed with fewer, constants cannot be extrapolated."""
    return f"{value.value:.8g}", numbers.general(value.low, 4), numbers.general(value.high, 4)


def _scores(card: "LawCard") -> str:
    rows = tuple(
        (
            score.label,
            f"{score.weight:.3f}",
            numbers.percent(score.backtest),
            numbers.percent(score.in_sample),
        )
        for score in sorted(card.scores, key=lambda one: -one.weight)
    )
    return _table(("law", "weight", "back-test error", "in-sample error"), rows)


def _allocations(card: "LawCard") -> str:
    rows = tuple(
        (
            APPROACHES.get(one.approach, one.approach),
            numbers.interval(one.a),
            numbers.interval(one.b),
            ", ".join(one.problems) or "none",
        )
        for one in card.allocations
    )
    return _table(("approach", "a", "b", "problems"), rows)


def _noise(card: "LawCard") -> str:
    noise = card.record.noise
    rows = (
        ("shared by the runs of a trunk, sd", numbers.percent(noise.shared)),
        ("a run's own, sd", numbers.percent(noise.own)),
        ("of a new run in the forecast, sd", numbers.percent(card.sigma)),
        (
            "more of it beyond the runs, by the back-test, sd",
            f"{numbers.percent(card.spread)} at a log distance of "
            f"{numbers.general(card.spread_distance)}, in proportion",
        ),
    )
    return _table(("noise", "size"), rows)


def _certificate(card: "LawCard") -> str:
    one = card.certificate
    rows = (
        ("objective, its minimum", f"{card.record.objective}, {one.objective:.10g}"),
        ("converged", "yes" if one.converged else "no"),
        ("largest gradient, relative", numbers.general(one.gradient_norm, 2)),
        ("starts, share at the minimum", f"{one.starts}, {numbers.percent(one.share_reached)}"),
        ("condition number", numbers.general(one.condition_number)),
        ("at a bound", ", ".join(one.at_bound) or "none"),
    )
    return _table(("check", "value"), rows)


def _problems(card: "LawCard") -> str:
    if not (card.problems or card.further_problems):
        return "None."
    rows = tuple(
        (one.code, one.severity, where, one.text, one.remedy)
        for where, problems in (("forecast", card.problems), ("analysis", card.further_problems))
        for one in sorted(problems, key=_gravity)
    )
    return _table(("code", "severity", "of", "what", "remedy"), rows)


def _gravity(problem: Problem) -> int:
    return ("disqualifying", "warning", "note").index(problem.severity)


def _data(card: "LawCard") -> str:
    prior = ", ".join(card.record.prior)
    rows = (
        ("target", f"{card.target} [{card.unit or 'unit of the table'}]"),
        ("parameters counted as", card.n_params_convention),
        ("FLOPs counted as", card.flops_convention),
        *(
            (f"range of {name}", f"{numbers.general(low, 4)} to {numbers.general(high, 4)}")
            for name, (low, high) in card.ranges.items()
        ),
        ("exponents borrowed", prior or "none"),
        ("seed, draws", f"{card.record.seed}, {card.record.n_draws} ({card.record.resampling})"),
        ("isoflop", card.isoflop),
    )
    return _table(("what", "value"), rows)


def _beginning(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.read(_HEAD).decode("utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror}). Name another.") from error
