"""The hardware table, time, money and memory."""

import csv
from pathlib import Path

import pytest

from isoflop._errors import InputError
from isoflop.accounting import (
    ACCELERATORS,
    cost_usd,
    count_params,
    device_hours,
    find_accelerator,
    training_days,
    training_memory_bytes,
)
from isoflop.specs import ModelShape

SMALL = ModelShape(vocab_size=512, width=64, depth=2, n_heads=4, ff_width=256, context=128)


def test_table_is_sane() -> None:
    assert len({a.name for a in ACCELERATORS}) == len(ACCELERATORS)
    for accelerator in ACCELERATORS:
        assert accelerator.bf16_tflops > 0
        assert accelerator.memory_gb > 0
        assert accelerator.bandwidth_gbps > 0
        assert accelerator.source
        if accelerator.price_low is not None:
            assert accelerator.price_high is not None
            assert 0 < accelerator.price_low <= accelerator.price_high
            assert accelerator.price_date


def test_peaks_are_dense() -> None:
    # NVIDIA quotes 1979 for the H100 with 2:4 sparsity; dense is half of it
    assert find_accelerator("H100-SXM").bf16_tflops == pytest.approx(1979 / 2)


@pytest.mark.parametrize("name", ["H100-SXM", "h100 sxm", "H100_SXM", "h100s"])
def test_names_are_forgiving(name: str) -> None:
    assert find_accelerator(name).name == "H100-SXM"


def test_every_name_finds_itself() -> None:
    for accelerator in ACCELERATORS:
        assert find_accelerator(accelerator.name) is accelerator


def test_ambiguous_and_unknown_names_list_the_close_ones() -> None:
    with pytest.raises(InputError, match="H100-SXM, H100-PCIe"):
        find_accelerator("H100")
    with pytest.raises(InputError, match="H200-SXM"):
        find_accelerator("H20-SXM")
    with pytest.raises(InputError, match="not known"):
        find_accelerator("")


def test_llama_65b_hours_from_its_throughput() -> None:
    """380 tokens/s a GPU, 1.4e12 tokens, 2048 A100: 1,022,362 h, about 21 days.

    Source: Touvron et al. 2023, arXiv:2302.13971, section 2.4 and table 15. 0.2 %: the printed
    throughput has two to three digits.
    """
    a100 = find_accelerator("A100-SXM-80GB")
    flops = 6 * 65.29e9 * 1.4e12
    mfu = 380 * 6 * 65.29e9 / 312e12
    assert device_hours(flops, a100, mfu) == pytest.approx(1_022_362, rel=2e-3)
    assert training_days(flops, a100, 2048, mfu) == pytest.approx(21, rel=0.01)


def test_llama_405b_hours_from_its_mfu() -> None:
    """400 TFLOP/s a GPU at 0.9 goodput: 30.84e6 H100-hours on the model card, within 2 %.

    Source: Grattafiori et al. 2024, arXiv:2407.21783, table 4, and the Llama 3.1 model card.
    The 400 counts causal attention, which is why exact FLOPs are used.
    """
    h100 = find_accelerator("H100-SXM")
    attention = 12 * 126 * 16_384 * (8192 + 1) / 2
    matrices = 6 * (405.85e9 - 128_256 * 16_384)
    flops = (matrices + attention) * 15.6e12
    assert device_hours(flops, h100, 0.9 * 400 / 989.5) == pytest.approx(30.84e6, rel=0.02)


def test_days_and_cost_are_proportional() -> None:
    h100 = find_accelerator("H100-SXM")
    assert training_days(1e21, h100, 8, 0.4) == pytest.approx(
        2 * training_days(1e21, h100, 16, 0.4)
    )
    hours = device_hours(1e21, h100, 0.4)
    assert training_days(1e21, h100, 8, 0.4) == pytest.approx(hours / 8 / 24)
    assert cost_usd(hours, h100) == pytest.approx((1.99 * hours, 6.88 * hours))
    assert cost_usd(hours, find_accelerator("B300-SXM")) is None


