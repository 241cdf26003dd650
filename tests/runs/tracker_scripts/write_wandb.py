"""Log runs with the real W&B, off line: `write_wandb.py FOLDER`; the truth goes to truth.json."""

import json
import math
import os
import sys
from pathlib import Path

import wandb

ROWS = 60


def rows(begin: int) -> list[dict]:
    """Values with all digits of a float64, and those that JSON spells in another way."""
    values = [{"train/loss": 2 + math.pi / (i + 3), "n": i} for i in range(begin, begin + ROWS)]
    values[7]["train/loss"] = math.nan
    values[8]["train/loss"] = math.inf
    values[9]["train/loss"] = -math.inf
    values[10]["tiny"] = 5e-324
    values[11]["large"] = 2**70
    values[12]["nest"] = {"a": {"b": 0.1 + 0.2}}
    values[13]["flag"] = True
    return values


def attempt(folder: Path, begin: int, **more) -> list[dict]:
    """One process of a run that is taken up again under the same id."""
    config = {"lr": 1e-3, "model": {"width": 64, "layers": [1, 2]}, "<b>": "<script>x</script>"}
    run = wandb.init(
        project="p", id="same-id", name="a name", group="a group", mode="offline", dir=folder,
        config=config, **more,
    )  # fmt: skip
    logged = rows(begin)
    for i, row in enumerate(logged):
        run.log({**row, "words": "text"}, step=begin + i)
    run.config.update({"late": 5, "model": {"width": 128}}, allow_val_change=True)
    run.summary["best"] = 0.1 + 0.2
    run.summary["deep"] = {"x": 1 / 3}
    run.finish(exit_code=0 if begin else 1)
    return logged


def main() -> None:
    folder = Path(sys.argv[1])
    os.environ["WANDB_SILENT"] = "true"
    first = attempt(folder, 0)
    second = attempt(folder, 50, resume="allow")
    (folder / "truth.json").write_text(json.dumps([first, second]))


main()
