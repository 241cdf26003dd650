"""How many jobs run at once, with how many threads and which GPUs each."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Sequence

from isoflop._errors import StudyError
from isoflop.ladders.design import Job
from isoflop.specs import LaunchSection

_THREADS_PAY_WIDTH = 256
# Jobs that wait in an engine's queue cost nothing, but every one is asked about.
_MOST_WITH_AN_ENGINE = 256


def slots_and_threads(launch: LaunchSection, jobs: Sequence[Job]) -> tuple[int, int]:
    """How many trainings at once, and threads of each of their processes.

    Two one-thread trainings give 1.2 times one two-thread training at 0.2-1M parameters, and a
    second thread of a tiny model waits at barriers for whatever else the machine does: one
    thread each below `_THREADS_PAY_WIDTH`, whatever is left of the cores above. An engine has
    slots of its own: all jobs are given to it at once.
    """
    wide = max((job.trunk.shape.width for job in jobs), default=0) >= _THREADS_PAY_WIDTH
    if launch.launcher != "local":
        granted = launch.slurm.cpus if launch.launcher == "slurm" else 0
        threads = launch.threads or max(1, granted // launch.processes)
        return launch.slots or _MOST_WITH_AN_ENGINE, threads
    cores = len(os.sched_getaffinity(0))
    if launch.gpus_per_job:
        slots = launch.slots or max(1, len(visible_gpus()) // launch.gpus_per_job)
        return slots, launch.threads or max(1, cores // slots)
    if launch.device == "cuda":
        return launch.slots or 1, launch.threads or max(1, cores // 2 // launch.processes)
    taken = launch.processes * (launch.threads or 1)
    slots = launch.slots or max(1, min(len(jobs), cores // taken))
    left = max(1, cores // (slots * launch.processes))
    return slots, launch.threads or (left if wide else 1)


def visible_gpus() -> list[str]:
    """The GPUs that this process may use: CUDA_VISIBLE_DEVICES, or all that the driver lists."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip()]
    command = shutil.which("nvidia-smi")
    if command is None:
        return []
    done = subprocess.run(
        [command, "--query-gpu=index", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.split() if done.returncode == 0 else []


def free_devices(launch: LaunchSection, taken: Iterable[str | None]) -> str | None:
    """CUDA_VISIBLE_DEVICES of the next local job; None where no GPUs are asked for.

    Raises:
        StudyError: this machine has not as many as the slots need.
    """
    if launch.launcher != "local" or not launch.gpus_per_job:
        return None
    used = {name for devices in taken if devices for name in devices.split(",")}
    free = [name for name in visible_gpus() if name not in used]
    if len(free) < launch.gpus_per_job:
        raise StudyError(
            f"launch.gpus_per_job = {launch.gpus_per_job}: {len(free)} GPUs of this machine are "
            "free. Lower it or launch.slots, or use another launcher."
        )
    return ",".join(free[: launch.gpus_per_job])
