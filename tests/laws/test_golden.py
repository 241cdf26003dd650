"""Published numbers, each with its source; tolerances are the printed digits."""

import csv

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

from isoflop._errors import InputError
from isoflop.laws import LAWS, PF_DAY, PUBLISHED, find_law, find_published, optimum

BESIROGLU_PRINTED = np.array([1.8172, 482.01, 0.3478, 2085.43, 0.3658])
"""Besiroglu et al. 2024, arXiv:2404.10102, as printed; E is rounded from 1.8169 by 0.0003."""


def _best(name):
    return find_published(name).estimate.best


def _loss(name, **inputs):
    estimate = find_published(name).estimate
    return float(estimate.predict({key: [value] for key, value in inputs.items()}).mean[0])


@pytest.mark.parametrize(
    ("name", "x", "loss"),
    [
        # Kaplan et al. 2020, eq. 1.1-1.3 with Table 5, evaluated.
        ("kaplan_n_params", 1e9, 2.37564),
        ("kaplan_n_tokens", 1e10, 2.26244),
        ("kaplan_flops", PF_DAY, 2.65808),
        ("kaplan_flops", 100 * PF_DAY, 2.11139),
    ],
)
def test_kaplan_one_variable(name, x, loss):
    assert _loss(name, x=x) == pytest.approx(loss, abs=6e-6)


def test_kaplan_joint():
    # Kaplan et al. 2020, eq. 1.5 with Table 2.
    assert _loss("kaplan", n_params=1e9, n_tokens=2.3e10) == pytest.approx(2.36731, abs=6e-6)


@pytest.mark.parametrize(
    ("name", "n_params", "n_tokens", "loss"),
    [
        # Hoffmann et al. 2022, eq. 10 as printed, at Gopher and at Chinchilla.
        ("hoffmann_printed", 280e9, 300e9, 1.99326),
        ("hoffmann_printed", 70e9, 1.4e12, 1.93665),
    ],
)
def test_additive_losses(name, n_params, n_tokens, loss):
    assert _loss(name, n_params=n_params, n_tokens=n_tokens) == pytest.approx(loss, abs=6e-6)


@pytest.mark.parametrize(
    ("n_params", "n_tokens", "loss"),
    # Muennighoff et al. 2023, released code, evaluated: 25 B unique tokens at one compute.
    [(6.34e9, 242e9, 2.2256440889984477), (8.67e9, 178e9, 2.2269634075087867)],
)
def test_repeated_data(n_params, n_tokens, loss):
    found = _loss(
        "muennighoff_repeated", n_params=n_params, n_tokens=n_tokens, n_unique_tokens=25e9
    )
    assert found == pytest.approx(loss, rel=1e-12)


def test_worth_of_repeated_tokens():
    # Muennighoff et al. 2023 with R_D = 15.387756: what D tokens of U unique ones are worth, and
    # what one more is worth, read off the loss of the law itself.
    component = _best("muennighoff_repeated")
    e, a, alpha, b, _, _ = component.theta
    unique, size = 1e9, 1e6  # below U_N, so that every parameter counts in full

    def worth(epochs):
        inputs = {"n_params": size, "n_tokens": unique * epochs, "n_unique_tokens": unique}
        columns = {name: np.atleast_1d(column) for name, column in inputs.items()}
        loss = component.law.predict(component.theta, columns)
        return (b / (loss - e - a * size**-alpha)) ** (1 / alpha) / unique

    np.testing.assert_allclose(
        worth(np.array([4.0, 8.0, 16.0, 40.0, 1e6])), [3.73, 6.62, 10.58, 15.17, 16.39], atol=6e-3
    )
    epochs = np.array([2.0, 4.0, 8.0, 16.0, 40.0])
    marginal = (worth(epochs + 1e-4) - worth(epochs - 1e-4)) / 2e-4
    np.testing.assert_allclose(marginal, [0.937, 0.823, 0.635, 0.377, 0.079], atol=6e-4)


@pytest.mark.parametrize(
    ("name", "flops", "n_params", "n_tokens", "loss"),
    [
        # Hoffmann et al. 2022, eq. 4 at Gopher's compute, with the TeX and the printed constants.
        ("hoffmann", 5.76e23, 4.036e10, 2.379e12, 1.91841),
        ("hoffmann_printed", 5.76e23, 3.219e10, 2.982e12, 1.93075),
        # Besiroglu et al. 2024 at notebook precision: printed 72.3 B and 18.4 tokens each.
        ("besiroglu", 5.76e23, 7.23e10, 1.328e12, None),
        # Muennighoff et al. 2023, tied exponents: 70.0 B parameters.
        ("muennighoff", 5.76e23, 7.00e10, 1.37e12, None),
    ],
)
def test_optimum(name, flops, n_params, n_tokens, loss):
    component = _best(name)
    best = optimum(component.theta, [flops], law=component.law)
    assert best.n_params[0] == pytest.approx(n_params, rel=2e-3)
    assert best.n_tokens[0] == pytest.approx(n_tokens, rel=2e-3)
    if loss is not None:
        assert best.loss[0] == pytest.approx(loss, abs=6e-6)


