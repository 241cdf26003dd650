"""Accelerators: dense peaks, memory and rental prices, each with its source and date."""

import difflib
from dataclasses import dataclass

from isoflop._errors import InputError

_EPOCH = "Epoch AI chip dataset (epoch-research/training-cost-trends, 263c40a)"
_EPOCH_PRICES = "Epoch AI hardware prices (epoch-research/training-cost-trends, 263c40a)"
_NVIDIA = "NVIDIA aiconfigurator-core 0.12.0, systems/*.yaml"
_MERCATUS = "mercatus-ai.com/blog/cloud-gpu-pricing"
_TPU7X = "docs.cloud.google.com/tpu/docs/tpu7x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One device; peaks are dense (never with 2:4 sparsity), prices are rent a device-hour."""

    name: str
    bf16_tflops: float
    """Dense bf16 peak with float32 accumulation [10¹² FLOP/s]."""
    memory_gb: float
    bandwidth_gbps: float
    """Memory bandwidth [GB/s]."""
    price_low: float | None
    """[USD/hour]; None where no price is known."""
    price_high: float | None
    price_date: str
    source: str
    note: str = ""


def _row(
    name: str,
    sizes: tuple[float, float, float],
    price: tuple[float, float, str] | None,
    source: str,
    note: str = "",
) -> Accelerator:
    low, high, date = price if price is not None else (None, None, "")
    return Accelerator(
        name=name,
        bf16_tflops=sizes[0],
        memory_gb=sizes[1],
        bandwidth_gbps=sizes[2],
        price_low=low,
        price_high=high,
        price_date=date,
        source=source,
        note=note,
    )


