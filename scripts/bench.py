"""Seconds that a user waits: the help, a fit of 1,000 rows, a plan. `make bench` prints a table."""

import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

import isoflop as iso

# (what, seconds that the design allows)
HELP_S, FIT_S, PLAN_S = 0.3, 20.0, 1.0
TRUNKS = 50
HORIZONS = 20


def main() -> int:
    """Measure, print, and exit with 1 when something is slower than allowed."""
    fitted: list[iso.Fit] = []
    table = simulated_table(TRUNKS, HORIZONS)
    measures: list[tuple[str, float, Callable[[], object]]] = [
        ("isoflop --help", HELP_S, show_help),
        (f"fit of {TRUNKS * HORIZONS} rows", FIT_S, lambda: fitted.append(iso.fit(table))),
        ("plan from that fit", PLAN_S, lambda: iso.plan(fitted[0], flops=1e22)),
    ]
    result = Table("what", "seconds", "allowed")
    slow = 0
    for what, allowed, action in measures:
        began = time.perf_counter()
        action()
        seconds = time.perf_counter() - began
        slow += seconds > allowed
        result.add_row(what, f"{seconds:.2f}", f"{allowed:g}")
    Console().print(result)
    return int(slow > 0)


def show_help() -> None:
    """Run `isoflop --help` in a fresh process."""
    command = [sys.executable, "-m", "isoflop", "--help"]
    subprocess.run(command, check=True, capture_output=True)


def simulated_table(n_trunks: int, n_horizons: int) -> dict[str, np.ndarray]:
    """Runs of the law `besiroglu`, noise 0.4 % a trunk and 0.2 % a run, seed 0."""
    rng = np.random.default_rng(0)
    n_params = np.repeat(np.geomspace(1e7, 1e9, n_trunks), n_horizons)
    n_tokens = np.tile(np.geomspace(2e8, 2e10, n_horizons), n_trunks)
    trunk = np.repeat(np.arange(n_trunks), n_horizons)
    component = iso.find_published("besiroglu").estimate.components[0]
    inputs = {"n_params": n_params, "n_tokens": n_tokens}
    loss = component.law.predict(component.theta, inputs)
    noise = rng.normal(0, 0.004, n_trunks)[trunk] + rng.normal(0, 0.002, trunk.size)
    return {**inputs, "loss": loss * np.exp(noise), "trunk": trunk.astype(str)}


if __name__ == "__main__":
    sys.exit(main())