def test_besiroglu_printed():
    best = optimum(BESIROGLU_PRINTED, [5.76e23, 1e21])
    np.testing.assert_allclose(best.n_params, [7.225e10, 2.778e9], rtol=3e-4)
    np.testing.assert_allclose(best.n_tokens, [1.329e12, 5.999e10], rtol=3e-4)
    np.testing.assert_allclose(best.loss, [1.97444, 2.30553], atol=6e-6)
    many = optimum(BESIROGLU_PRINTED, [1e19, 1e21, 1e23, 1e25, 1e26])
    ratio = many.n_tokens / many.n_params
    np.testing.assert_allclose(ratio, [24.25, 21.59, 19.22, 17.11, 16.15], atol=6e-3)


@pytest.mark.parametrize(
    ("name", "eta", "a", "b"),
    [
        ("gadre_c4", 0.1212, 141.3, 189.5),
        ("gadre_redpajama", 0.1364, 212.2, 366.7),
        ("gadre_refinedweb", 0.1272, 157.1, 246.2),
    ],
)
def test_gadre_optimum_is_far_below_twenty(name, eta, a, b):
    # Gadre et al. 2024: the paper's own form has its minimum at M = D/N = (b/a)^(1/(2 eta)).
    ratio = (b / a) ** (1 / (2 * eta))
    assert 3 < ratio < 8
    component = _best(name)
    best = optimum(component.theta, [1e21], law=component.law)
    assert best.n_tokens[0] / best.n_params[0] == pytest.approx(ratio)


@pytest.mark.parametrize(
    ("name", "inputs", "value", "tolerance"),
    [
        # Li et al. 2025 (Step Law), 1 B parameters on 100 B tokens, with the printed constants.
        ("step_law_lr", {"n_params": 1e9, "n_tokens": 1e11}, 1.632e-3, 5e-7),
        ("step_law_batch", {"n_tokens": 1e11}, 1.108e6, 5e2),
        # DeepSeek LLM 2024 at 1e20 FLOPs.
        ("deepseek_lr", {"flops": 1e20}, 9.860e-4, 5e-8),
        ("deepseek_batch", {"flops": 1e20}, 1.017e6, 5e2),
        # Porian et al. 2024, rounded rule of the OLMo ladder, 1 B parameters.
        ("porian_lr", {"n_params": 1e9}, 2.24e-3, 5e-6),
        ("porian_batch", {"n_params": 1e9}, 1.445e6, 5e2),
        # Gadre et al. 2024: eps - k exp(-gamma L) at a C4 loss of 2.5.
        ("gadre_error_c4_17", {"loss": 2.5}, 0.850 - 2.08 * np.exp(-0.756 * 2.5), 1e-12),
    ],
)
def test_learning_rates_batches_and_errors(name, inputs, value, tolerance):
    assert _loss(name, **inputs) == pytest.approx(value, abs=tolerance)


def test_every_published_law_says_where_it_comes_from():
    for published in PUBLISHED:
        assert "arXiv:" in published.source
        assert published.estimate.n_params_convention
        assert find_published(published.name) is published
    assert len({published.name for published in PUBLISHED}) == len(PUBLISHED)


def test_unknown_names_list_the_known():
    with pytest.raises(InputError, match="chinchilla_tied"):
        find_law("chincilla")
    with pytest.raises(InputError, match="besiroglu"):
        find_published("hofmann")
    for law in LAWS:
        assert find_law(law.name) is law


@pytest.mark.parametrize(
    ("name", "a", "ratio", "size"),
    [
        # Reference values at Gopher's compute, 5.76e23 FLOPs: exponent of N, D/N, N.
        ("hoffmann_printed", 0.4516, 92.6, 32.2e9),
        ("hoffmann", 0.4565, 58.9, 40.4e9),
        ("devries", 0.457, 55.2, 41.7e9),
        ("muennighoff", 0.5, 19.6, 70.0e9),
        ("muennighoff_untied", 0.5335, 9.8, 99e9),
    ],
)
def test_constants_of_one_form_disagree_on_the_optimum(name, a, ratio, size):
    component = _best(name)
    best = optimum(component.theta, [5.76e23], law=component.law)
    assert float(best.a) == pytest.approx(a, abs=2.5e-4)
    assert best.n_tokens[0] / best.n_params[0] == pytest.approx(ratio, rel=2e-3)
    assert best.n_params[0] == pytest.approx(size, rel=2e-3)


