"""Quality statistics by several processes: this module is also what each of them runs."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, islice
from queue import SimpleQueue

from isoflop._errors import WorkerError
from isoflop.data.frames import receive_bytes, send_bytes, stop
from isoflop.data.quality import BATCH_CHARS, Columns, batches, measure_quality

ALONE_CHARS = 8 * BATCH_CHARS
"""Less text than this is done before another process has started."""


def measure_batches(
    texts: Sequence[str], *, n_processes: int | None = None, progress: Callable[[float], None]
) -> Iterator[Columns]:
    """The columns of `measure_quality` part by part in order, equal for any number of processes.

    Args:
        texts: D documents.
        n_processes: None: one a core that this process may use.
        progress: told the share done.

    Raises:
        WorkerError: a process ended before its work was done.
    """
    if n_processes is None:
        n_processes = _cores()
    total, done = max(1, len(texts)), 0
    alone = sum(map(len, texts)) < ALONE_CHARS or n_processes < 2
    parts = batches(texts)
    for columns in map(measure_quality, parts) if alone else _shared(parts, n_processes):
        done += len(columns["words"])
        progress(done / total)
        yield columns


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _shared(parts: Iterable[list[str]], n_processes: int) -> Iterator[Columns]:
    """Parts in order; at most twice as many under way as there are processes."""
    with ExitStack() as stack:
        idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        for _ in range(n_processes):
            worker = _start()
            stack.callback(stop, worker)
            idle.put(worker)

        def ask(texts: list[str]) -> Columns:
            worker = idle.get()
            try:
                return _ask(worker, texts)
            finally:
                idle.put(worker)

        pool = stack.enter_context(ThreadPoolExecutor(n_processes))
        queue = iter(parts)
        waiting = [pool.submit(ask, part) for part in islice(queue, 2 * n_processes)]
        for part in chain(queue, [None] * len(waiting)):
            first = waiting.pop(0)
            if part is not None:
                waiting.append(pool.submit(ask, part))
            yield first.result()


def _start() -> "subprocess.Popen[bytes]":
    # Each worker has one thread: the processes share the cores already.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        # Not with -m: Python warns that the package has imported the module already.
        [sys.executable, "-c", f"from {__name__} import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        start_new_session=True,  # Ctrl-C is told to the parent alone, which then ends its workers
    )


def _ask(worker: "subprocess.Popen[bytes]", texts: list[str]) -> Columns:
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        send_bytes(worker.stdin, _pickled(texts))
        answer: Columns = pickle.loads(receive_bytes(worker.stdout))
    except (OSError, EOFError) as error:
        raise WorkerError(
            f"a process that measures quality ended with {worker.poll()} ({error}). "
            "Run the command again; what was measured is kept."
        ) from error
    return answer


def serve() -> None:
    """Measure what comes in on stdin until it ends; only its parent talks to it."""
    try:
        while True:
            columns = measure_quality(pickle.loads(receive_bytes(sys.stdin.buffer)))
            send_bytes(sys.stdout.buffer, _pickled(columns))
    except (BrokenPipeError, EOFError):
        os._exit(1)  # the parent is gone: nobody is there to be told anything


def _pickled(value: list[str] | Columns) -> bytes:
    return pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
