"""The collapse check: planted faults are named, clean ladders are not, level shifts cancel out."""

import numpy as np
import pytest

from isoflop._errors import FitError
from isoflop.fitting import check_collapse, collapse_problems

SIZES = np.geomspace(2e4, 2e5, 6)
HORIZONS = (250_000, 350_000, 500_000, 700_000, 1_000_000)
COOL = 0.97
"""What a cooldown brings: the end over the constant rate's loss."""


def ladder(rng, *, noise=0.003, seed_noise=0.0, fault=None, at=2, sizes=SIZES):
    """Curves of a Chinchilla law at constant rate, looked at twice an octave, with branches.

    `noise` (sd of log loss) at every look and end; `seed_noise` shared by all rungs but `at`.
    """
    rows = []
    looks = np.round(16_000 * 2 ** (np.arange(13) / 2))
    common = rng.standard_normal(looks.size)
    for k, n in enumerate(sizes):
        mistuned = fault is not None and k == at
        shock = rng.standard_normal(looks.size) if k == at else common
        log_loss = np.log(law(n, looks) / COOL) + noise * rng.standard_normal(looks.size)
        log_loss = log_loss + seed_noise * shock
        if mistuned:
            log_loss = log_loss + fault(looks)
        for t, value in zip(looks, log_loss, strict=True):
            rows.append((f"t{k}", f"t{k}", "intermediate", n, t, np.exp(value), t))
        for d in HORIZONS:
            value = np.log(law(n, d)) + noise * rng.standard_normal()
            if mistuned:
                value += 0.3 * fault(np.array([float(d)]))[0]
            rows.append((f"t{k}-{d}", f"t{k}", "final", n, d, np.exp(value), 0.8 * d))
    names = ("run", "trunk", "kind", "n_params", "n_tokens", "loss", "hold_tokens")
    return {
        name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }


def law(n, d):
    return 1.6 + 40 / n**0.35 + 60 / d**0.33


def hot(looks):
    """A rate too high: the constant part hovers 6 % higher."""
    return np.full(looks.size, 0.06)


def slow_start(looks):
    """A start that was spoilt: 8 % higher early, wearing off."""
    return 0.08 * np.exp(-looks / 100_000)


@pytest.mark.parametrize("fault", [hot, slow_start])
@pytest.mark.parametrize("at", [1, 2, 4])
def test_a_rung_of_another_shape_is_named(fault, at):
    for seed in range(5):
        table = ladder(np.random.default_rng(seed), fault=fault, at=at)
        found = check_collapse(table)
        assert [one.rung for one in found.off] == [f"t{at}"]
        (problem,) = collapse_problems(found)
        assert problem.code == "rung_off_collapse"
        assert f"t{at} (N = " in problem.text


def test_clean_ladders_are_seldom_accused():
    # 5 % at most: of 200 ladders 17 or more accused would be so by chance once in 50 times.
    accused = sum(
        bool(check_collapse(ladder(np.random.default_rng([7, seed]))).off) for seed in range(200)
    )
    assert accused <= 16


def test_another_seed_is_no_fault_where_noise_along_the_curves_tells_its_size():
    # The others share their data order and its noise: only roughness tells how large it is.
    accused = sum(
        bool(
            check_collapse(
                ladder(np.random.default_rng([8, seed]), noise=0.001, seed_noise=0.004)
            ).off
        )
        for seed in range(100)
    )
    assert accused <= 9


def test_a_factor_all_along_cancels_out():
    table = ladder(np.random.default_rng(3))
    worse = {**table, "loss": np.where(table["trunk"] == "t2", 1.05, 1.0) * table["loss"]}
    first, second = check_collapse(table), check_collapse(worse)
    for one, other in zip(first.rungs, second.rungs, strict=True):
        assert one.deviation == pytest.approx(other.deviation, abs=1e-9)
    assert not second.off


def test_two_bad_rungs_are_both_named():
    rng = np.random.default_rng(5)
    sizes = np.geomspace(2e4, 4e5, 8)
    table = ladder(rng, fault=hot, at=2, sizes=sizes)
    early = np.where(
        (table["trunk"] == "t5") & (table["kind"] != "final"), slow_start(table["n_tokens"]), 0.0
    )
    found = check_collapse({**table, "loss": table["loss"] * np.exp(early)})
    assert {one.rung for one in found.off} == {"t2", "t5"}


def test_other_schedules_are_left_out_and_few_rungs_refused():
    table = ladder(np.random.default_rng(1), fault=hot, at=2)
    schedule = np.where(table["trunk"] == "t2", "cosine", "wsd")
    assert not check_collapse({**table, "schedule": schedule}).off
    keep = np.isin(table["trunk"], ["t0", "t1", "t2"])
    with pytest.raises(FitError, match="rungs >= 4"):
        check_collapse({name: column[keep] for name, column in table.items()})
    with pytest.raises(FitError, match="'kind'"):
        check_collapse({name: column for name, column in table.items() if name != "kind"})
