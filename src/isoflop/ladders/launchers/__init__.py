"""Launchers: one protocol for where trainings run, one file an engine.

What to use when:
- `find_launcher`: the launcher that a study names; `LAUNCHERS` lists them.
- `LocalLauncher`: processes of this machine. `SlurmLauncher`: batch jobs. `RayLauncher`: jobs of a
  Ray cluster.
- `verdict_of`: why an attempt ended, from its record in the run folder and its engine's word.
"""

from collections.abc import Callable

from isoflop._errors import StudyError
from isoflop.ladders.launchers.endings import Attempt, Ending, Verdict, attempts_of, verdict_of
from isoflop.ladders.launchers.local import LocalLauncher
from isoflop.ladders.launchers.protocol import JobSpec, JobState, Launcher, Poll, Ticket
from isoflop.ladders.launchers.ray import RayLauncher, require_ray
from isoflop.ladders.launchers.slurm import SlurmLauncher, require_slurm
from isoflop.specs import LaunchSection

__all__ = [
    "LAUNCHERS",
    "Attempt",
    "Ending",
    "JobSpec",
    "JobState",
    "Launcher",
    "LocalLauncher",
    "Poll",
    "RayLauncher",
    "SlurmLauncher",
    "Ticket",
    "Verdict",
    "attempts_of",
    "find_launcher",
    "verdict_of",
]


def _local(_launch: LaunchSection) -> Launcher:
    return LocalLauncher()


def _slurm(launch: LaunchSection) -> Launcher:
    require_slurm()
    return SlurmLauncher(launch)


def _ray(launch: LaunchSection) -> Launcher:
    require_ray()
    return RayLauncher(launch)


LAUNCHERS: dict[str, Callable[[LaunchSection], Launcher]] = {
    "local": _local,
    "slurm": _slurm,
    "ray": _ray,
}
"""Every launcher by the name that `launch.launcher` gives it."""


def find_launcher(name: str, launch: LaunchSection) -> Launcher:
    """A new launcher of that name.

    Raises:
        StudyError: there is none, or its commands are not installed.
        MissingExtraError: its package is not installed.
    """
    if name not in LAUNCHERS:
        raise StudyError(
            f"launch.launcher = {name!r}: no such launcher. Use one of: {', '.join(LAUNCHERS)}."
        )
    return LAUNCHERS[name](launch)
