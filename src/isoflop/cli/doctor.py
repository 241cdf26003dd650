"""What this machine offers and what is missing for which verb; imports nothing heavy."""

import importlib.util
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

# Verb -> (extra, importable module) of what it needs beyond the core.
NEEDS: dict[str, tuple[tuple[str, str], ...]] = {
    "data": (("data", "daft"), ("data", "tokenizers")),
    "run": (
        ("data", "daft"),
        ("data", "tokenizers"),
        ("train", "torch"),
        ("plot", "matplotlib"),
    ),
    "report": (("plot", "matplotlib"),),
    "export": (("train", "torch"), ("hf", "safetensors")),
}
# The smallest demo writes checkpoints and shards of a few hundred megabytes.
DISK_GB_WANTED = 2.0


def examine(folder: Path = Path(".")) -> dict[str, Any]:
    """The survey as plain data: machine, packages, verbs with what they lack, remedies."""
    disk_free_gb = round(shutil.disk_usage(folder).free / 1e9, 1)
    machine = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": usable_cores(),
        "bf16": cpu_bf16(_read("/proc/cpuinfo")),
        "memory_gb": memory_gb(_read("/proc/meminfo")),
        "disk_free_gb": disk_free_gb,
        "gpus": gpus(),
    }
    modules = sorted({module for needs in NEEDS.values() for _, module in needs})
    packages = {module: installed_version(module) for module in modules}
    missing = {
        verb: sorted({extra for extra, module in needs if packages[module] is None})
        for verb, needs in NEEDS.items()
    }
    remedies = [
        f"isoflop {verb}: pip install 'isoflop[{','.join(extras)}]'"
        for verb, extras in missing.items()
        if extras
    ]
    if disk_free_gb < DISK_GB_WANTED:
        remedies.append(f"less than {DISK_GB_WANTED:g} GB free here: a study may not fit")
    return {"machine": machine, "packages": packages, "missing": missing, "remedies": remedies}


def usable_cores() -> int:
    """Cores that this process may use (containers and taskset grant fewer than there are)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_bf16(cpuinfo: str) -> str | None:
    """The instruction set that multiplies bfloat16, from the text of /proc/cpuinfo, or None."""
    flags = set(cpuinfo.split())
    return next((name for name in ("amx_bf16", "avx512_bf16", "bf16") if name in flags), None)


def memory_gb(meminfo: str) -> float | None:
    """Memory that is available now [GB], from the text of /proc/meminfo, or None."""
    for line in meminfo.splitlines():
        if line.startswith("MemAvailable:"):
            return round(int(line.split()[1]) * 1024 / 1e9, 1)
    return None


def gpus() -> list[str]:
    """The NVIDIA accelerators that the driver lists, without loading torch."""
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    query = [command, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return []  # a driver without a device fails: there is no GPU to use
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]


def installed_version(module: str) -> str | None:
    """The version of an importable package, found without importing it, or None."""
    if importlib.util.find_spec(module) is None:
        return None
    try:
        return version(module)
    except PackageNotFoundError:
        return "unknown version"


def table(found: dict[str, Any]) -> "Table":
    """The survey for people."""
    from rich.markup import escape
    from rich.table import Table

    machine = found["machine"]
    rows = {
        "Python": machine["python"],
        "system": machine["system"],
        "cores": str(machine["cores"]),
        "bfloat16 on the CPU": machine["bf16"] or "no: trainings on the CPU use float32",
        "memory available": "unknown"
        if machine["memory_gb"] is None
        else f"{machine['memory_gb']} GB",
        "disk free here": f"{machine['disk_free_gb']} GB",
        "GPU": ", ".join(machine["gpus"]) or "none: trainings run on the CPU",
    }
    rows |= {
        name: found_version or "not installed" for name, found_version in found["packages"].items()
    }
    rows["missing"] = "; ".join(found["remedies"]) or "nothing: every verb can run"
    grid = Table(show_header=False, box=None)
    for name, value in rows.items():
        grid.add_row(escape(name), escape(value), style=None)
    return grid


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""  # not Linux: the survey says unknown
