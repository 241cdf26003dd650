"""`SlurmLauncher`: rendered `sbatch` scripts; states from `squeue`, `sacct` where it exists."""

import getpass
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from isoflop._errors import StudyError, WorkerError
from isoflop.ladders.launchers.protocol import JobSpec, Poll, Ticket
from isoflop.ladders.launchers.sbatch import SCRIPTS, render_script
from isoflop.specs import LaunchSection

_CALL_S = 60.0
# Slurm's words for a job, other than those that are plainly running.
_WAITING = (
    "PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT",
    "RESIZING", "RESV_DEL_HOLD", "SUSPENDED", "STOPPED",
)  # fmt: skip
_RUNNING = ("RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT")
_CAUSES = {
    "PREEMPTED": "preempted",
    "TIMEOUT": "preempted",
    "DEADLINE": "cancelled",
    "NODE_FAIL": "lost",
    "BOOT_FAIL": "lost",
    "LAUNCH_FAILED": "lost",
    "RECONFIG_FAIL": "lost",
    "REVOKED": "lost",
    "OUT_OF_MEMORY": "out_of_memory",
    "CANCELLED": "cancelled",
}


@dataclass(slots=True)
class SlurmLauncher:
    """Batch jobs of a Slurm cluster whose nodes see the study's folder under the same path."""

    launch: LaunchSection
    poll_s: float = 2.0
    _seen: dict[str, tuple[str, str]] = field(default_factory=dict)
    _seen_at: float = -1e9

    def submit(self, spec: JobSpec) -> str:
        if (earlier := self._find(spec.name)) is not None:
            return earlier
        script = spec.folder / SCRIPTS.format(attempt=spec.attempt)
        script.write_text(render_script(spec, self.launch), encoding="utf-8")
        # On the command line, not in the script: a path may hold what #SBATCH lines cannot quote.
        output = str(spec.folder.resolve() / "slurm.txt").replace("%", "%%")
        done = _call(["sbatch", "--parsable", f"--output={output}", str(script.resolve())])
        if done.returncode:
            raise StudyError(
                f"launch.slurm: sbatch refused {script}: {_said(done)}. Change [launch.slurm]."
            )
        self._seen_at = -1e9
        return done.stdout.strip().split(";")[0]

    def poll(self, ticket: Ticket) -> Poll:
        listed = self._listing()
        if listed is None:
            return Poll(state="unknown", note="Slurm does not answer")
        state, why = listed.get(ticket.job_id) or _accounted(ticket.job_id) or ("", "")
        note = f"Slurm job {ticket.job_id}: {state.lower() or 'unknown to Slurm'}"
        note += f" ({why})" if why not in ("", "None") else ""
        if state in _WAITING:
            return Poll(state="queued", note=note)
        if state in _RUNNING:
            return Poll(state="running", note=note)
        if not state:
            return Poll(state="ended", cause="lost", note=note)
        cause = next((cause for word, cause in _CAUSES.items() if word == state), "")
        return Poll(state="ended", cause=cause, note=note)  # type: ignore[arg-type]

    def cancel(self, ticket: Ticket, *, force: bool = False) -> None:
        """`scancel`: the trainer gets SIGTERM and, after Slurm's KillWait, SIGKILL."""
        _call(["scancel", *(["--signal=KILL", "--full"] if force else []), ticket.job_id])
        self._seen_at = -1e9

    def logs(self, ticket: Ticket) -> str:
        path = ticket.folder / "slurm.txt"
        if not path.exists():
            return ""
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-20:])

    def _find(self, name: str) -> str | None:
        """The id of a job of this name, if Slurm has one: a driver may have died after sbatch."""
        asked = ["squeue", "--noheader", "--user", getpass.getuser(), "--states=all"]
        done = _call([*asked, f"--name={name}", "--format=%i"])
        if done.returncode:
            raise WorkerError(f"Slurm does not answer: {_said(done)}. Try again when it does.")
        ids = done.stdout.split()
        return max(ids, key=int) if ids else None

    def _listing(self) -> dict[str, tuple[str, str]] | None:
        """Every job of this user that Slurm remembers, by id: one question for all jobs."""
        if time.monotonic() - self._seen_at < self.poll_s / 2:
            return self._seen
        asked = ["squeue", "--noheader", "--user", getpass.getuser(), "--states=all"]
        done = _call([*asked, "--format=%i|%T|%r"])
        if done.returncode:
            return None
        rows = [line.strip().split("|") for line in done.stdout.splitlines() if "|" in line]
        self._seen = {row[0]: (row[1], row[2]) for row in rows}
        self._seen_at = time.monotonic()
        return self._seen


def require_slurm() -> None:
    """Raises StudyError where Slurm's commands are not installed."""
    missing = [
        name for name in ("sbatch", "squeue", "scancel", "scontrol") if not shutil.which(name)
    ]
    if missing:
        raise StudyError(
            f"launch.launcher = 'slurm': {missing[0]} is not on the PATH. Run isoflop on a login "
            "node of the cluster, or use 'local'."
        )


def _accounted(job_id: str) -> tuple[str, str] | None:
    """What the accounting says of a job that `squeue` has forgotten; None where there is none."""
    if not shutil.which("sacct"):
        return None
    done = _call(["sacct", "-n", "-X", "-P", "-j", job_id, "-o", "State"])
    words = done.stdout.split()
    return (words[0].rstrip("+"), "") if not done.returncode and words else None


def _call(words: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(words, capture_output=True, text=True, check=False, timeout=_CALL_S)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(words, 1, "", f"{words[0]} took more than {_CALL_S:g} s")


def _said(done: "subprocess.CompletedProcess[str]") -> str:
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"exit code {done.returncode}"
