"""Accelerators: dense peaks, memory, links, power, rent, each with its source and date."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from isoflop._errors import InputError

_EPOCH = "Epoch AI chip dataset (epoch-research/training-cost-trends, 263c40a)"
_EPOCH_PRICES = "Epoch AI hardware prices (epoch-research/training-cost-trends, 263c40a)"
_NVIDIA = "NVIDIA aiconfigurator-core 0.12.0, systems/*.yaml"
_MERCATUS = "mercatus-ai.com/blog/cloud-gpu-pricing"
_TPU7X = "docs.cloud.google.com/tpu/docs/tpu7x"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One device; peaks are dense (never with 2:4 sparsity), prices are rent a device-hour.

    None stands for what does not exist (an fp8 peak) or is not known.
    """

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
    kind: str = "GPU"
    """GPU, TPU, ASIC or CPU."""
    release: int | None = None
    """Year."""
    fp8_tflops: float | None = None
    """Dense fp8 peak [10¹² FLOP/s]."""
    fp4_tflops: float | None = None
    scale_up_gbps: float | None = None
    """To the devices of its own node or pod, one direction [GB/s]."""
    scale_out_gbit: float | None = None
    """To other nodes, typical share of a device [Gbit/s]."""
    tdp_w: float | None = None
    """Thermal design power [W]."""


def _row(
    name: str,
    made: tuple[str, int],
    peaks: tuple[float, float | None, float | None],
    memory: tuple[float, float],
    links: tuple[float | None, float | None, float | None],
    *,
    price: tuple[float, float, str] | None,
    source: str,
    note: str = "",
) -> Accelerator:
    low, high, date = price if price is not None else (None, None, "")
    return Accelerator(
        name=name,
        kind=made[0],
        release=made[1],
        bf16_tflops=peaks[0],
        fp8_tflops=peaks[1],
        fp4_tflops=peaks[2],
        memory_gb=memory[0],
        bandwidth_gbps=memory[1],
        scale_up_gbps=links[0],
        scale_out_gbit=links[1],
        tdp_w=links[2],
        price_low=low,
        price_high=high,
        price_date=date,
        source=source,
        note=note,
    )