def test_exact_minimum_on_the_digitised_points_is_nearly_square():
    # Besiroglu et al.'s objective at its true minimum: a = 0.5139, 17.9 tokens per parameter.
    best = optimum([1.8172, 477.83, 0.3473, 2143.42, 0.3672], [5.76e23])
    assert float(best.a) == pytest.approx(0.5139, abs=1e-4)
    assert best.n_tokens[0] / best.n_params[0] == pytest.approx(17.9, rel=1e-2)


@pytest.mark.parametrize(
    ("theta", "objective", "tolerance"),
    [
        # Sum of Huber's loss (delta 1e-3) of log residuals on the 240 points, halves counted.
        ("hoffmann", 1.23116e-3, 6e-9),
        ("hoffmann_printed", 4.121e-3, 6e-7),
        ("besiroglu", 1.018645e-3, 6e-10),
        # As printed in arXiv:2404.10102.
        ((1.8172, 482.01, 0.3478, 2085.43, 0.3658), 1.02284e-3, 6e-9),
        ((1.8172, 477.83, 0.3473, 2143.42, 0.3672), 1.0183e-3, 6e-6),
    ],
)
def test_published_constants_on_the_digitised_points(data_dir, theta, objective, tolerance):
    with open(data_dir / "chinchilla_epoch.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["used_in_paper_fit"] == "1"]
    inputs = {n: np.array([float(row[n]) for row in rows]) for n in ("n_params", "n_tokens")}
    constants = _best(theta).theta if isinstance(theta, str) else np.array(theta)
    residual = np.log(find_law("chinchilla").predict(constants, inputs))
    residual -= np.log([float(row["loss"]) for row in rows])
    far = np.abs(residual)
    huber = np.where(far <= 1e-3, far**2 / 2, 1e-3 * (far - 5e-4))
    assert huber.sum() == pytest.approx(objective, abs=tolerance)


def test_kaplan_steps_and_batch():
    # Kaplan et al. 2020, eq. 1.6 with Table 3 and eq. 1.4 with Table 5, evaluated.
    assert _loss("kaplan_steps", n_params=1e9, steps=1e5) == pytest.approx(2.40051, abs=6e-6)
    assert _loss("kaplan_batch", loss=3.0) == pytest.approx(1.1226e6, rel=5e-5)


def test_kaplan_rule_against_overfitting():
    # Kaplan et al. 2020, eq. 4.3 and 4.4: the loss is 2 % above that of endless data at
    # D = 5e3 N^0.74 (constant printed with one digit).
    size = np.array([1e7, 1e8, 1e9])
    estimate = find_published("kaplan").estimate
    inputs = [{"n_params": size, "n_tokens": 5e3 * size**0.74}, {"n_params": size}]
    inputs[1]["n_tokens"] = np.full(3, 1e30)
    seen, endless = (estimate.predict(one).mean for one in inputs)
    np.testing.assert_allclose(seen / endless - 1, 0.02, atol=0.0025)


@pytest.mark.parametrize(
    ("name", "x", "loss"),
    [
        # Henighan et al. 2020, Table 1: at the scale itself the reducible loss is one nat;
        # compute there is in PF-days.
        ("henighan_image8_n_params", 80.0, 4.12),
        ("henighan_image8_flops", 1.8e-8 * PF_DAY, 4.13),
        ("henighan_video_flops", 2.2e-5 * PF_DAY, 1.95),
        ("henighan_maths_n_params", 1.1e4, 1.28),
        ("henighan_n_params", 1.47e14, 1.0),
        ("henighan_text_to_image_text_n_params", 5.6e8, 1.0),
    ],
)
def test_henighan_scales(name, x, loss):
    assert _loss(name, x=x) == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "flops", "tokens", "tolerance"),
    [
        # DeepSeek LLM 2024, sec. 3, evaluated.
        ("deepseek_optimal_n_tokens", 1e20, 1.9045e10, 5e-5),
        # Llama 3 2024: 16.55 T tokens are stated at 3.8e25 FLOPs; its legend gives 16.3 T.
        ("llama3_optimal_n_tokens", 3.8e25, 16.3e12, 5e-3),
        # Kaplan et al. 2020, Table 6, at one PF-day.
        ("kaplan_optimal_n_tokens", PF_DAY, 2e10, 1e-12),
        ("kaplan_optimal_n_params", PF_DAY, 1.3e9, 1e-12),
    ],
)
def test_optima_as_powers_of_compute(name, flops, tokens, tolerance):
    assert _loss(name, flops=flops) == pytest.approx(tokens, rel=tolerance)


