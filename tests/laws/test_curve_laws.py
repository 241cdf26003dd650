"""Laws along a run and the path of the rate: identities, plain loops, published constants."""

import numpy as np
import pytest

from isoflop._errors import InputError
from isoflop.laws import CURVE_LAWS, LrPath, find_law, find_published
from isoflop.laws._law import complex_step
from isoflop.specs import Schedule

THETA = {
    "annealed": [1.8, 900.0, 0.45, 0.3, 0.4],
    "annealed_sizes": [1.8, 60.0, 0.4, 900.0, 0.45, 0.6, 0.3, 0.4, -0.1],
    "tissue": [1.8, 900.0, 0.45, 1e-8],
    "tissue_sizes": [1.8, 60.0, 0.4, 900.0, 0.45, 1e-8, 0.1],
    "multi_power": [1.8, 900.0, 0.45, 0.4, 1e-5, 0.5, 0.4],
}

PEAK, WARM, STEPS, LAMBDA = 3e-4, 100, 2000, 0.99
MEMORY = -1 / np.log(LAMBDA)


def inputs_of(law):
    rng = np.random.default_rng(3)
    columns = {name: 10 ** rng.uniform(4, 7, 7) for name in law.inputs}
    shares = {"lr_smooth": (7,), "drop_lr": (7, 5)}
    columns |= {n: rng.uniform(0.01, 1, shape) for n, shape in shares.items() if n in columns}
    if "drop" in columns:
        columns |= {"drop": rng.uniform(-0.1, 0.1, (7, 5)), "drop_sum": rng.uniform(0, 1e6, (7, 5))}
    return columns


@pytest.mark.parametrize("law", CURVE_LAWS, ids=lambda law: law.name)
def test_jacobian_equals_complex_step(law):
    theta, inputs = np.array(THETA[law.name]), inputs_of(law)
    expected = complex_step(law.predict)(theta, inputs)
    rounding = 1e-15 * np.abs(expected).max(axis=0)
    error = np.abs(law.jacobian(theta, inputs) - expected)
    assert (error <= 1e-12 * np.abs(expected) + rounding).all()


@pytest.mark.parametrize("law", CURVE_LAWS, ids=lambda law: law.name)
def test_leading_axes_and_domains_are_kept(law):
    theta = np.tile(THETA[law.name], (3, 2, 1)) * np.array([1, 2, 3])[:, None, None] ** 0.1
    inputs = inputs_of(law)
    values = law.predict(theta, inputs)
    assert values.shape == (3, 2, 7)
    assert law.jacobian(theta, inputs).shape == (3, 2, 7, len(law.params))
    np.testing.assert_array_equal(values[1, 0], law.predict(theta[1, 0], inputs))
    for value, param in zip(THETA[law.name], law.params, strict=True):
        assert param.low <= value <= param.high


@pytest.mark.parametrize("law", CURVE_LAWS, ids=lambda law: law.name)
def test_rescaled_parameters_predict_the_same(law):
    theta, inputs = np.array(THETA[law.name]), inputs_of(law)
    scales = {name: 3.0 + number for number, name in enumerate(law.inputs)}
    scaled = {name: column / scales[name] for name, column in inputs.items()}
    np.testing.assert_allclose(
        law.predict(law.rescale(theta, scales), scaled), law.predict(theta, inputs), rtol=1e-12
    )


def test_a_power_of_one_is_the_law_that_is_linear_in_the_fall():
    """C H = C (peak - S2/memory): `annealed` with p = 1 is `tissue` with another floor."""
    rng = np.random.default_rng(0)
    drop, lr_sum = rng.uniform(0, 0.9, 9) * MEMORY, rng.uniform(10, 1000, 9)
    smooth = 1 - drop / MEMORY
    a = find_law("annealed").predict(
        np.array([1.8, 9.0, 0.4, 0.3, 1.0]), {"lr_sum": lr_sum, "lr_smooth": smooth}
    )
    b = find_law("tissue").predict(
        np.array([2.1, 9.0, 0.4, 0.3 / MEMORY]), {"lr_sum": lr_sum, "lr_drop": drop}
    )
    np.testing.assert_allclose(a, b, rtol=1e-13)


def step_rates(kind):
    """The rate of every step: warm-up, then constant, cosine to a tenth, or two stages."""
    step = np.arange(STEPS)
    share = np.clip((step - WARM) / (STEPS - WARM), 0, 1)
    shape = {
        "constant": np.ones(STEPS),
        "cosine": 0.55 + 0.45 * np.cos(np.pi * share),
        "two_stage": np.where(step < 1200, 1.0, 0.3),
    }[kind]
    return PEAK * np.minimum((step + 1) / WARM, shape if kind else 1.0)


def stairs(rates):
    """The path that has each step's rate all through the step."""
    tokens = np.repeat(np.arange(STEPS + 1.0), 2)[1:-1]
    return LrPath(n_tokens=tokens, lr=np.repeat(rates, 2))


@pytest.mark.parametrize("kind", ["constant", "cosine", "two_stage"])
def test_sum_and_drop_are_those_of_the_recursion(kind):
    rates, path = step_rates(kind), stairs(step_rates(kind))
    momentum, drop, drops = 0.0, 0.0, []
    for i in range(STEPS):
        if i > WARM:
            momentum = LAMBDA * momentum + rates[i - 1] - rates[i]
            drop += momentum
        drops.append(drop)
    at = np.array([500, 1201, STEPS])
    np.testing.assert_allclose(path.lr_sum(at * 1.0), np.cumsum(rates)[at - 1], rtol=1e-12)
    # The sum over i >= k of lambda^(i-k) is (1 - lambda^n)/(1 - lambda); ours is memory times it.
    expected = np.array(drops)[at - 1] * MEMORY * (1 - LAMBDA)
    found = path.lr_drop(at * 1.0, MEMORY)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-18)
    np.testing.assert_allclose(path.lr_smooth(at * 1.0, MEMORY), PEAK - found / MEMORY, rtol=1e-12)


