"""Quality statistics by several processes: this module is also what each of them runs."""

import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from itertools import chain, islice
from queue import SimpleQueue
from typing import Any, BinaryIO

from isoflop._errors import WorkerError
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
            stack.callback(_stop, worker)
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


def _stop(worker: "subprocess.Popen[bytes]") -> None:
    worker.kill()  # it holds nothing that is not sent
    worker.wait()
    for stream in (worker.stdin, worker.stdout):
        if stream is not None:
            with suppress(BrokenPipeError):  # what a dead worker was still to be told
                stream.close()


def _ask(worker: "subprocess.Popen[bytes]", texts: list[str]) -> Columns:
    assert worker.stdin is not None
    assert worker.stdout is not None
    try:
        _send(worker.stdin, texts)
        answer: Columns | None = _receive(worker.stdout)
    except (OSError, EOFError) as error:
        answer, cause = None, str(error)
    else:
        cause = "no answer"
    if answer is None:
        raise WorkerError(
            f"a process that measures quality ended with {worker.poll()} ({cause}). "
            "Run the command again; what was measured is kept."
        )
    return answer


def _send(stream: BinaryIO | Any, value: Any) -> None:
    data = pickle.dumps(value, protocol=pickle.HIGHEST_PROTOCOL)
    stream.write(struct.pack("<Q", len(data)) + data)
    stream.flush()


def _receive(stream: BinaryIO | Any) -> Any:
    """The next value; None at the end of the stream."""
    head = stream.read(8)
    if len(head) < 8:
        return None
    (size,) = struct.unpack("<Q", head)
    data = stream.read(size)
    if len(data) < size:
        raise EOFError("cut in the middle of an answer")
    return pickle.loads(data)


def serve() -> None:
    """Measure what comes in on stdin until it ends; only its parent talks to it."""
    try:
        while (texts := _receive(sys.stdin.buffer)) is not None:
            _send(sys.stdout.buffer, measure_quality(texts))
    except (BrokenPipeError, EOFError):
        os._exit(1)  # the parent was killed: nobody is there to be told anything
