"""The cosine by its closed form, and what a schedule refuses."""

import math
from dataclasses import replace

import numpy as np
import pytest

from isoflop._errors import InputError
from isoflop.laws import LrPath
from isoflop.specs import RunConfig, Schedule

COSINE = Schedule(kind="cosine", warmup_tokens=100, n_tokens=1100, final_factor=0.2)


@pytest.mark.parametrize(
    ("start", "factor"),
    # Warm-up counts the step's own tokens; then f + (1 - f)(1 + cos(pi s))/2 at s = 0, 1/4, 1/2, 1.
    [(0, 0.5), (50, 1.0), (100, 1.0), (350, 0.6 + 0.4 * math.sqrt(0.5)), (600, 0.6), (1100, 0.2)],
)
def test_a_cosine_is_its_closed_form(start: int, factor: float) -> None:
    assert COSINE.factor(start, start + 50) == pytest.approx(factor, rel=1e-12)


def test_its_mean_is_halfway_between_peak_and_end() -> None:
    starts = np.arange(100, 1100)
    mean = np.mean([COSINE.factor(int(t), int(t) + 1) for t in starts])
    assert mean == pytest.approx((1 + 0.2) / 2, abs=1e-3)


def test_the_path_that_laws_see_is_the_schedule() -> None:
    path = LrPath.of(COSINE, 3.0, 1100)
    at = np.array([150.0, 400.0, 777.0, 1099.0])
    exact = [3.0 * COSINE.factor(int(t), int(t)) for t in at]
    assert path.rate(at) == pytest.approx(exact, rel=2e-3)  # 48 knots, linear between
    assert path.warmup_tokens == 100


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"warmup_tokens": 1100}, "warmup_tokens < n_tokens"),
        ({"n_tokens": None}, "warmup_tokens < n_tokens"),
        ({"cooldown_tokens": 50}, "no other decay"),
        ({"decay_exponent": 0.3, "decay_from_tokens": 10}, "no other decay"),
        ({"final_factor": 1.5}, "0 <= final_factor <= 1"),
    ],
)
def test_an_impossible_cosine_is_refused(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        replace(COSINE, **change)


def test_a_field_of_later_leaves_older_ids_as_they_were(tiny_trunk: RunConfig) -> None:
    assert "final_factor" not in tiny_trunk.to_json()["schedule"]
    own = replace(tiny_trunk, schedule=COSINE)
    assert own.to_json()["schedule"]["final_factor"] == 0.2
    assert RunConfig.from_json(own.to_json(), place="here") == own
    tenth = replace(tiny_trunk, schedule=replace(COSINE, final_factor=0.1))
    assert RunConfig.from_json(tenth.to_json(), place="here") == tenth
    assert len({own.run_id, tenth.run_id, tiny_trunk.run_id}) == 3
