"""Published numbers, each with its source; tolerances are the printed digits."""

import numpy as np
import pytest

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
