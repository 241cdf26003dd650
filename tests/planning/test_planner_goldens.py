"""Published figures that a planner must give back; goldens of its parts lie with the parts.

Chinchilla's approach 3: tests/laws/test_golden_tables.py. Losses and worth of repeats:
tests/laws/test_golden.py. Weights: tests/accounting/test_huggingface.py. FLOPs: test_flops.py and
test_token_flops.py there; caches: test_inference.py. Overheads and demand: test_revealed.py here.
"""

import numpy as np
import pytest

from isoflop.accounting import Architecture, count_weights
from isoflop.laws import find_published
from isoflop.planning import plan
from isoflop.planning.advice import advice
from isoflop.planning.demand import Demand, solve_demand

HOW = {"mfu": 0.4}

# Hoffmann et al. 2022, arXiv:2203.15556: Table 3 (approach 1) and Table A3 (approach 2): size,
# FLOPs and tokens of each.
TABLE_A3 = (
    (400e6, (1.92e19, 8.0e9), (1.84e19, 7.7e9)),
    (1e9, (1.21e20, 20.2e9), (1.20e20, 20.0e9)),
    (10e9, (1.23e22, 205.1e9), (1.32e22, 219.5e9)),
    (67e9, (5.76e23, 1.5e12), (6.88e23, 1.7e12)),
    (175e9, (3.85e24, 3.7e12), (4.54e24, 4.3e12)),
    (280e9, (9.90e24, 5.9e12), (1.18e25, 7.1e12)),
    (520e9, (3.43e25, 11.0e12), (4.19e25, 13.4e12)),
    (1e12, (1.27e26, 21.2e12), (1.59e26, 26.5e12)),
    (10e12, (1.30e28, 216.2e12), (1.75e28, 292.0e12)),
)


@pytest.mark.parametrize("row", TABLE_A3, ids=lambda row: f"{row[0]:g}")
def test_chinchillas_tables(row: tuple[float, tuple[float, float], tuple[float, float]]) -> None:
    size, *approaches = row
    for number, (flops, tokens) in enumerate(approaches, start=1):
        found = advice(f"hoffmann_approach{number}", flops)
        # The row of 67 B lies off the line through the others: Chinchilla was rounded up to 70 B.
        off = {1: 0.015, 2: 0.036}[number] if size == 67e9 else 0.004
        assert found.n_params == pytest.approx(size, rel=off)
        # Tokens have two digits or three; 6·N·D of the printed cells is the printed FLOPs to 1.1 %
        # (4.7 % at 67 B).
        assert found.n_tokens == pytest.approx(tokens, rel=0.061 if size == 67e9 else 0.014)
        assert 6 * found.n_params * found.n_tokens == pytest.approx(flops, rel=1e-12)


def test_chinchillas_exponents() -> None:
    # Table 2: a = 0.50 and 0.49, b = 0.50 and 0.51.
    assert [round(advice(f"hoffmann_approach{n}", 1e21).a, 2) for n in (1, 2)] == [0.5, 0.49]


@pytest.mark.parametrize(
    ("size", "served", "n_params", "n_tokens", "saved"),
    [
        # Sardana et al. 2024, arXiv:2401.00448: of the quality of 30 B and of 70 B.
        (30e9, 5e12, 16.4e9, 3.27e12, 0.163),
        (70e9, 10e12, 41.6e9, 7.92e12, 0.119),
    ],
)
def test_sardanas_served_models(
    size: float, served: float, n_params: float, n_tokens: float, saved: float
) -> None:
    law = find_published("devries").estimate
    loss = plan(law, n_params=size, **HOW).loss.value
    solution, lifetime = solve_demand(law, {"loss": loss}, Demand(tokens=served), 0.9)
    # half a unit of the third digit
    assert np.exp(solution.log_params) == pytest.approx(n_params, rel=3e-3)
    assert np.exp(solution.log_tokens) == pytest.approx(n_tokens, rel=2e-3)
    assert lifetime.saving == pytest.approx(saved, abs=5.1e-4)
    assert lifetime.compute_optimal[0] == pytest.approx(size, rel=1e-6)


def test_sardanas_third_case() -> None:
    # The authors' code, laws.md 6.2: 71 % of the parameters, 147 % of the tokens, 95.2 % of the
    # FLOPs of the model that is compute-optimal for a loss of 1.947.
    law = find_published("devries").estimate
    solution, lifetime = solve_demand(law, {"loss": 1.947}, Demand(tokens=2e12), 0.9)
    n_params, n_tokens = np.exp(solution.log_params), np.exp(solution.log_tokens)
    assert (n_params, n_tokens) == pytest.approx((2.418e10, 2.657e12), rel=2.1e-4)
    assert lifetime.compute_optimal == pytest.approx((3.408e10, 1.810e12), rel=3e-4)
    assert round(100 * n_params / lifetime.compute_optimal[0]) == 71
    assert round(100 * n_tokens / lifetime.compute_optimal[1]) == 147
    assert 1 - lifetime.saving == pytest.approx(0.952, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "n_params", "n_tokens"),
    [
        # Muennighoff et al. 2023, arXiv:2305.16264, at Gopher's compute: tied and free exponents.
        ("muennighoff", 70.0e9, 1.37e12),
        ("muennighoff_untied", 99e9, 0.97e12),
    ],
)
def test_muennighoffs_optima(name: str, n_params: float, n_tokens: float) -> None:
    made = plan(find_published(name), flops=5.76e23, **HOW)
    assert made.n_params.value == pytest.approx(n_params, rel=5e-3)
    assert made.n_tokens.value == pytest.approx(n_tokens, rel=5.2e-3)


@pytest.mark.parametrize(("flops", "percent"), [(1e21, 0.65), (5.8e23, 0.25), (3.8e25, 0.12)])
def test_the_optimum_is_flat(flops: float, percent: float) -> None:
    # planner.md, finding 5, by Besiroglu's constants: the loss at twice the optimal size.
    law = find_published("besiroglu")
    best = plan(law, flops=flops, **HOW)
    n_params, n_tokens = best.n_params.value, best.n_tokens.value
    twice = plan(law, n_params=2 * n_params, n_tokens=n_tokens / 2, **HOW)
    assert 100 * (twice.loss.value / best.loss.value - 1) == pytest.approx(percent, abs=5e-3)


@pytest.mark.parametrize(
    ("width", "heads", "layers", "ff_width", "billions"),
    [
        # Touvron et al. 2023, arXiv:2302.13971, Table 2; MLP 8/3 widths, up to a multiple of 256.
        (4096, 32, 32, 11_008, 6.7),
        (5120, 40, 40, 13_824, 13.0),
        (6656, 52, 60, 17_920, 32.5),
        (8192, 64, 80, 22_016, 65.3),
    ],
)
def test_sizes_of_the_first_llamas(
    width: int, heads: int, layers: int, ff_width: int, billions: float
) -> None:
    model = Architecture(
        name="LLaMA", n_layers=layers, width=width, n_heads=heads, n_kv_heads=heads, head_dim=128,
        ff_width=ff_width, vocab_size=32_000,
    )  # fmt: skip
    assert round(count_weights(model).total / 1e9, 1) == billions
