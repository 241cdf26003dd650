"""The `sbatch` script of one attempt, rendered from checked values and kept in its run folder."""

import shlex

from isoflop.ladders.launchers.protocol import JobSpec
from isoflop.specs import LaunchSection

SCRIPTS = "attempt-{attempt:04d}.sbatch"

# Ports below those that systems hand out by themselves, and above those of services.
_MEETING = (
    'nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")',
    "first=${nodes%%$'\\n'*}",
    'export ISOFLOP_RENDEZVOUS="$first:$((20000 + SLURM_JOB_ID % 10000))"',
)


def render_script(spec: JobSpec, launch: LaunchSection) -> str:
    """The script: what Slurm grants, the study's own setup lines, then the attempt in its place.

    `exec` puts the attempt where the shell was, so that the signal before the time limit (`B:`)
    reaches it; it lets the trainer save and asks Slurm to requeue the job. Several nodes are told
    where the first one is and a port, by the number of the job.
    """
    slurm = launch.slurm
    directives = [
        f"--job-name={spec.name}",
        f"--comment=isoflop:run={spec.run_id}:attempt={spec.attempt}",
        "--open-mode=append",
        "--requeue",
        f"--signal=B:USR1@{slurm.signal_seconds}",
        f"--nodes={slurm.nodes}",
        "--ntasks-per-node=1",
        f"--cpus-per-task={slurm.cpus or spec.threads * launch.processes}",
    ]
    for option, value in (
        ("partition", slurm.partition),
        ("account", slurm.account),
        ("qos", slurm.qos),
        ("time", slurm.time),
        ("mem", slurm.mem),
    ):
        directives += [f"--{option}={value}"] if value else []
    if launch.gpus_per_job:
        kind = f"{slurm.gpu_type}:" if slurm.gpu_type else ""
        directives.append(f"--gres=gpu:{kind}{launch.gpus_per_job}")
    lines = ["#!/bin/bash", *(f"#SBATCH {text}" for text in (*directives, *slurm.directives))]
    lines += [
        "set -e",
        *slurm.setup,
        *(_MEETING if slurm.nodes > 1 else ()),
        f"exec {shlex.join(spec.wrapped())}",
    ]
    return "\n".join(lines) + "\n"
