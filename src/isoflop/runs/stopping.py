"""How a trainer is asked to stop: SIGTERM and SIGINT, as launchers and terminals send them."""

import signal

_ASKING = (signal.SIGTERM, signal.SIGINT)


def listen() -> list[int]:
    """A list that receives every request to stop from here on."""
    received: list[int] = []
    for number in _ASKING:
        signal.signal(number, lambda signum, _frame: received.append(signum))
    return received


def stop_listening() -> None:
    """Ignore every request from here on: all is saved, and the exit code says how it ended.

    A preemption reaches a trainer twice, from Slurm and from the keeper that passes it on. Python
    restores the default handlers while it ends, and the second request would kill it there.
    """
    for number in _ASKING:
        signal.signal(number, signal.SIG_IGN)
