"""`propose_mixture` and `compare_arms` on simulated truth."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from isoflop._errors import FitError, InputError
from isoflop.fitting import MixtureProposal, compare_arms, propose_mixture

ROOT = Path(__file__).parent.parent.parent
SIZES = (2e5, 1e6)
TOKENS = (3e6, 1.2e7)
DOMAINS = ("a", "b", "c")
MIXTURES = (
    (1 / 3, 1 / 3, 1 / 3), (0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8), (0.0, 0.5, 0.5),
    (0.45, 0.45, 0.1),
)  # fmt: skip


def loss_on_a(shares: np.ndarray, n_params: float, n_tokens: float) -> float:
    """Falls with the shares of a and, less, of b: the best mixture has no c."""
    mixture = 0.9 * float(np.exp(-(shares @ np.array([1.6, 0.9, 0.1]))))
    return 1.0 + 60 * n_params**-0.4 + 300 * n_tokens**-0.42 + mixture


def table(noise: float = 0.002, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    cells = [(np.array(w), n, d) for w, n, d in product(MIXTURES, SIZES, TOKENS)]
    return {
        "n_params": np.array([n for _, n, _ in cells]),
        "n_tokens": np.array([d for *_, d in cells]),
        **{f"w_{name}": np.array([w[k] for w, *_ in cells]) for k, name in enumerate(DOMAINS)},
        "loss_a": np.array([loss_on_a(*c) * np.exp(noise * rng.normal()) for c in cells]),
    }


@pytest.fixture(scope="module")
def made() -> MixtureProposal:
    """For a, of which there is little."""
    return propose_mixture(
        table(), target="loss_a", n_params=1e6, n_tokens=1.2e7, max_shares={"a": 0.2}
    )


def test_the_proposal_is_close_to_the_best_and_its_loss_is_forecast(
    made: MixtureProposal,
) -> None:
    shares = np.array([made.shares[name].value for name in DOMAINS])
    assert shares.sum() == pytest.approx(1)
    assert shares[0] == pytest.approx(0.2, abs=0.005), "as much of a as is allowed"
    assert shares[1] == pytest.approx(0.7, abs=0.02), "b before c, c no less than was tried"
    truth = loss_on_a(shares, 1e6, 1.2e7)
    assert made.loss.low < truth < made.loss.high
    assert made.loss.high - made.loss.low < 0.06 * truth
    # The truth mixes exponentially: left-out mixtures are forecast best by that law.
    assert made.law.startswith("exponential_mixing")
    assert made.left_out_error is not None
    assert made.left_out_error < 0.03
    at = (table()["n_params"] == 1e6) & (table()["n_tokens"] == 1.2e7)
    within = at & (table()["w_a"] <= 0.2)
    assert made.best_tried == table()["loss_a"][within].min()
    assert made.best_tried_shares == pytest.approx({"a": 0.1, "b": 0.8, "c": 0.1})


def test_it_is_hashed_and_read_back(made: MixtureProposal) -> None:
    record = made.to_json()
    assert MixtureProposal.from_json(record) == made
    with pytest.raises(InputError, match="changed after it was made"):
        MixtureProposal.from_json({**record, "n_tokens": 2.4e7})
    with pytest.raises(InputError, match="must have all its fields"):
        MixtureProposal.from_json({k: v for k, v in record.items() if k != "shares"})


def test_one_size_is_fitted_by_the_exponential_law() -> None:
    rows = table()
    here = (rows["n_params"] == 1e6) & (rows["n_tokens"] == 1.2e7)
    made = propose_mixture(
        {name: column[here] for name, column in rows.items()},
        target="loss_a",
        n_params=1e6,
        n_tokens=1.2e7,
    )
    assert made.law.startswith("exponential_mixing")
    assert made.shares["a"].value > 0.75


def test_few_mixtures_give_a_proposal_that_was_not_tested() -> None:
    rows = table()
    some = (rows["n_params"] == 1e6) & (rows["n_tokens"] == 1.2e7) & (rows["w_a"] > 0)
    five = {name: column[some] for name, column in rows.items()}
    made = propose_mixture(five, target="loss_a", n_params=1e6, n_tokens=1.2e7)
    assert made.left_out_error is None
    assert "no_backtest" in {problem.code for problem in made.problems}


def test_too_few_mixtures_or_no_such_run_are_refused() -> None:
    rows = table()
    few = (rows["n_params"] == 1e6) & (rows["n_tokens"] == 1.2e7) & (rows["w_c"] < 0.2)
    with pytest.raises(FitError, match="3 runs of 3 mixtures"):
        propose_mixture(
            {name: column[few] for name, column in rows.items()},
            target="loss_a",
            n_params=1e6,
            n_tokens=1.2e7,
        )
    with pytest.raises(InputError, match="no run of the table"):
        propose_mixture(rows, target="loss_a", n_params=5e6, n_tokens=1.2e7)


def arm(gain: float, floor: float, seed: int) -> dict[str, np.ndarray]:
    """25 runs whose tokens count `gain` times, above a floor."""
    rng = np.random.default_rng(seed)
    sizes = np.repeat(np.geomspace(1e5, 3e6, 5), 5)
    tokens = np.tile(np.geomspace(1e6, 1e8, 5), 5)
    loss = floor + 60 * sizes**-0.4 + 300 * (gain * tokens) ** -0.42
    return {
        "n_params": sizes,
        "n_tokens": tokens,
        "trunk": np.array([f"t{n:.0f}" for n in sizes]),
        "loss": loss * np.exp(0.002 * rng.normal(size=25)),
    }


def test_arms_are_told_apart_by_worth_and_floor() -> None:
    arms = {"base": arm(1, 1.5, 0), "twice": arm(2, 1.5, 1), "shifted": arm(1, 1.8, 2)}
    told: list[str] = []
    made = compare_arms(
        arms, base="base", n_draws=100, progress=lambda share, label: told.append(label)
    )
    assert made.arms == ("base", "twice", "shifted")
    assert told == [f"{name}, loss" for name in made.arms]
    assert made.of("base", "loss").against_base is None
    for name, floor in (("base", 1.5), ("twice", 1.5), ("shifted", 1.8)):
        found = made.of(name, "loss").floor
        assert found.low < floor < found.high
    # Tokens that count twice: r_N = 1, r_D = 2, so compute counts twice.
    worth = made.of("twice", "loss").against_base
    assert worth is not None
    assert worth.shared.low < 2 < worth.shared.high
    assert worth.shared.low > 1.5
    other = made.of("shifted", "loss").against_base
    assert other is not None
    assert other.multiplier.high < 1
    early = made.of("twice", "loss").early
    assert early is not None
    assert early.ratio.value == pytest.approx(2, rel=0.1)
    with pytest.raises(InputError, match="'nobody'"):
        compare_arms(arms, base="nobody")


def test_the_shipped_proposal_is_as_it_was_hashed_before_its_run() -> None:
    path = ROOT / "examples" / "results" / "data-arms" / "proposal.json"
    tested = json.loads(path.read_text(encoding="utf-8"))
    made = MixtureProposal.from_json(tested["proposal"])
    assert made.loss.low < tested["measured"] < made.loss.high
