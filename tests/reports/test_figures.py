"""Figures show sizes in order whatever order the trainings came in."""

import numpy as np

from isoflop.reports import Curve
from isoflop.reports.figures import loss_curves
from isoflop.reports.style import LIGHT, ramp


def curve(n_params: float) -> Curve:
    tokens = np.geomspace(1e4, 1e6, 20)
    return Curve(
        run=f"run{n_params}",
        label=f"N={n_params:,.0f}",
        n_tokens=tokens,
        loss=2 + 100 / n_params**0.3 + 50 / tokens**0.3,
        kind="branch",
        n_params=n_params,
    )


def test_loss_curves_are_coloured_and_named_by_size() -> None:
    figure = loss_curves([curve(n) for n in (131_072, 8_192, 26_112)])
    colours = {text.get_text(): text.get_color() for text in figure.axes[0].texts}
    expected = dict(zip(("N=8,192", "N=26,112", "N=131,072"), ramp(LIGHT, 3), strict=True))
    assert colours == expected
