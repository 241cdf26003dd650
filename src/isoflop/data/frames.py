"""Messages between two processes: JSON behind its length, so that what comes cannot run."""

import json
import struct
from typing import IO, Any

_HEAD = struct.Struct("<Q")
_LONGEST = 2**30
"""[bytes] No message is longer: a head that says so was written by something else."""


def send(stream: IO[bytes], value: Any) -> None:
    """Write one message.

    Raises:
        OSError: nobody reads any more.
    """
    data = json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    stream.write(_HEAD.pack(len(data)) + data)
    stream.flush()


def receive(stream: IO[bytes]) -> Any:
    """The next message.

    Raises:
        EOFError: the stream ends before one is complete, or something else was written to it.
    """
    (size,) = _HEAD.unpack(_read(stream, _HEAD.size))
    if size > _LONGEST:
        raise EOFError(f"no message: it would have {size} bytes")
    try:
        return json.loads(_read(stream, size).decode("utf-8", "surrogatepass"))
    except ValueError as error:
        raise EOFError(f"no message: {error}") from error


def _read(stream: IO[bytes], size: int) -> bytes:
    parts, missing = [], size
    while missing and (part := stream.read(missing)):  # one without a buffer gives what is there
        parts.append(part)
        missing -= len(part)
    if missing:
        raise EOFError("the stream has ended")
    return b"".join(parts)
