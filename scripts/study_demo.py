"""The quickstart under five seeds: is the truth inside the interval, and how wide is it?

`make study-demo` runs it (about six minutes a seed on two cores; resumable) and prints the table
that LOG.md holds. A seed changes the split, the data order and the initial weights.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

SEEDS = (0, 1, 2, 3, 4)


def main() -> None:
    """Run every seed into demo-seeds/<seed> and print one line each, then the summary."""
    rows = []
    for seed in SEEDS:
        command = [
            sys.executable, "-m", "isoflop", "run", "examples/quickstart.toml",
            "--into", f"demo-seeds/{seed}", "--set", f"seed={seed}", "--label", "demo",
        ]  # fmt: skip
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
        line = next((ln for ln in done.stdout.splitlines() if ln.startswith("demo: ok")), None)
        if line is None or "actual=diverged" in line:
            raise SystemExit(f"seed {seed}: exit code {done.returncode}\n{done.stdout}")
        sys.stdout.write(f"seed {seed}: {line}\n")
        sys.stdout.flush()
        rows.append({k: float(v) for k, v in re.findall(r"(\w+)=([\d.]+)", line)})
    inside = sum(row["low"] <= row["actual"] <= row["high"] for row in rows)
    means = {
        key: round(sum(row[key] for row in rows) / len(rows), 3)
        for key in ("abs_error_pct", "halfwidth_pct", "naive_error_pct")
    }
    summary = {"seeds": len(rows), "inside": inside, **{f"mean_{k}": v for k, v in means.items()}}
    Path("demo-seeds/summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    sys.stdout.write(json.dumps(summary) + "\n")


if __name__ == "__main__":
    main()
