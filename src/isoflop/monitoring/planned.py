"""What a run was planned to be: its size and its learning rate to its end."""

from pathlib import Path
from typing import NamedTuple

from isoflop._errors import RunError
from isoflop.accounting import count_params
from isoflop.laws import LrPath
from isoflop.runs import RunFolder
from isoflop.runs.table import run_folders
from isoflop.specs import RunConfig, Schedule


class Planned(NamedTuple):
    """Size [parameters], schedule, learning rate to the end, and tokens a step."""

    n_params: float
    schedule: Schedule | None
    """None where only the rates are known."""
    path: LrPath
    batch_tokens: int
    lineage: str
    """Id of its trunk, or its own; empty for a run that is none of ours."""


def planned_run(folder: RunFolder) -> Planned:
    """The plan of one of our runs; of a trunk up to where its last branch begins.

    Raises:
        RunError: no run folder, or a trunk without branches.
    """
    config = folder.config()
    end = _end_of_trunk(folder) if config.is_trunk else config.n_tokens
    return Planned(
        n_params=float(count_params(config.shape).under("active")),
        schedule=config.schedule,
        path=LrPath.of(config.schedule, config.optimiser.lr, end),
        batch_tokens=config.optimiser.batch_tokens,
        lineage=config.trunk or folder.run_id,
    )


def _end_of_trunk(folder: RunFolder) -> int:
    holds = [config.schedule.hold_tokens for config in _branches(folder)]
    if not holds:
        raise RunError(
            f"{folder.path}: is a trunk, and no branch beside it says how far it goes. Name a run "
            "with an end."
        )
    return max(holds)


def _branches(folder: RunFolder) -> list[RunConfig]:
    siblings = run_folders(Path(folder.path).resolve().parent)
    configs = [sibling.config() for sibling in siblings if sibling.run_id != folder.run_id]
    return [config for config in configs if config.trunk == folder.run_id]
