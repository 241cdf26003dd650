"""`compare`: known multipliers are covered, swapping is exact, what cannot be is refused."""

import numpy as np
import pytest
from simulated import TRUTH, ladder

from isoflop import compare
from isoflop._errors import InputError
from isoflop.fitting.arms import two_arms
from isoflop.laws import CHINCHILLA, POWER_FLOOR

GAIN = 1.3


def worth(truth, ratio):
    """The constants of a recipe worth `truth` at `ratio` times the compute, half from each input.

    A/(N r)^alpha = (A r^-alpha)/N^alpha: with r_N = r_D = sqrt(ratio), L(N, D) is that of
    (r_N N, r_D D), whose compute is `ratio` times as large.
    """
    e, a, alpha, b, beta = truth
    root = ratio**0.5
    return np.array([e, a * root**-alpha, alpha, b * root**-beta, beta])


def simulate(seed, ratio=GAIN, shared=0.005, own=0.003):
    """A is worth B at `ratio` times the compute."""
    a = ladder(shared, own, seed, truth=worth(TRUTH, ratio))
    return a, ladder(shared, own, seed + 10_000)


def log_width(interval):
    return np.log(interval.high / interval.low)


def test_exact_tables_give_the_exact_multiplier():
    made = compare(*simulate(0, shared=0.0, own=0.0))
    # The fit is kept solvable by a noise of 1e-6 of log loss.
    assert made.multiplier.value == pytest.approx(GAIN, rel=1e-4)
    assert [one.value.value for one in made.at] == pytest.approx([GAIN] * 3, rel=1e-3)
    assert made.shared.value == pytest.approx(GAIN, rel=1e-4)


def test_noisy_tables_give_it_within_the_interval():
    made = compare(*simulate(3))
    assert made.shared.low < GAIN < made.shared.high
    assert made.multiplier.low < GAIN < made.multiplier.high
    assert made.multiplier.high / made.multiplier.low < 1.4
    assert made.trend.low < 1 < made.trend.high


@pytest.mark.parametrize(("ratio", "seed"), [(GAIN, 0), (1.0, 500)])
def test_the_interval_covers(ratio, seed):
    # 12 pairs of a nominal 90 %: 8 or fewer hits would come up in 2.6 % of true intervals.
    hits = 0
    for one in range(seed, seed + 12):
        made = compare(*simulate(one, ratio), n_draws=100)
        hits += made.multiplier.low <= ratio <= made.multiplier.high
    assert hits >= 9


@pytest.mark.slow
def test_the_interval_covers_in_many_simulations():
    hits, shared, ends = [], [], []
    for seed in range(60):
        made = compare(*simulate(seed))
        hits.append(made.multiplier.low <= GAIN <= made.multiplier.high)
        shared.append(made.shared.low <= GAIN <= made.shared.high)
        ends += [one.value.low <= GAIN <= one.value.high for one in made.at]
    assert np.mean(hits) >= 0.85
    assert np.mean(shared) >= 0.85
    assert np.mean(ends) >= 0.85


def test_swapping_the_arms_inverts_everything():
    a, b = simulate(1)
    one, two = compare(a, b), compare(b, a)
    pairs = [(one.multiplier, two.multiplier), (one.trend, two.trend), (one.shared, two.shared)]
    pairs += [(x.value, y.value) for x, y in zip(one.at, two.at, strict=True)]
    for x, y in pairs:
        assert x.value * y.value == pytest.approx(1, rel=1e-9)
        assert x.low * y.high == pytest.approx(1, rel=1e-9)
    assert one.common_loss == pytest.approx(two.common_loss, rel=1e-12)


def test_other_exponents_show_as_a_trend():
    # B falls more slowly with size and data: the more compute, the more A is worth.
    slower = TRUTH.copy()
    slower[[2, 4]] -= 0.05
    made = compare(ladder(0.001, 0.001, 0), ladder(0.001, 0.001, 1, truth=slower))
    assert made.trend.low > 1
    values = [one.value.value for one in made.at]
    assert values == sorted(values)
    assert {one.model: one.weight for one in made.models}["shared"] < 0.05
    other = compare(ladder(0.001, 0.001, 1, truth=slower), ladder(0.001, 0.001, 0))
    assert other.trend.high < 1


def test_equal_exponents_keep_the_shared_model():
    made = compare(*simulate(7))
    best = max(made.models, key=lambda one: one.weight)
    assert best.model == "shared"


