"""The forecast of a run from a study's pilots: their whole curves, none of the run's own."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from isoflop._errors import RunError
from isoflop._types import Table
from isoflop.fitting import fit_curves
from isoflop.monitoring import Band, Planned, forecast_band, look_ahead, noise_of_pilots
from isoflop.runs import read_curves
from isoflop.study.arms import arm_jobs
from isoflop.study.folder import open_study


def band_of_study(source: Path, run: Planned, *, seed: int = 0) -> Band:
    """The forecast band of a planned run, from the curves of a study folder (or its file).

    The run itself, its trunk and the other branches of it are left out; so are the runs of other
    data recipes.

    Raises:
        RunError: no other run of the study has a point.
        FitError, InputError: its curves cannot support the forecast.
    """
    table = pilot_curves(source, without=run.lineage)
    fit = fit_curves(table, seed=seed)
    noise = noise_of_pilots(table, fit)
    what = f"{fit.n_curves} curves of {source}"
    band = forecast_band(fit, run.path, run.n_params, noise, source=what)
    if run.schedule is None:
        return band
    ahead = look_ahead(fit, run.schedule, float(run.path.lr.max()), run.n_params)
    return replace(band, ahead=ahead)


def pilot_curves(source: Path, *, without: str) -> Table:
    """Curves of a study's own recipe but those of one training (the id of its trunk).

    Raises:
        RunError: there are none, or a file is corrupt.
    """
    left_out: set[str] = set()
    place = source
    if source.suffix == ".toml" or (source / "study.toml").is_file():
        study = open_study(source, None, [])
        place = study.path
        left_out = {run.run_id for _, job in arm_jobs(study) for run in job.runs}
    rows = read_curves(place)
    keep = (rows["trunk"] != without) & ~np.isin(rows["run"], sorted(left_out))
    if not (keep & (rows["kind"] != "schedule")).any():
        raise RunError(
            f"{source}: no run beside the watched one has a point. Train pilots first, or name "
            "another study."
        )
    return {name: column[keep] for name, column in rows.items()}
