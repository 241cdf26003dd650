"""Refit the records shipped under examples/results/ and compare with what was forecast then.

`make demo-results`: seconds, no training. The held-out run's forecast was written and hashed before
that run started; beside it stands what today's fit of the same pilots says. A copy is refitted: the
shipped analysis is the one that the forecast was made from.
"""

import shutil
import sys
import tempfile
from pathlib import Path

from isoflop.data import read_card
from isoflop.fitting import Forecast, make_forecast
from isoflop.runs.folder import read_json
from isoflop.study import StudyFolder, fit_study, open_study
from isoflop.study.links import actual_loss, forecast_path, ladder_of

RESULTS = Path("examples/results")


def compare(study: StudyFolder) -> str:
    """One line: the forecast as frozen, as refitted now, and the truth."""
    ladder = ladder_of(study, read_card(study.data))
    if ladder.holdout is None:
        raise SystemExit(f"{study.path}: has no held-out run")
    path = forecast_path(study, ladder.holdout.branches[0])
    frozen = Forecast.from_json(read_json(path, remedy="Restore it."))
    again = make_forecast(fit_study(study), frozen.n_params, frozen.n_tokens, frozen.flops)
    actual = actual_loss(study, ladder.holdout)
    if actual is None:
        raise SystemExit(f"{study.path}: no record of the held-out run")
    loss = frozen.loss
    return (
        f"{study.path.name}: forecast={loss.value:.4f} low={loss.low:.4f} high={loss.high:.4f} "
        f"actual={actual:.4f} abs_error_pct={100 * abs(loss.value / actual - 1):.2f} "
        f"halfwidth_pct={50 * (loss.high - loss.low) / loss.value:.2f} "
        f"refitted={again.loss.value:.4f} [{again.loss.low:.4f}, {again.loss.high:.4f}]"
    )


def main() -> None:
    """Print one line a shipped study."""
    for folder in sorted(path.parent for path in RESULTS.glob("*/runs")):
        with tempfile.TemporaryDirectory() as place:
            copy = Path(shutil.copytree(folder, Path(place) / folder.name))
            sys.stdout.write(compare(open_study(copy)) + "\n")


if __name__ == "__main__":
    main()