def test_pairs_that_share_noise_narrow_the_interval():
    a, b = simulate(5, shared=0.01, own=0.01)
    clean_a, clean_b = simulate(5, shared=0.0, own=0.0)
    own = np.exp(0.001 * np.random.default_rng(0).standard_normal(len(b["loss"])))
    paired = {**b, "loss": clean_b["loss"] * a["loss"] / clean_a["loss"] * own}
    # Every run its own trunk: 25 pairs are evidence enough.
    a, b, paired = ({**t, "trunk": np.arange(25).astype(str)} for t in (a, b, paired))
    alone, together = compare(a, b), compare(a, paired)
    assert alone.pair_correlation < 0.3
    assert together.pair_correlation > 0.9
    assert log_width(together.multiplier) < 0.5 * log_width(alone.multiplier)
    assert together.multiplier.low < GAIN < together.multiplier.high


def test_runs_at_other_cells_are_no_pairs():
    a, _ = simulate(4)
    other = ladder(0.005, 0.003, 40, sizes=np.geomspace(1.5e4, 2e5, 5))
    made = compare(a, other)
    assert made.pair_correlation == 0
    assert made.tokens == ()
    assert made.multiplier.low < GAIN < made.multiplier.high


def test_tables_of_one_variable():
    x = np.geomspace(1e17, 1e21, 9)
    rng = np.random.default_rng(2)

    def line(scale):
        loss = 1.7 + (1e20 / (scale * x)) ** 0.15
        return {"flops": x, "loss": loss * np.exp(0.002 * rng.standard_normal(9))}

    made = compare(line(2.0), line(1.0))
    assert made.along == "x"
    assert made.law == "power_floor"
    assert made.shared.low < 2 < made.shared.high
    assert made.shared.high / made.shared.low < 2


def test_runs_on_one_ray_are_compared_along_it():
    def ray(truth, seed):
        table = ladder(0.0, 0.002, seed, truth=truth, sizes=np.geomspace(1e4, 1e6, 9))
        rows = np.arange(9) * 5
        cut = {name: np.asarray(column)[rows] for name, column in table.items()}
        cut["n_tokens"] = 20 * cut["n_params"]
        inputs = {name: cut[name] for name in ("n_params", "n_tokens")}
        noise = np.exp(0.002 * np.random.default_rng(seed).standard_normal(9))
        loss = CHINCHILLA.predict(np.asarray(truth), inputs) * noise
        return {**inputs, "loss": loss}

    made = compare(ray(worth(TRUTH, GAIN), 0), ray(TRUTH, 1))
    assert made.along == "ray"
    assert "one_ray" in {problem.code for problem in made.problems}
    assert made.usable
    assert made.multiplier.low < GAIN < made.multiplier.high


def test_a_loss_or_compute_outside_is_refused_and_one_inside_is_told():
    a, b = simulate(2)
    inside = compare(a, b, loss=3.5)
    assert inside.usable
    (asked,) = (one for one in inside.at if one.where == "asked")
    assert asked.value == inside.multiplier
    again = compare(a, b, flops=asked.flops_a)
    (same,) = (one for one in again.at if one.where == "asked")
    # A's compute by the mixture, the place by its likeliest model: equal up to their difference.
    assert same.loss == pytest.approx(3.5, rel=0.01)
    for wish in ({"loss": 1.7}, {"loss": 9.0}, {"flops": 1e22}, {"flops": 1e5}):
        refused = compare(a, b, n_draws=20, **wish)
        assert not refused.usable
        assert refused.problems[0].code == "outside_common_range"
        assert np.isnan(refused.multiplier.value)


def test_arms_without_a_common_loss_are_refused():
    worse = ladder(0.002, 0.002, 1)
    worse["loss"] = worse["loss"] * 4
    made = compare(ladder(0.002, 0.002, 0), worse, n_draws=20)
    assert made.common_loss is None
    assert made.at == ()
    assert made.problems[0].code == "outside_common_range"
    assert not made.usable


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tokenizer": "other"}, "tokenizer"),
        ({"vocab_size": 50257}, "vocab_size"),
        ({"n_params_convention": "total"}, "n_params_convention"),
    ],
)
def test_other_metrics_are_refused(change, named):
    a, b = simulate(0)
    usual = {"tokenizer": "one", "vocab_size": 32000, "n_params_convention": "active"}
    a = {**a, **{name: np.full(25, value) for name, value in usual.items()}}
    b = {**b, **{name: np.full(25, value) for name, value in {**usual, **change}.items()}}
    with pytest.raises(InputError, match=named):
        compare(a, b)


