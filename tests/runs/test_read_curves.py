"""`read_curves`: every point of a study, and the learning rate between them."""

from pathlib import Path

import numpy as np
import pytest

from isoflop import LrPath, read_curves
from isoflop._errors import RunError
from isoflop.runs import RunFolder

STUDY = Path(__file__).parents[2] / "examples" / "results" / "cpu-study"


def test_curves_of_a_study_have_every_point_and_the_rate_between(tmp_path):
    table = read_curves(STUDY)
    seen = table["kind"] != "schedule"
    folders = [RunFolder(path) for path in sorted((STUDY / "runs").iterdir())]
    assert seen.sum() == sum(len(folder.points()) for folder in folders)
    assert np.isnan(table["loss"][~seen]).all()
    for folder in folders[:6]:
        schedule, peak = folder.config().schedule, folder.config().optimiser.lr
        mine = table["run"] == folder.run_id
        for point in folder.points():
            row = np.flatnonzero(mine & seen & (table["n_tokens"] == point.n_tokens))[0]
            assert table["loss"][row] == point.loss
            # The record has the rate of the last step, which began before the point.
            step = folder.config().optimiser.batch_tokens
            exact = peak * schedule.factor(point.n_tokens - step, point.n_tokens)
            assert point.lr == pytest.approx(exact, rel=1e-9)
            if point.kind == "intermediate":
                assert table["lr"][row] == pytest.approx(point.lr, rel=0.01)
        path = LrPath.of(schedule, peak, folder.points()[-1].n_tokens)
        np.testing.assert_array_equal(table["lr"][mine & ~seen], path.lr)
    with pytest.raises(RunError, match="no point"):
        read_curves(tmp_path)