@pytest.mark.parametrize("kind", ["constant", "cosine", "two_stage"])
@pytest.mark.parametrize("name", ["luo_25m", "luo_100m", "luo_400m"])
def test_published_multi_power_law_by_plain_loops(name, kind):
    """Luo et al. 2025, arXiv:2503.12811: eq. of the law, S_k from step k on, warm-up in S1."""
    component = find_published(name).estimate.components[0]
    e, a, alpha, b, c, beta, gamma = component.theta
    rates = step_rates(kind)
    for end in (900, STEPS):
        gain = 0.0
        for k in range(WARM + 1, end):
            since = rates[k:end].sum()
            gain += (rates[k - 1] - rates[k]) * (1 - (1 + c * rates[k] ** -gamma * since) ** -beta)
        expected = e + a * rates[:end].sum() ** -alpha - b * gain
        path, at = stairs(rates), np.array([float(end)])
        found = component.law.predict(
            component.theta, {"lr_sum": path.lr_sum(at), **path.drops(at)}
        )
        assert found.shape == (1,)
        assert found[0] == pytest.approx(expected, rel=1e-12)


def test_published_value_of_a_constant_rate():
    """24,000 steps at 3e-4 have S1 = 7.2: L = 3.04045 + 0.524686 / 7.2^0.507869, by hand."""
    component = find_published("luo_25m").estimate.components[0]
    path = LrPath(n_tokens=np.array([0.0, 24_000.0]), lr=np.array([3e-4, 3e-4]))
    at = np.array([24_000.0])
    found = component.law.predict(component.theta, {"lr_sum": path.lr_sum(at), **path.drops(at)})
    assert found[0] == pytest.approx(3.2329747, abs=1e-6)


def test_slow_falls_are_integrated_like_many_small_jumps():
    n, memory = 20_000, 300.0
    line = LrPath(n_tokens=np.array([0.0, 1000.0, 2000.0]), lr=np.array([1.0, 1.0, 0.1]))
    t = np.linspace(1000, 2000, n + 1)
    jumps = np.repeat(t, 2)[1:-1]
    lr = np.repeat(1.0 - 0.9 * (np.arange(n) + 0.5) / n, 2)
    many = LrPath(
        n_tokens=np.concatenate([[0.0, 1000.0], jumps]), lr=np.concatenate([[1.0, 1.0], lr])
    )
    at = np.array([1500.0, 2000.0])
    np.testing.assert_allclose(line.lr_drop(at, memory), many.lr_drop(at, memory), rtol=1e-3)
    np.testing.assert_allclose(line.lr_sum(at), many.lr_sum(at), rtol=1e-6)
    law, theta = find_law("multi_power"), np.array(THETA["multi_power"])
    values = [
        law.predict(theta, {"lr_sum": one.lr_sum(at), **one.drops(at)})
        for one in (_cut(line, 64), many)
    ]
    np.testing.assert_allclose(values[0], values[1], rtol=1e-5)


def _cut(path, pieces):
    tokens = np.linspace(1000, 2000, pieces + 1)
    return LrPath(n_tokens=np.append(0.0, tokens), lr=np.append(1.0, path.rate(tokens)))


def test_an_unended_warmup_is_no_annealing():
    """momentum starts at zero: a rate that only rises has fallen by nothing."""
    path = LrPath(n_tokens=np.array([0.0, 100.0]), lr=np.array([0.0, 1.0]))
    assert path.lr_drop(np.array([50.0, 100.0]), 10.0).tolist() == [0.0, 0.0]
    assert path.warmup_tokens == 100.0


def test_path_of_a_schedule_follows_its_factor():
    schedule = Schedule(
        kind="wsd", warmup_tokens=1_000, n_tokens=100_000, cooldown_tokens=20_000,
        decay_exponent=0.5, decay_from_tokens=5_000,
    )  # fmt: skip
    path = LrPath.of(schedule, 0.02, 100_000)
    steps = np.arange(1_000, 99_950, 50)
    exact = np.array([0.02 * schedule.factor(int(t), int(t)) for t in steps])
    np.testing.assert_allclose(path.rate(steps * 1.0), exact, rtol=2e-2, atol=2e-5)
    total = sum(0.02 * schedule.factor(t, t + 50) * 50 for t in range(0, 100_000, 50))
    assert path.lr_sum(np.array([1e5]))[0] == pytest.approx(total, rel=2e-3)
    assert path.warmup_tokens == 1_000


@pytest.mark.parametrize(
    ("tokens", "lr", "text"),
    [
        ([0.0, 2.0, 1.0], [1.0, 1.0, 1.0], "not fall"),
        ([0.0, 1.0], [1.0, -1.0], "lr >= 0"),
        ([0.0, 1.0], [0.0, 0.0], "lr >= 0"),
        ([0.0, 1.0], [1.0, np.nan], "finite"),
        ([0.0], [1.0], "one length"),
    ],
)
def test_impossible_paths_are_refused(tokens, lr, text):
    with pytest.raises(InputError, match=text):
        LrPath(n_tokens=np.array(tokens), lr=np.array(lr))


def test_a_memory_of_nothing_is_refused():
    path = LrPath(n_tokens=np.array([0.0, 1.0]), lr=np.array([1.0, 0.5]))
    with pytest.raises(InputError, match="memory > 0"):
        path.lr_smooth(np.array([1.0]), 0.0)
