"""`fit_curves` on published and shipped curves: forecasts of runs that it has not seen."""

import csv
from pathlib import Path

import numpy as np
import pytest

from isoflop import fit, fit_curves, read_curves

STUDY = Path(__file__).parents[2] / "examples" / "results" / "cpu-study"


@pytest.fixture(scope="module")
def study():
    """The curves of the shipped study: pilots, and the held-out run with its trunk."""
    table = read_curves(STUDY)
    held = table["n_params"] == table["n_params"].max()
    pilots = {name: column[~held] for name, column in table.items()}
    return pilots, {name: column[held] for name, column in table.items()}


def first_and_last_branches(pilots):
    """The trunks, and of every size its shortest and its longest branch: 13 of 25."""
    final = pilots["kind"] == "final"
    keep = pilots["run"] == pilots["trunk"]
    for size in np.unique(pilots["n_params"]):
        mine = np.flatnonzero(final & (pilots["n_params"] == size))
        ends = mine[np.argsort(pilots["n_tokens"][mine])]
        keep |= np.isin(pilots["run"], pilots["run"][ends[[0, -1]]])
    return {name: column[keep] for name, column in pilots.items()}


def test_half_the_branches_forecast_the_held_out_run(study):
    """The run of 8 times the compute: 0.3 % off from 13 ends; the ends alone are 2 % off."""
    pilots, held = study
    few = first_and_last_branches(pilots)
    ends = {name: column[few["kind"] == "final"] for name, column in few.items()}
    assert ends["loss"].size == 13
    found = fit_curves(few)
    run = held["run"][held["kind"] == "final"][0]
    told = (held["run"] == run) & (held["kind"] == "schedule")
    size, truth = float(held["n_params"][0]), float(held["loss"][held["kind"] == "final"][0])
    along = found.predict((held["n_tokens"][told], held["lr"][told]), size)
    point = fit(ends).predict({"n_params": [size], "n_tokens": [held["n_tokens"][told][-1]]})
    assert along.low[-1] < truth < along.high[-1]
    assert abs(np.log(along.mean[-1] / truth)) < 0.005
    assert abs(np.log(along.mean[-1] / truth)) < 0.5 * abs(np.log(point.mean[0] / truth))
    assert along.high[-1] - along.low[-1] < 0.06 * truth
    # Its trunk at the full rate, from 1M tokens on, lies in the band too.
    trunk = (held["kind"] == "intermediate") & (held["n_tokens"] > 1e6)
    told = (held["run"] == held["run"][trunk][0]) & (held["kind"] == "schedule")
    band = found.predict(
        (held["n_tokens"][told], held["lr"][told]), size, at=held["n_tokens"][trunk]
    )
    assert ((band.low < held["loss"][trunk]) & (held["loss"][trunk] < band.high)).all()


def test_one_branch_a_size_is_enough_for_an_interval_that_holds(study):
    """Seven longest branches: 0.7 % off. Their ends alone lie near one ray: 7 % off."""
    pilots, held = study
    end = pilots["kind"] == "final"
    longest = [
        pilots["run"][end & (pilots["n_params"] == size)][
            np.argmax(pilots["n_tokens"][end & (pilots["n_params"] == size)])
        ]
        for size in np.unique(pilots["n_params"])
    ]
    keep = (pilots["run"] == pilots["trunk"]) | np.isin(pilots["run"], longest)
    found = fit_curves({name: column[keep] for name, column in pilots.items()})
    assert found.n_curves == 14
    last = held["kind"] == "final"
    told = (held["run"] == held["run"][last][0]) & (held["kind"] == "schedule")
    path = (held["n_tokens"][told], held["lr"][told])
    end_of_run = found.predict(path, float(held["n_params"][0]), at=held["n_tokens"][last])
    assert end_of_run.low[0] < held["loss"][last][0] < end_of_run.high[0]
    assert abs(np.log(end_of_run.mean[0] / held["loss"][last][0])) < 0.015


def test_a_gain_that_is_linear_in_the_rate_fits_real_curves_worse(study):
    """Residual sd of the pilots' points: 0.3 % with a power of the rate, 1.3 % without."""
    pilots, _ = study
    power, linear = (
        fit_curves(pilots, law=law, n_draws=20) for law in ("annealed_sizes", "tissue_sizes")
    )
    assert power.sigma < 0.5 * linear.sigma
    assert 0.3 < power.theta["p"].low < power.theta["p"].high < 0.7


def gemstones(data_dir):
    """The table of curves: hot at rate 1, cooldowns from 1 to 0, and the runs at half the rate."""
    with (data_dir / "gemstones.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    begins = {}
    for row in rows:
        if row["phase"] == "cool_begin":
            begins.setdefault(row["run_name"], []).append(float(row["tokens"]))
    out = []
    for row in rows:
        size, tokens, loss = (float(row[name]) for name in ("n_params", "tokens", "loss"))
        name = row["run_name"]
        if row["phase"] == "cool_end":
            run, begin = f"{name}-{tokens:.0f}", max(b for b in begins[name] if b < tokens)
            out.append((run, name, "schedule", size, begin, 1.0, np.nan))
            out.append((run, name, "final", size, tokens, 0.0, loss))
        elif row["phase"] != "cool_begin":
            lr = 0.5 if row["phase"] == "hot_lr_half" else 1.0
            out.append((name, name, "intermediate", size, tokens, lr, loss))
    names = ("run", "trunk", "kind", "n_params", "n_tokens", "lr", "loss")
    return {n: np.array(c) for n, c in zip(names, zip(*out, strict=True), strict=True)}


@pytest.mark.slow
def test_cooled_losses_of_larger_gemstones_from_a_few_cooldowns(data_dir):
    """Four largest sizes left out; of the others eight cooldowns only, beside the hot curves."""
    table = gemstones(data_dir)
    limit = np.unique(table["n_params"])[-4]
    cooled = np.unique(table["n_params"][(table["kind"] == "final") & (table["n_params"] < limit)])
    long_or_short = (table["n_tokens"] > 1.05e11) | (np.abs(table["n_tokens"] - 2.2e10) < 2e9)
    end = (table["kind"] == "final") & np.isin(table["n_params"], cooled[::4]) & long_or_short
    keep = (table["kind"] == "intermediate") | np.isin(table["run"], table["run"][end])
    few = {n: c[keep & (table["n_params"] < limit)] for n, c in table.items()}
    ends = {n: c[few["kind"] == "final"] for n, c in few.items()}
    assert ends["loss"].size == 8
    found, points = fit_curves(few), fit(ends)
    errors, inside, by_points = [], [], []
    for i in np.flatnonzero((table["kind"] == "final") & (table["n_params"] >= limit)):
        told = (table["run"] == table["run"][i]) & (table["kind"] == "schedule")
        tokens, size = table["n_tokens"][i], float(table["n_params"][i])
        path = ([0.0, table["n_tokens"][told][0], tokens], [1.0, 1.0, 0.0])
        end = found.predict(path, size, at=[tokens])
        errors.append(np.log(end.mean[0] / table["loss"][i]))
        inside.append(end.low[0] <= table["loss"][i] <= end.high[0])
        at = points.predict({"n_params": [size], "n_tokens": [tokens]})
        by_points.append(np.log(at.mean[0] / table["loss"][i]))
    rms, rms_points = (float(np.sqrt(np.mean(np.square(e)))) for e in (errors, by_points))
    assert len(errors) == 39
    assert rms < 0.015
    assert rms < 0.8 * rms_points
    assert np.mean(inside) > 0.8
