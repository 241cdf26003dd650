"""Messages between a process and its worker, each behind its length, and the worker's end.

`send` and `receive` write JSON, so that what comes cannot run.
"""

import json
import struct
import subprocess
from contextlib import suppress
from typing import IO, Any

_HEAD = struct.Struct("<Q")
_LONGEST = 2**30
"""[bytes] No message is longer: a head that says so was written by something else."""


def send(stream: IO[bytes], value: Any) -> None:
    """Write one message.

    Raises:
        OSError: nobody reads any more.
    """
    send_bytes(stream, json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def receive(stream: IO[bytes]) -> Any:
    """The next message.

    Raises:
        EOFError: the stream ends before one is complete, or something else was written to it.
    """
    data = receive_bytes(stream)
    try:
        return json.loads(data.decode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise EOFError(f"no message: {error}") from error


def send_bytes(stream: IO[bytes], data: bytes) -> None:
    """Write one message of any bytes.

    Raises:
        OSError: nobody reads any more.
    """
    stream.write(_HEAD.pack(len(data)) + data)
    stream.flush()


def receive_bytes(stream: IO[bytes]) -> bytes:
    """The next message as its bytes.

    Raises:
        EOFError: the stream ends before one is complete, or something else was written to it.
    """
    (size,) = _HEAD.unpack(_read(stream, _HEAD.size))
    if size > _LONGEST:
        raise EOFError(f"no message: it would have {size} bytes")
    return _read(stream, size)


def stop(worker: "subprocess.Popen[bytes]") -> None:
    """End a worker: it holds nothing that is not sent."""
    worker.kill()
    worker.wait()
    for stream in (worker.stdin, worker.stdout):
        if stream is not None:
            with suppress(BrokenPipeError):  # what a dead worker was still to be told
                stream.close()


def _read(stream: IO[bytes], size: int) -> bytes:
    parts, missing = [], size
    while missing and (part := stream.read(missing)):  # one without a buffer gives what is there
        parts.append(part)
        missing -= len(part)
    if missing:
        raise EOFError("the stream has ended")
    return b"".join(parts)