# (dense bf16 TFLOP/s, memory GB, bandwidth GB/s), (USD/h low, high, date of the prices)
ACCELERATORS: tuple[Accelerator, ...] = (
    _row(
        "A100-SXM-40GB",
        (312, 40, 1555),
        (1.29, 4.1, "2025-03"),
        f"{_EPOCH}; price: {_EPOCH_PRICES} (Lambda, AWS)",
    ),
    _row(
        "A100-SXM-80GB",
        (312, 80, 2039),
        (0.8, 3.0, "2026-05"),
        f"{_EPOCH}; {_NVIDIA}; price: {_MERCATUS}",
    ),
    _row(
        "A100-PCIe-80GB",
        (312, 80, 1935),
        (1.39, 1.64, "2026"),
        f"{_EPOCH}; price: SkyPilot catalog runpod/vms.csv (01acdfd); {_EPOCH_PRICES}",
    ),
    _row(
        "H100-SXM",
        (989.5, 80, 3350),
        (1.99, 6.88, "2026-05"),
        f"{_EPOCH}; {_NVIDIA}; price: {_MERCATUS} (low); "
        "compux.net/docs/guides/gpu-pricing-trends-2026 (AWS on demand, high)",
    ),
    _row(
        "H100-PCIe",
        (756.5, 80, 2000),
        (1.98, 3.29, "2025-03"),
        f"{_NVIDIA}; price: {_EPOCH_PRICES}",
    ),
    _row(
        "H800-SXM",
        (989.5, 80, 3350),
        (2.0, 2.0, "2024-12"),
        f"{_EPOCH}; price: DeepSeek-V3 report, arXiv:2412.19437, assumes 2 USD/h",
    ),
    _row(
        "H200-SXM",
        (989.5, 141, 4800),
        (2.5, 7.0, "2026-05"),
        f"{_EPOCH}; {_NVIDIA}; price: {_MERCATUS}",
    ),
    _row(
        "B200-SXM",
        (2250, 180, 7700),
        (3.75, 14.24, "2026-06"),
        f"{_NVIDIA}; price: packet.ai/blog/gpu-pricing-models-compared",
    ),
    _row("B300-SXM", (2250, 288, 7750), None, _NVIDIA),
    _row(
        "GB200",
        (2500, 186, 8000),
        (4.54, 4.54, "2026-03"),
        f"{_NVIDIA}; price: spheron.network/blog/nvidia-h200-vs-b200-vs-gb200",
        "one GPU of an NVL72; half the price of a two-GPU superchip",
    ),
    _row(
        "MI300X",
        (1307.4, 192, 5300),
        (1.5, 6.0, "2026-05"),
        f"{_EPOCH}; price: cliffcenter.com/research/amd-inference-economics",
    ),
    _row(
        "MI355X",
        (2516, 288, 8000),
        None,
        "theregister.com/2025/06/12/amd_mi355x; aiwiki.ai/wiki/amd_instinct_mi355x",
        "exact peak recalled, not checked; an early sheet lists 2340",
    ),
    _row(
        "L40S",
        (362, 48, 864),
        (0.86, 1.55, "2026"),
        f"{_EPOCH}; {_NVIDIA}; price: {_EPOCH_PRICES} (low, 2025-03); "
        "SkyPilot catalog nebius/vms.csv (high)",
    ),
    _row(
        "RTX-4090",
        (165.2, 24, 1008),
        (0.2, 0.69, "2025-03"),
        f"hmc-tech.com/gpus/nvidia-geforce-rtx-4090-vs-nvidia-rtx-pro-5000-blackwell; "
        f"price: {_EPOCH_PRICES}",
    ),
    _row(
        "RTX-5090",
        (209.5, 32, 1792),
        None,
        "spheron.network/blog/nvidia-rtx-5090-specs",
        "whitepaper value recalled, not checked",
    ),
    _row(
        "TPU-v4",
        (275, 32, 1200),
        (1.45, 3.22, "2025-03"),
        f"jax-ml/scaling-book tpus.md (04d8de5); {_EPOCH}; price: {_EPOCH_PRICES}",
    ),
    _row(
        "TPU-v5e",
        (197, 16, 819),
        (0.54, 1.56, "2025-03"),
        f"jax-ml/scaling-book tpus.md (04d8de5); {_EPOCH}; price: {_EPOCH_PRICES}",
    ),
    _row(
        "TPU-v5p",
        (459, 95, 2765),
        (2.94, 4.2, "2025"),
        f"{_TPU7X}; price: Google list price",
        "price recalled, not checked",
    ),
    _row(
        "TPU-v6e",
        (918, 32, 1638),
        (1.22, 3.24, "2025-03"),
        f"{_TPU7X}; price: {_EPOCH_PRICES}",
        "Trillium",
    ),
    _row("TPU7x", (2307, 192, 7380), None, _TPU7X, "Ironwood"),
    _row(
        "Trainium2",
        (667, 96, 2900),
        None,
        "awsdocs-neuron.readthedocs-hosted.com, neuron-hardware/trainium2",
    ),
    _row(
        "Gaudi3",
        (1678, 128, 3700),
        None,
        f"{_EPOCH} (Intel whitepaper)",
        "earlier material: 1835",
    ),
    _row(
        "V100-SXM-32GB",
        (125, 32, 900),
        None,
        "NVIDIA datasheet",
        "fp16 peak: it has no bf16; recalled, not checked",
    ),
    _row("TPU-v3", (123, 32, 900), None, _EPOCH, "jax-ml/scaling-book lists 140"),
    _row(
        "CPU-64-core",
        (4.0, 512, 300),
        (0.5, 3.0, "2026"),
        "64 cores · 2.2 GHz · 32 FLOP a cycle (AVX-512, float32); price: vCPU at about 0.025 USD/h",
        "a generic server, an estimate",
    ),
)
"""Accelerators known by name. Prices move: pass your own `Accelerator` where it matters."""


def find_accelerator(name: str) -> Accelerator:
    """The accelerator called `name`; case, spaces and dashes do not matter.

    A beginning that only one accelerator has is enough (`h200`).

    Raises:
        InputError: no accelerator, or several, are called so; the text lists the close names.
    """
    wanted = _plain(name)
    by_name = {_plain(accelerator.name): accelerator for accelerator in ACCELERATORS}
    if wanted in by_name:
        return by_name[wanted]
    starting = [a for key, a in by_name.items() if wanted and key.startswith(wanted)]
    if len(starting) == 1:
        return starting[0]
    if starting:
        names = ", ".join(accelerator.name for accelerator in starting)
        raise InputError(f"`hardware` = {name!r} could be any of {names}. Give the full name.")
    close = difflib.get_close_matches(wanted, list(by_name), n=4, cutoff=0.4)
    names = ", ".join(by_name[key].name for key in close) or ", ".join(
        accelerator.name for accelerator in ACCELERATORS
    )
    raise InputError(f"`hardware` = {name!r} is not known. Use one of: {names}.")


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
