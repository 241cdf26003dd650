"""`make bench-gpu` without a GPU: its arithmetic, its names of devices, its refusal."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from isoflop._errors import InputError
from isoflop.accounting import count_params

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"


@pytest.fixture
def bench_gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import bench_gpu

    return bench_gpu


def test_figures_are_shares_of_peak_and_of_the_measured_gemm(bench_gpu: ModuleType) -> None:
    """By hand: 6 · 342e6 · 200,000 = 4.104e14; /989.5e12 = .41475, /720e12 = .57."""
    found = bench_gpu.Figures(200_000.0, 160_000.0, 720e12, 989.5e12, 342_000_000)
    assert found.flops == pytest.approx(4.104e14, rel=1e-12)
    assert found.line() == "mfu_350m=0.415 vs_hf_350m=1.25 gemm_share=0.570"


def test_the_shape_has_about_350m_parameters(bench_gpu: ModuleType) -> None:
    """By hand: 24 layers of 4·1024² + 3·1024·2816, the norms that N leaves out, two embeddings."""
    config = bench_gpu.config_350m()
    layers, norms = 24 * (4 * 1024**2 + 3 * 1024 * 2816), (24 * 2 + 1) * 1024
    counted = count_params(config.shape)
    assert counted.under("non_embedding_with_head") == layers + 1024 * 32_768
    assert counted.total == layers + norms + 2 * 1024 * 32_768
    assert 0.97 < counted.under("non_embedding_with_head") / 350e6 < 1.03
    assert config.optimiser.batch_tokens == 32 * 2048
    assert config.shape.context == 2048


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989.5),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H200", 989.5),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA B200", 2250),
        ("NVIDIA GB200", 2500),
    ],
)
def test_the_peak_is_that_of_the_device(bench_gpu: ModuleType, name: str, peak: float) -> None:
    assert bench_gpu.accelerator_of(name, "").bf16_tflops == peak


def test_a_device_that_is_not_known_must_be_named(bench_gpu: ModuleType) -> None:
    for name in ("NVIDIA GeForce RTX 4090 Laptop GPU", "Tesla T4", "NVIDIA H200 NVL"):
        with pytest.raises(InputError, match=rf"--hardware.*{name}"):
            bench_gpu.accelerator_of(name, "")
    assert bench_gpu.accelerator_of("Tesla T4", "h200").name == "H200-SXM"


def test_without_a_gpu_it_says_so_and_exits_with_2() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPTS / "bench_gpu.py")], capture_output=True, text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.splitlines() == [
        "error: make bench-gpu: no CUDA device is usable here. "
        "Run it on a machine with a GPU; make bench-train measures the CPU."
    ]
