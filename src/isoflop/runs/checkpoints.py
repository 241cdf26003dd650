"""Names of checkpoints: `hold_<step>.pt` is kept, `last_<step>.pt` replaced by the next one."""

from pathlib import Path


def step_of(path: Path) -> int:
    """The step in a checkpoint's name."""
    return int(path.stem.split("_")[1])


def latest(folder: Path, *, up_to: int) -> Path | None:
    """The checkpoint with the most steps, at most `up_to`."""
    found = [p for p in folder.glob("*_*.pt") if step_of(p) <= up_to]
    return max(found, key=step_of, default=None)