def test_bits_per_byte_may_have_other_tokenizers():
    a, b = simulate(0)
    a, b = (
        {**t, "bpb": t["loss"] / 3, "tokenizer": np.full(25, n)} for t, n in ((a, "x"), (b, "y"))
    )
    assert compare(a, b, target="bpb", n_draws=20).target == "bpb"
    with pytest.raises(InputError, match="bpb"):
        compare({k: v for k, v in a.items() if k != "bpb"}, b, target="bpb")


@pytest.mark.parametrize(
    ("wish", "named"),
    [
        ({"loss": 3.0, "flops": 1e9}, "one of"),
        ({"loss": -1.0}, "loss > 0"),
        ({"level": 1.0}, "level"),
    ],
)
def test_impossible_wishes_are_refused(wish, named):
    with pytest.raises(InputError, match=named):
        compare(*simulate(0), **wish)


def test_too_few_runs_are_refused():
    a, b = simulate(0)
    with pytest.raises(InputError, match="each arm"):
        compare({k: np.asarray(v)[[0, 6, 12, 3, 20]] for k, v in a.items()}, b)


def test_problems_of_an_arm_say_whose_they_are():
    a, b = simulate(0)
    loss = b["loss"].copy()
    loss[7] *= 1.3
    made = compare(a, {**b, "loss": loss}, n_draws=20)
    (found,) = (problem for problem in made.problems if problem.code == "outliers")
    assert found.text.startswith("B: ")


def test_tokens_to_loss_at_equal_size():
    # Data alone worth 1.5 times as much: at every size B needs 1.5 times the tokens.
    better = TRUTH.copy()
    better[3] *= 1.5 ** -TRUTH[4]
    horizons = np.geomspace(5e5, 8e6, 60)
    a, b = (ladder(truth=t, horizons=horizons) for t in (better, TRUTH))
    made = compare(a, b, n_draws=20)
    assert {one.kind for one in made.tokens} == {"final"}
    assert len({one.n_params for one in made.tokens}) == 5
    # Read off by straight lines between points of exact curves.
    assert [one.ratio.value for one in made.tokens] == pytest.approx([1.5] * 15, rel=1e-3)


def test_intermediate_points_are_used_where_both_have_them():
    a, b = simulate(0, shared=0.0, own=0.0)

    def with_curve(table):
        columns = {name: np.concatenate([c, c]) for name, c in table.items()}
        columns["loss"] = np.concatenate([table["loss"], table["loss"] * 1.05])
        columns["kind"] = np.repeat(["final", "intermediate"], 25)
        return columns

    both = compare(with_curve(a), with_curve(b), n_draws=20)
    assert {one.kind for one in both.tokens} == {"intermediate"}
    assert max(one.loss for one in both.tokens) > b["loss"].max()
    one = compare(with_curve(a), b, n_draws=20)
    assert {x.kind for x in one.tokens} == {"final"}
    # Intermediate points are not fitted.
    assert both.multiplier.value == pytest.approx(one.multiplier.value, rel=1e-6)


def test_the_table_s_own_flops_are_the_compute():
    # B's runs cost twice the FLOPs of 6 N D: its multiplier doubles.
    a, b = simulate(0, shared=0.0, own=0.0)
    made = compare(a, {**b, "flops": 2 * b["flops"]})
    assert made.multiplier.value == pytest.approx(2 * GAIN, rel=1e-3)


@pytest.mark.parametrize("base", [CHINCHILLA, POWER_FLOOR], ids=lambda law: law.name)
def test_models_are_nested(base):
    theta = (
        np.array([1.6, 60.0, 0.4, 900.0, 0.45]) if base is CHINCHILLA else np.array([1.6, 9.0, 0.3])
    )
    inputs = {name: np.array([1e3, 4e3, 2e4]) for name in base.inputs}
    inputs["arm"] = np.array([1.0, 2.0, 2.0])
    plain = base.predict(theta, inputs)
    for model, more in (("shared", [1.0] * len(base.inputs)), ("per_arm", theta)):
        law = two_arms(base, model, theta, theta)
        assert law.predict(np.concatenate([theta, more]), inputs) == pytest.approx(plain, rel=1e-12)
    law = two_arms(base, "own_floor", theta, theta)
    lifted = law.predict(np.concatenate([theta, [1.0] * len(base.inputs), [1.5]]), inputs)
    assert lifted - plain == pytest.approx([0, 0.8, 0.8], abs=1e-12)


def test_the_same_seed_gives_the_same_numbers():
    a, b = simulate(0)
    assert compare(a, b, n_draws=20).to_json() == compare(a, b, n_draws=20).to_json()
