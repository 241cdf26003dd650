"""The wire format of protocol buffers, as much as readers need; nothing trusts a length in a file.

Source: protobuf.dev/programming-guides/encoding.
"""

import struct
from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
"""Wire types; groups (3 and 4) are in no format that is read here."""

_DOUBLE = struct.Struct("<d")
_FLOAT = struct.Struct("<f")


class WireError(Exception):
    """Bytes that are no protobuf message; a reader makes a problem of it."""


def fields(message: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """(number, wire type, value of a varint, bytes of the others) of each field, in order.

    Raises:
        WireError: a varint of more than ten bytes, a length beyond the message, a group.
    """
    at, end = 0, len(message)
    while at < end:
        key = message[at]
        at += 1
        if key > 127:
            key, at = varint(message, at - 1)
        kind = key & 7
        if kind == VARINT:
            value, at = varint(message, at)
            yield key >> 3, kind, value, b""
            continue
        if kind == BYTES:
            if at < end and message[at] < 128:
                size = message[at]
                at += 1
            else:
                size, at = varint(message, at)
        elif kind == FIXED64:
            size = 8
        elif kind == FIXED32:
            size = 4
        else:
            raise WireError(f"wire type {kind}")
        if size > end - at:
            raise WireError(f"a field of {size} bytes where {end - at} are left")
        yield key >> 3, kind, 0, message[at : at + size]
        at += size


def varint(message: bytes, at: int) -> tuple[int, int]:
    """The varint at a place, and the place after it.

    Raises:
        WireError: it does not end.
    """
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            break
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise WireError("a varint without end")


def signed(value: int) -> int:
    """A varint as the int64 that was written."""
    return value - (1 << 64) if value >= 1 << 63 else value


def packed_varints(data: bytes) -> Iterator[int]:
    """Varints one after the other."""
    at = 0
    while at < len(data):
        value, at = varint(data, at)
        yield value


def double(data: bytes) -> float:
    """A fixed64 as a float64."""
    if len(data) != 8:
        raise WireError(f"a double of {len(data)} bytes")
    value: float = _DOUBLE.unpack(data)[0]
    return value


def single(data: bytes) -> float:
    """A fixed32 as the float32 that was written."""
    if len(data) != 4:
        raise WireError(f"a float of {len(data)} bytes")
    value: float = _FLOAT.unpack(data)[0]
    return value


def text(data: bytes) -> str:
    """A string; bytes that are not UTF-8 are replaced, so that a name is always one."""
    return data.decode("utf-8", "replace")
