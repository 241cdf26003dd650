"""`RayLauncher`: jobs of a Ray cluster through its Jobs API, which outlive their driver."""

import importlib
import importlib.util
import os
import shlex
from dataclasses import dataclass, field
from typing import Any

from isoflop._errors import MissingExtraError, StudyError, WorkerError
from isoflop.ladders.launchers.protocol import JobSpec, Poll, Ticket
from isoflop.specs import LaunchSection

_DEFAULT_ADDRESS = "http://127.0.0.1:8265"
_UNREACHABLE = "Start the cluster, or set launch.ray.address (or RAY_ADDRESS) to its dashboard"
# What the entrypoint must see as the driver does.
_PASSED_ON = ("PYTHONPATH", "VIRTUAL_ENV")


@dataclass(slots=True)
class RayLauncher:
    """Jobs of a Ray cluster whose nodes see the study's folder and this Python under one path."""

    launch: LaunchSection
    poll_s: float = 1.0
    _made: list[Any] = field(default_factory=list)

    def submit(self, spec: JobSpec) -> str:
        client = self._client()
        if self._info(spec.name) is not None:
            return spec.name
        wait = str(self.launch.ray.stop_seconds)
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        try:
            client.submit_job(
                submission_id=spec.name,
                entrypoint=f"exec {shlex.join(spec.wrapped())}",
                entrypoint_num_cpus=spec.threads * self.launch.processes,
                entrypoint_num_gpus=self.launch.gpus_per_job or None,
                runtime_env={"env_vars": {**environment, "RAY_JOB_STOP_WAIT_TIME_S": wait}},
                metadata={"isoflop_run": spec.run_id, "isoflop_attempt": str(spec.attempt)},
            )
        except RuntimeError as error:
            if self._info(spec.name) is None:  # else another driver was faster: it is the same job
                raise StudyError(
                    f"launch.ray: the cluster refused the job: {_first_line(error)}. "
                    "Change [launch.ray]."
                ) from error
        return spec.name

    def poll(self, ticket: Ticket) -> Poll:
        try:
            info = self._info(ticket.job_id)
        except WorkerError as error:
            return Poll(state="unknown", note=str(error))
        if info is None:
            return Poll(state="ended", cause="lost", note="Ray does not know the job (any more)")
        status, message = str(info.status.value), str(info.message or "")
        note = f"Ray job {ticket.job_id}: {status.lower()}"
        if status == "PENDING":
            return Poll(state="queued", note=note)
        if status == "RUNNING":
            return Poll(state="running", note=note)
        if status == "STOPPED":
            return Poll(state="ended", cause="cancelled", note=note)
        return Poll(state="ended", note=f"{note} ({message.splitlines()[0]})" if message else note)

    def cancel(self, ticket: Ticket, *, force: bool = False) -> None:
        """`stop_job`: SIGTERM, and SIGKILL after launch.ray.stop_seconds, forced or not."""
        if self.poll(ticket).state in ("queued", "running"):
            self._client().stop_job(ticket.job_id)

    def logs(self, ticket: Ticket) -> str:
        known = self._info(ticket.job_id) is not None
        return str(self._client().get_job_logs(ticket.job_id)) if known else ""

    def _info(self, job_id: str) -> Any | None:
        """What the cluster knows of a job; None if nothing."""
        client = self._client()
        try:
            return client.get_job_info(job_id)
        except RuntimeError as error:
            if "does not exist" in str(error) or "404" in str(error):
                return None
            raise WorkerError(f"Ray: {_first_line(error)}. {_UNREACHABLE}.") from error
        except OSError as error:  # requests' errors of connections are OSErrors
            raise WorkerError(f"Ray does not answer. {_UNREACHABLE}.") from error

    def _client(self) -> Any:
        """The client of the Jobs API, made at the first use."""
        if not self._made:
            address = ray_address(self.launch)
            os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
            sdk = importlib.import_module("ray.job_submission")
            try:
                self._made.append(sdk.JobSubmissionClient(address))
            except (RuntimeError, ConnectionError, ValueError) as error:
                raise WorkerError(f"Ray at {address} does not answer. {_UNREACHABLE}.") from error
        return self._made[0]


def ray_address(launch: LaunchSection) -> str:
    """Where the Jobs API is: launch.ray.address, or RAY_ADDRESS, or this machine's dashboard."""
    given = launch.ray.address or os.environ.get("RAY_ADDRESS", "")
    return given if "://" in given else _DEFAULT_ADDRESS if not given else f"http://{given}"


def require_ray() -> None:
    """Raises MissingExtraError where the package is not installed."""
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError("ray", extra="ray", needed_for="launch.launcher = 'ray'")


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip().rstrip(".") if lines else type(error).__name__