def test_porian_optima_multiply_to_the_compute():
    # Porian et al. 2024: size and tokens are fitted apart, yet 6 N D is C to 3 %.
    names = [one.name for one in PUBLISHED if one.name.startswith("porian_")]
    sizes = [name for name in names if name.endswith("_optimal_n_params")]
    assert len(sizes) == 10
    for name in sizes:
        tokens = name.replace("n_params", "n_tokens")
        for flops in (1e17, 1e19):
            product = 6 * _loss(name, flops=flops) * _loss(tokens, flops=flops)
            assert product == pytest.approx(flops, rel=0.03), name
    # The tuned ladder on RefinedWeb: 15.9 tokens per parameter at 1e21 FLOPs.
    tuned = "porian_refinedweb_tuned_optimal_"
    ratio = _loss(f"{tuned}n_tokens", flops=1e21) / _loss(f"{tuned}n_params", flops=1e21)
    assert ratio == pytest.approx(15.9, abs=0.05)


def _tokens_for(theta, loss, n_params):
    """Tokens that bring a size to the loss."""
    law = find_law("chinchilla")

    def miss(log_d):
        inputs = {"n_params": np.array([n_params]), "n_tokens": np.array([np.exp(log_d)])}
        return float(law.predict(theta, inputs)[0]) - loss

    return float(np.exp(brentq(miss, np.log(1e6), np.log(1e22), xtol=1e-13)))


@pytest.mark.parametrize(
    ("name", "smaller", "more_tokens", "tolerance"),
    [
        # de Vries 2023: tokens for the same loss at a share of the optimal size; the overheads
        # k_N k_D - 1 are 2.85, 20.8, 105.6 and 188.9 %.
        ("devries", (0.75, 0.5, 0.3, 0.25), (1.3713, 2.4156, 6.8522, 11.555), 5e-5),
        # The same with Besiroglu's constants: 3.35, 25.9, 161 and 347 %.
        ("besiroglu", (0.75, 0.5, 0.3, 0.25), (1.03350, 1.259, 2.61, 4.47), 2e-3),
    ],
)
def test_smaller_models_need_more_tokens(name, smaller, more_tokens, tolerance):
    theta = _best(name).theta
    best = optimum(theta, [5.76e23])
    n, d, loss = (float(one[0]) for one in (best.n_params, best.n_tokens, best.loss))
    found = np.array([_tokens_for(theta, loss, n * share) / d for share in smaller])
    expected = np.array(more_tokens) / (1.0 if name == "devries" else np.array(smaller))
    np.testing.assert_allclose(found, expected, rtol=tolerance)


def test_size_for_two_trillion_tokens_of_inference():
    # Sardana et al. 2024, released code: least 6 N D + 2 N D_inf at a loss of 1.947.
    theta, served = _best("devries").theta, 2e12

    def flops(log_n):
        size = float(np.exp(log_n))
        return np.log(6 * size * _tokens_for(theta, 1.947, size) + 2 * size * served)

    bounds = (np.log(1.5e10), np.log(6e10))
    size = float(np.exp(minimize_scalar(flops, bounds=bounds, options={"xatol": 1e-9}).x))
    assert size == pytest.approx(2.418e10, rel=3e-4)
    assert _tokens_for(theta, 1.947, size) == pytest.approx(2.657e12, rel=5e-4)


@pytest.mark.parametrize(
    ("alpha", "beta", "errors"),
    [
        # Czech et al. 2026, arXiv:2603.22339: error of D_opt from a parabola through 15 points
        # over +-2, 4, 8 and 16 times, in per cent.
        (0.34, 0.28, (-0.33, -1.30, -2.90, -5.10)),
        (0.46, 0.15, (-1.68, -6.50, -13.9, -23.1)),
    ],
)
def test_parabolas_misplace_the_optimum(alpha, beta, errors):
    theta = np.array([1.7, 400.0, alpha, 400.0, beta])
    best = optimum(theta, [1e21])
    for width, error in zip((2, 4, 8, 16), errors, strict=True):
        w = np.linspace(-np.log10(width), np.log10(width), 15)
        size, tokens = best.n_params * 10**w, best.n_tokens * 10**-w
        loss = find_law("chinchilla").predict(theta, {"n_params": size, "n_tokens": tokens})
        c2, c1, _ = np.polyfit(w, loss, 2)
        assert 100 * (10 ** (c1 / (2 * c2)) - 1) == pytest.approx(error, abs=0.06)


def test_farseer_refit_at_the_held_out_run():
    # Printed constants lie 5.1 % below the run of 25.1 B and 126 B tokens, the refit 1.0 % above.
    printed = [-0.021, 0.169, -0.091, 88.01, -0.1, -6.287, -0.124, 0.123, 0.424]
    run = {"n_params": np.array([2.51e10]), "n_tokens": np.array([1.26e11])}
    component = _best("farseer_refit")
    ratio = component.law.predict(np.array(printed), run) / component.law.predict(
        component.theta, run
    )
    assert float(ratio[0]) == pytest.approx((1 - 0.051) / 1.010, abs=1.5e-3)