# name, (kind, year), (dense bf16, fp8, fp4 TFLOP/s), (memory GB, GB/s), (scale-up GB/s one way,
# scale-out Gbit/s, W), (USD/h low, high, date of the prices), sources, note
ACCELERATORS: tuple[Accelerator, ...] = (
    _row(
        "A100-SXM-40GB",
        ("GPU", 2020),
        (312, None, None),
        (40, 1555),
        (300, 200, 400),
        price=(1.29, 4.1, "2025-03"),
        source=f"{_EPOCH}; price: {_EPOCH_PRICES} (Lambda, AWS)",
    ),
    _row(
        "A100-SXM-80GB",
        ("GPU", 2020),
        (312, None, None),
        (80, 2039),
        (300, 200, 400),
        price=(0.8, 3.0, "2026-05"),
        source=f"{_EPOCH}; {_NVIDIA}; price: {_MERCATUS}",
    ),
    _row(
        "A100-PCIe-80GB",
        ("GPU", 2021),
        (312, None, None),
        (80, 1935),
        (32, 200, 300),
        price=(1.39, 1.64, "2026"),
        source=f"{_EPOCH}; price: SkyPilot catalog runpod/vms.csv (01acdfd); {_EPOCH_PRICES}",
        note="an NVLink bridge is optional",
    ),
    _row(
        "H100-SXM",
        ("GPU", 2022),
        (989.5, 1979, None),
        (80, 3350),
        (450, 400, 700),
        price=(1.99, 6.88, "2026-05"),
        source=f"{_EPOCH}; {_NVIDIA}; price: {_MERCATUS} (low); "
        "compux.net/docs/guides/gpu-pricing-trends-2026 (AWS on demand, high)",
        note="marketing pages quote 1979 and 3958 with 2:4 sparsity",
    ),
    _row(
        "H100-PCIe",
        ("GPU", 2022),
        (756.5, 1513, None),
        (80, 2000),
        (64, 400, 350),
        price=(1.98, 3.29, "2025-03"),
        source=f"{_NVIDIA}; price: {_EPOCH_PRICES}",
    ),
    _row(
        "H800-SXM",
        ("GPU", 2023),
        (989.5, 1979, None),
        (80, 3350),
        (200, 400, 700),
        price=(2.0, 2.0, "2024-12"),
        source=f"{_EPOCH}; price: DeepSeek-V3 report, arXiv:2412.19437, assumes 2 USD/h",
        note="an H100 with NVLink cut to 400 GB/s both ways",
    ),
    _row(
        "H200-SXM",
        ("GPU", 2024),
        (989.5, 1979, None),
        (141, 4800),
        (450, 400, 700),
        price=(2.5, 7.0, "2026-05"),
        source=f"{_EPOCH}; {_NVIDIA}; price: {_MERCATUS}",
    ),
    _row(
        "B200-SXM",
        ("GPU", 2025),
        (2250, 4500, 9000),
        (180, 7700),
        (900, 800, 1000),
        price=(3.75, 14.24, "2026-06"),
        source=f"{_NVIDIA}; price: packet.ai/blog/gpu-pricing-models-compared",
        note="180 of 192 GB can be used",
    ),
    _row(
        "B300-SXM",
        ("GPU", 2025),
        (2250, 4500, 14000),
        (288, 7750),
        (900, 800, 1100),
        price=None,
        source=_NVIDIA,
        note="268 GiB can be seen",
    ),
    _row(
        "GB200",
        ("GPU", 2025),
        (2500, 5000, 10000),
        (186, 8000),
        (900, 800, 1200),
        price=(4.54, 4.54, "2026-03"),
        source=f"{_NVIDIA}; price: spheron.network/blog/nvidia-h200-vs-b200-vs-gb200",
        note="one of the 72 GPUs of an NVL72, which share the scale-up link; half the price of a "
        "two-GPU superchip",
    ),
    _row(
        "MI300X",
        ("GPU", 2023),
        (1307.4, 2614.9, None),
        (192, 5300),
        (448, 400, 750),
        price=(1.5, 6.0, "2026-05"),
        source=f"{_EPOCH}; price: cliffcenter.com/research/amd-inference-economics",
    ),
    _row(
        "MI355X",
        ("GPU", 2025),
        (2516, 5033, 10066),
        (288, 8000),
        (537, 400, 1400),
        price=None,
        source="theregister.com/2025/06/12/amd_mi355x; aiwiki.ai/wiki/amd_instinct_mi355x",
        note="exact peak recalled, not checked; an early sheet lists 2340",
    ),
    _row(
        "L40S",
        ("GPU", 2023),
        (362, 733, None),
        (48, 864),
        (32, 100, 350),
        price=(0.86, 1.55, "2026"),
        source=f"{_EPOCH}; {_NVIDIA}; price: {_EPOCH_PRICES} (low, 2025-03); "
        "SkyPilot catalog nebius/vms.csv (high)",
        note="PCIe only",
    ),
    _row(
        "RTX-4090",
        ("GPU", 2022),
        (165.2, 330.3, None),
        (24, 1008),
        (32, None, 450),
        price=(0.2, 0.69, "2025-03"),
        source=f"hmc-tech.com/gpus/nvidia-geforce-rtx-4090-vs-nvidia-rtx-pro-5000-blackwell; "
        f"price: {_EPOCH_PRICES}",
        note="float16 accumulation doubles the peak; no peer-to-peer links",
    ),
    _row(
        "RTX-5090",
        ("GPU", 2025),
        (209.5, 419, 1676),
        (32, 1792),
        (64, None, 575),
        price=None,
        source="spheron.network/blog/nvidia-rtx-5090-specs",
        note="whitepaper values recalled, not checked; float32 accumulation",
    ),
    _row(
        "TPU-v4",
        ("TPU", 2021),
        (275, None, None),
        (32, 1200),
        (270, 25, 170),
        price=(1.45, 3.22, "2025-03"),
        source=f"jax-ml/scaling-book tpus.md (04d8de5); {_EPOCH}; price: {_EPOCH_PRICES}",
    ),
    _row(
        "TPU-v5e",
        ("TPU", 2023),
        (197, None, None),
        (16, 819),
        (200, 25, 140),
        price=(0.54, 1.56, "2025-03"),
        source=f"jax-ml/scaling-book tpus.md (04d8de5); {_EPOCH}; price: {_EPOCH_PRICES}",
    ),
    _row(
        "TPU-v5p",
        ("TPU", 2023),
        (459, 459, None),
        (95, 2765),
        (600, 50, None),
        price=(2.94, 4.2, "2025"),
        source=f"{_TPU7X}; price: Google list price",
        note="price recalled, not checked",
    ),
    _row(
        "TPU-v6e",
        ("TPU", 2024),
        (918, 918, None),
        (32, 1638),
        (400, 100, None),
        price=(1.22, 3.24, "2025-03"),
        source=f"{_TPU7X}; price: {_EPOCH_PRICES}",
        note="Trillium; fp8 is no faster than bf16",
    ),
    _row(
        "TPU7x",
        ("TPU", 2025),
        (2307, 4614, None),
        (192, 7380),
        (600, 100, 980),
        price=None,
        source=_TPU7X,
        note="Ironwood",
    ),
    _row(
        "Trainium2",
        ("ASIC", 2024),
        (667, 1299, None),
        (96, 2900),
        (640, 200, 500),
        price=None,
        source="awsdocs-neuron.readthedocs-hosted.com, neuron-hardware/trainium2",
        note="TDP from the Epoch AI chip dataset",
    ),
    _row(
        "Gaudi3",
        ("ASIC", 2024),
        (1678, 1678, None),
        (128, 3700),
        (525, 200, 900),
        price=None,
        source=f"{_EPOCH} (Intel whitepaper)",
        note="earlier material: 1835",
    ),
    _row(
        "V100-SXM-32GB",
        ("GPU", 2018),
        (125, None, None),
        (32, 900),
        (150, 100, 300),
        price=None,
        source="NVIDIA datasheet",
        note="fp16 peak: it has no bf16; recalled, not checked",
    ),
    _row(
        "TPU-v3",
        ("TPU", 2018),
        (123, None, None),
        (32, 900),
        (None, None, 220),
        price=None,
        source=_EPOCH,
        note="jax-ml/scaling-book lists 140",
    ),
    _row(
        "CPU-64-core",
        ("CPU", 2023),
        (4, None, None),
        (512, 300),
        (None, 25, 280),
        price=(0.5, 3.0, "2026"),
        source="64 cores · 2.2 GHz · 32 FLOP a cycle (AVX-512, float32); "
        "price: vCPU at about 0.025 USD/h",
        note="a generic server, an estimate",
    ),
)
"""Accelerators known by name. Prices move: `read_hardware` adds or amends rows by a TOML file."""


def find_accelerator(name: str, accelerators: Sequence[Accelerator] = ACCELERATORS) -> Accelerator:
    """The accelerator called `name`; case, spaces and dashes do not matter.

    A beginning that only one accelerator has is enough (`h200`).

    Args:
        name: what to look for.
        accelerators: where to look: the table known here, or that of `read_hardware`.

    Raises:
        InputError: no accelerator, or several, are called so; the text lists the close names.
    """
    wanted = plain_name(name)
    by_name = {plain_name(accelerator.name): accelerator for accelerator in accelerators}
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
        accelerator.name for accelerator in accelerators
    )
    raise InputError(f"`hardware` = {name!r} is not known. Use one of: {names}.")


def plain_name(name: str) -> str:
    """The letters and digits of a name, in lower case: what two names are compared by."""
    return "".join(letter for letter in name.lower() if letter.isalnum())
