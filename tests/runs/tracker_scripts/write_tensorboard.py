"""Log with the real TensorBoard writers: `write_tensorboard.py FOLDER` (and its truth.json)."""

import json
import math
import sys
from pathlib import Path

import numpy as np
import tensorboardX
from torch.utils.tensorboard import SummaryWriter


def values(begin: int, end: int) -> list[float]:
    """A curve with what breaks readers: NaN, infinities, a subnormal float32."""
    found = [2 + math.pi / (i + 3) for i in range(begin, end)]
    found[3], found[4], found[5], found[6] = math.nan, math.inf, -math.inf, 1e-45
    return found


def restarted(folder: Path) -> dict:
    """Steps 0-49, then a restart from step 30 without a word, then one that names step 40."""
    points = {}
    for begin, end, purge in ((0, 50, None), (30, 60, None), (40, 70, 40)):
        with SummaryWriter(folder / "restarted", purge_step=purge) as writer:
            points = {step: value for step, value in points.items() if step < begin}
            for step, value in zip(range(begin, end), values(begin, end), strict=True):
                writer.add_scalar("train/loss", value, step, walltime=1e9 + step)
                points[step] = float(np.float32(value))
            # The third attempt logs none, so that only its word voids the point at step 45.
            if purge is None:
                writer.add_scalar("eval/loss", begin, begin + 15)
    return {
        "train/loss": [list(points), list(points.values())],
        "eval/loss": [[15], [0.0]],
    }


def precise(folder: Path) -> dict:
    """Tensors of float64, the hparams plugin, pictures, text and JSON beside."""
    logged = values(0, 20)
    with SummaryWriter(folder / "precise") as writer:
        for step, value in enumerate(logged):
            writer.add_scalar("loss", value, step, new_style=True, double_precision=True)
            writer.add_scalar("new", value, step, new_style=True)
        writer.add_text("notes", "<b>bold</b> words", 0)
        writer.add_text("args", json.dumps({"lr": 0.1, "nested": {"a": [1, 2]}}))
        writer.add_histogram("weights", np.arange(100.0), 0)
        writer.add_image("picture", np.zeros((3, 64, 64)), 0)
        writer.add_hparams({"lr": 0.5, "name": "x", "flag": True}, {"h": 1.5}, run_name=".")
    single = [float(np.float32(value)) for value in logged]
    return {"loss": [list(range(20)), logged], "new": [list(range(20)), single], "h": [[0], [1.5]]}


def other(folder: Path) -> dict:
    """The same by tensorboardX."""
    with tensorboardX.SummaryWriter(str(folder / "other")) as writer:
        for step, value in enumerate(values(0, 20)):
            writer.add_scalar("loss", value, step)
    return {"loss": [list(range(20)), [float(np.float32(value)) for value in values(0, 20)]]}


def main() -> None:
    folder = Path(sys.argv[1])
    truth = {"restarted": restarted(folder), "precise": precise(folder), "other": other(folder)}
    (folder / "truth.json").write_text(json.dumps(truth))


main()