@pytest.mark.parametrize(
    ("n_devices", "mfu", "flops"), [(0, 0.4, 1e20), (8, 0.0, 1e20), (8, 1.1, 1e20), (8, 0.4, -1.0)]
)
def test_impossible_settings_are_refused(n_devices: int, mfu: float, flops: float) -> None:
    with pytest.raises(InputError, match="must hold"):
        training_days(flops, find_accelerator("H100-SXM"), n_devices, mfu)


def test_memory_is_states_plus_batch() -> None:
    one, two = (training_memory_bytes(SMALL, b) for b in (1024, 2048))
    states = 16 * count_params(SMALL).total
    assert two - one == one - states
    assert training_memory_bytes(SMALL, 1024, "bfloat16") < one


def test_memory_refuses_bad_input() -> None:
    with pytest.raises(InputError, match="'float16'"):
        training_memory_bytes(SMALL, 1024, "float16")
    with pytest.raises(InputError, match="batch_tokens >= 1"):
        training_memory_bytes(SMALL, 0)


@pytest.mark.parametrize(
    ("name", "peaks", "links"),
    [
        # TPU v6e: fp8 is no faster than bf16 (docs.cloud.google.com/tpu/docs/tpu7x)
        ("TPU-v6e", (918, 918, None), (400, 100, None)),
        # NVLink 5: 900 GB/s one way; fp8 twice, fp4 four times bf16
        ("B200-SXM", (2250, 4500, 9000), (900, 800, 1000)),
        # No fp8 before Hopper; NVLink 3: 600 GB/s both ways
        ("A100-SXM-80GB", (312, None, None), (300, 200, 400)),
        # NVLink cut to 400 GB/s both ways
        ("H800-SXM", (989.5, 1979, None), (200, 400, 700)),
    ],
)
def test_peaks_links_and_power(name: str, peaks: object, links: object) -> None:
    a = find_accelerator(name)
    assert (a.bf16_tflops, a.fp8_tflops, a.fp4_tflops) == peaks
    assert (a.scale_up_gbps, a.scale_out_gbit, a.tdp_w) == links


def test_table_agrees_with_the_collected_facts(data_dir: Path) -> None:
    names = {
        "GB200 (per GPU, NVL72)": "GB200",
        "TPU v6e (Trillium)": "TPU-v6e",
        "TPU7x (Ironwood)": "TPU7x",
        "CPU generic server (64c AVX-512)": "CPU-64-core",
    }
    columns = {
        "bf16_dense_TFLOPs": "bf16_tflops",
        "fp8_dense_TFLOPs": "fp8_tflops",
        "fp4_dense_TFLOPs": "fp4_tflops",
        "hbm_GB": "memory_gb",
        "hbm_GBps": "bandwidth_gbps",
        "scale_up_GBps_per_dir": "scale_up_gbps",
        "scale_out_Gbps_per_chip_typical": "scale_out_gbit",
        "tdp_W": "tdp_w",
        "rent_usd_per_chip_hour_low": "price_low",
        "rent_usd_per_chip_hour_high": "price_high",
        "release": "release",
    }
    with (data_dir / "hardware.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(ACCELERATORS)
    for row in rows:
        accelerator = find_accelerator(names.get(row["name"], row["name"]))
        assert accelerator.kind == row["class"]
        for column, field in columns.items():
            expected = float(row[column]) if row[column] else None
            assert getattr(accelerator, field) == expected, f"{row['name']}: {field}"
        if row["rent_date"]:
            assert row["rent_date"].endswith(accelerator.price_date)


def test_peaks_of_narrower_numbers_are_no_lower() -> None:
    for a in ACCELERATORS:
        peaks = [p for p in (a.bf16_tflops, a.fp8_tflops, a.fp4_tflops) if p is not None]
        assert peaks == sorted(peaks)
