"""Serving beside what NVIDIA measured: TensorRT-LLM 0.9.0 on A100-SXM-80GB in fp16.

Source: github.com/NVIDIA/TensorRT-LLM, docs/source/performance.md at version 0.9.0. A batch starts
and ends together, so its throughput is output tokens over (prefill + all steps).
"""

import math

import numpy as np
import pytest
from served_models import LLAMA_2_7B, MIXTRAL, llama

from isoflop.accounting import Architecture, Serving, find_accelerator
from isoflop.accounting.serving import decode_seconds, prefill_seconds

A100 = find_accelerator("A100-SXM-80GB")
MODELS = {
    "mistral": llama("Mistral-7B", 32, 4096, (32, 8), 14336, 32_000),
    "mixtral": MIXTRAL,
    "7b": LLAMA_2_7B,
    "70b": llama("Llama-2-70B", 80, 8192, (64, 8), 28672, 32_000),
    "falcon": Architecture(
        name="Falcon-180B", n_layers=80, width=14848, n_heads=232, n_kv_heads=8, head_dim=64,
        ff_width=59392, vocab_size=65_024, mlp_matrices=2,
    ),
}  # fmt: skip

# model, batch, devices, input, output tokens, output tokens/s and device. Mixtral's last row takes
# 20 ms a step, less than its weights take at full bandwidth (93.4 GB by 2·2.039 TB/s: 22.9 ms):
# the made-up prompts of that benchmark reach few experts. It is the outlier, a factor 2.
THROUGHPUT = [
    ("mistral", 896, 1, 128, 128, 6251), ("mistral", 120, 1, 128, 2048, 3776),
    ("mistral", 64, 1, 2048, 128, 698), ("mistral", 56, 1, 2048, 2048, 1576),
    ("mixtral", 512, 2, 128, 128, 2842), ("mixtral", 128, 2, 128, 2048, 1724),
    ("mixtral", 64, 2, 2048, 128, 319), ("mixtral", 32, 2, 2048, 2048, 801),
    ("7b", 256, 1, 128, 128, 5390), ("7b", 32, 1, 128, 2048, 1484),
    ("7b", 32, 1, 2048, 128, 533), ("7b", 16, 1, 2048, 2048, 603),
    ("70b", 1024, 4, 128, 128, 686), ("70b", 512, 8, 128, 2048, 684),
    ("70b", 96, 4, 2048, 128, 80), ("70b", 64, 4, 2048, 2048, 289),
    ("falcon", 1024, 8, 128, 128, 254), ("falcon", 512, 8, 128, 2048, 266),
    ("falcon", 64, 8, 2048, 128, 29), ("falcon", 64, 8, 2048, 2048, 93),
]  # fmt: skip

# model, devices, input tokens, time to first token [ms]
FIRST_TOKEN = [
    ("mistral", 1, 128, 16.3), ("mistral", 1, 2048, 139.6), ("mixtral", 2, 128, 23.8),
    ("mixtral", 2, 2048, 160.9), ("7b", 1, 128, 16.2), ("7b", 1, 2048, 132.4),
    ("70b", 4, 128, 45.6), ("70b", 8, 2048, 249.2), ("falcon", 8, 128, 76.5),
    ("falcon", 8, 2048, 456.0),
]  # fmt: skip


def serving(model: str, input_tokens: int, output_tokens: int) -> Serving:
    return Serving(
        architecture=MODELS[model], accelerator=A100,
        input_tokens=input_tokens, output_tokens=output_tokens,
    )  # fmt: skip


def throughput_errors() -> np.ndarray:
    """ln(measured/said)."""
    errors = []
    for model, batch, n, read, written, measured in THROUGHPUT:
        request = serving(model, read, written)
        seconds = prefill_seconds(request, n, batch) + written * decode_seconds(request, n, batch)
        errors.append(math.log(measured / (batch * written / seconds / n)))
    return np.array(errors)


def first_token_errors() -> np.ndarray:
    return np.array(
        [
            math.log(measured / 1e3 / prefill_seconds(serving(model, length, 1), n))
            for model, n, length, measured in FIRST_TOKEN
        ]
    )


@pytest.mark.parametrize(
    ("errors", "factor", "rms"),
    [
        # The factors that the spreads of `inference_cost` promise for one sigma, and the rms that
        # these rows have, by which the constants of the formulas were chosen. Of first tokens the
        # rms is above what is promised (LOG.md), the 90 % interval holds what it should.
        (throughput_errors(), 1.25, 1.25),
        (first_token_errors(), 1.2, 1.25),
    ],
    ids=["throughput", "first token"],
)
def test_errors_are_as_large_as_the_spread_says(
    errors: np.ndarray, factor: float, rms: float
) -> None:
    assert np.sqrt(np.mean(errors**2)) < math.log(rms)
    assert abs(np.median(errors)) < math.log(1.2)
    within = np.mean(np.abs(errors) < 1.645 * math.log(factor))
    assert within >= 0.9
