"""Records in files that are appended to: LevelDB's log, as W&B writes it, and TFRecord.

Both readers hold one block and one record at most, whatever lengths a file claims, and raise at
the first byte that cannot be trusted: what came before it is whole.
"""

import struct
import zlib
from collections.abc import Iterator
from functools import cache
from typing import IO

import numpy as np
from numpy.typing import NDArray

MAX_RECORD = 1 << 24
"""Bytes; larger records hold artifacts, graphs or images, no numbers that are read here."""

_BLOCK = 1 << 15
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_CHUNK = 1 << 20
_LANE = 256
_AT_ONCE = 1 << 13
"""Rows of the matrix of lanes: 16 MB of places."""
_CASTAGNOLI = 0x82F63B78
_UINT64 = struct.Struct("<Q")

Words = NDArray[np.uint32]


class FrameError(Exception):
    """Bytes that are no record: the sentence says where."""


class TornError(FrameError):
    """The file ends within a record: it is being written, or its writer died."""


def log_records(stream: IO[bytes], begin: int) -> Iterator[bytes | None]:
    """Records of a LevelDB log after its first `begin` bytes; of one that is too large None.

    A block has 32 KiB; a chunk is crc32(kind and data), length, kind, data, and never crosses a
    block. Source: LevelDB's doc/log_format.md; W&B checks with CRC-32 where LevelDB has CRC-32C.

    Raises:
        TornError, FrameError.
    """
    parts: list[bytes] = []
    size = 0
    kind = _FULL
    for kind, data in _log_chunks(stream, begin):
        if (kind in (_FULL, _FIRST)) == bool(parts):
            raise FrameError("a record begins within another, or in its middle")
        size += len(data)
        parts.append(data if size <= MAX_RECORD else b"")
        if kind in (_FULL, _LAST):
            yield b"".join(parts) if size <= MAX_RECORD else None
            parts, size = [], 0
        elif size > MAX_RECORD:
            parts = [b""]
    if parts:
        raise TornError("the file ends within a record")


def _log_chunks(stream: IO[bytes], begin: int) -> Iterator[tuple[int, bytes]]:
    stream.seek(0)
    place = 0
    at = begin
    while block := stream.read(_BLOCK):
        while at + 7 <= len(block):
            crc = int.from_bytes(block[at : at + 4], "little")
            size = int.from_bytes(block[at + 4 : at + 6], "little")
            kind = block[at + 6]
            data = block[at + 7 : at + 7 + size]
            if kind == size == crc == 0:  # a file that was given its length before its bytes
                raise TornError("the file ends in zeros")
            if at + 7 + size > _BLOCK or not _FULL <= kind <= _LAST:
                raise FrameError(f"no record at byte {place + at}")
            if len(data) < size:
                raise TornError("the file ends within a record")
            if zlib.crc32(block[at + 6 : at + 7 + size]) != crc:
                raise FrameError(f"the record at byte {place + at} has another checksum")
            yield kind, data
            at += 7 + size
        if len(block) < _BLOCK:
            if any(block[at:]):
                raise TornError("the file ends within a record")
            return
        place += _BLOCK
        at = 0


def tf_records(stream: IO[bytes]) -> Iterator[bytes | None]:
    """Records of a TFRecord file; of one that is too large None.

    A record is its length (8 bytes), masked crc32c(length), data, masked crc32c(data).
    Source: tensorflow.org/tutorials/load_data/tfrecord.

    Raises:
        TornError, FrameError.
    """
    buffer = b""
    place = 0
    while chunk := stream.read(_CHUNK):
        buffer += chunk
        starts, ends, next_at = _frames(buffer)
        good = _first_bad(buffer, starts, ends)
        for start, end in zip(starts[:good], ends[:good], strict=True):
            yield buffer[start:end]
        if good < len(starts):
            where = place + int(starts[good]) - 12
            raise FrameError(f"the record at byte {where} has another checksum")
        buffer, place = buffer[next_at:], place + next_at
        if len(buffer) >= 12:
            size = _length(buffer, place)
            if size > MAX_RECORD:
                yield None
                place += size + 16
                buffer = b""
                if place > stream.seek(0, 2):
                    raise TornError("the file ends within a record")
                stream.seek(place)
    if any(buffer):
        raise TornError("the file ends within a record")


def _frames(buffer: bytes) -> tuple[list[int], list[int], int]:
    """Where the data of each whole record starts and ends, and where the next record begins."""
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    last = len(buffer) - 16
    while at <= last:
        (size,) = _UINT64.unpack_from(buffer, at)
        if size > last - at:
            break
        starts.append(at + 12)
        ends.append(at + 12 + size)
        at += size + 16
    return starts, ends, at


def _length(buffer: bytes, place: int) -> int:
    """The length at the head of `buffer`, once its checksum is that of the length."""
    head = np.array([0]), np.array([8])
    if masked_crc32c(buffer, *head)[0] != int.from_bytes(buffer[8:12], "little"):
        raise FrameError(f"the length at byte {place} has another checksum")
    return int.from_bytes(buffer[:8], "little")


def _first_bad(buffer: bytes, starts: list[int], ends: list[int]) -> int:
    """How many records come before the first whose checksums are not theirs."""
    if not starts:
        return 0
    begin, end = np.array(starts), np.array(ends)
    octets = np.frombuffer(buffer, np.uint8)
    bad = masked_crc32c(buffer, begin - 12, begin - 4) != _word(octets, begin - 4)
    bad |= masked_crc32c(buffer, begin, end) != _word(octets, end)
    return int(np.argmax(bad)) if bad.any() else len(starts)


def _word(octets: NDArray[np.uint8], at: NDArray[np.int64]) -> Words:
    four = octets[at[:, None] + np.arange(4)]
    words: Words = np.ascontiguousarray(four).view("<u4")[:, 0].astype(np.uint32)
    return words


def masked_crc32c(buffer: bytes, begin: NDArray[np.int64], end: NDArray[np.int64]) -> Words:
    """TensorFlow's masked CRC-32C of each span [begin, end) of a buffer, all at once.

    Byte by byte in Python would take longer than all the rest: spans are laid out as rows of a
    matrix, zeros in front (they leave a register of zeros alone), and go through the table column
    by column; long spans are cut into lanes, joined by the operator "256 zeros follow".
    """
    octets = np.frombuffer(buffer, np.uint8)
    sizes = end - begin
    crc = np.empty(len(begin), np.uint32)
    short = np.flatnonzero(sizes <= _LANE)
    for i in range(0, len(short), _AT_ONCE):
        some = short[i : i + _AT_ONCE]
        crc[some] = _rows(octets, begin[some], end[some], int(sizes[some].max()))
    for one in np.flatnonzero(sizes > _LANE):
        crc[one] = _long(octets, int(begin[one]), int(end[one]))
    # The start value 0xFFFFFFFF of the register is a linear addend that depends on the length.
    crc ^= _start(sizes) ^ np.uint32(0xFFFFFFFF)
    return (crc >> np.uint32(15) | crc << np.uint32(17)) + np.uint32(0xA282EAD8)


def _rows(
    octets: NDArray[np.uint8], begin: NDArray[np.int64], end: NDArray[np.int64], width: int
) -> Words:
    """CRC of each span of at most `width` bytes from a register of zeros."""
    at = end[:, None] - width + np.arange(width)
    columns = np.where(at >= begin[:, None], octets[np.maximum(at, 0)], 0).T.astype(np.uint32)
    crc = np.zeros(len(begin), np.uint32)
    table = _table()
    for column in columns:
        crc = table[(crc ^ column) & np.uint32(255)] ^ (crc >> np.uint32(8))
    return crc


def _long(octets: NDArray[np.uint8], begin: int, end: int) -> int:
    cuts = np.arange(end, begin, -_LANE)[::-1]
    shift = _zeros_follow(_LANE)
    crc = 0
    for i in range(0, len(cuts), _AT_ONCE):
        some = cuts[i : i + _AT_ONCE]
        for lane in _rows(octets, np.maximum(some - _LANE, begin), some, _LANE).tolist():
            crc = _apply(shift, crc) ^ lane
    return crc


def _start(sizes: NDArray[np.int64]) -> Words:
    """What a register of ones becomes after as many zero bytes."""
    distinct, where = np.unique(sizes, return_inverse=True)
    crc = np.array([_ones_then_zeros(int(size)) for size in distinct], np.uint32)
    return crc[where]


@cache
def _ones_then_zeros(size: int) -> int:
    crc = 0xFFFFFFFF
    for power, width in enumerate(reversed(f"{size:b}")):
        if width == "1":
            crc = _apply(_zeros_follow(1 << power), crc)
    return crc


@cache
def _zeros_follow(size: int) -> tuple[tuple[int, ...], ...]:
    """Tables (4, 256), one a byte of the register, of it after `size` zeros, a power of two."""
    if size == 1:
        value = np.arange(256, dtype=np.uint32) << np.arange(0, 32, 8, dtype=np.uint32)[:, None]
        after = _table()[value & np.uint32(255)] ^ (value >> np.uint32(8))
        return tuple(tuple(row) for row in after.tolist())
    half = _zeros_follow(size // 2)
    return tuple(tuple(_apply(half, value) for value in row) for row in half)


def _apply(tables: tuple[tuple[int, ...], ...], crc: int) -> int:
    low, second, third, high = tables
    return low[crc & 255] ^ second[crc >> 8 & 255] ^ third[crc >> 16 & 255] ^ high[crc >> 24]


@cache
def _table() -> Words:
    crc = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        crc = np.where(crc & 1, (crc >> 1) ^ _CASTAGNOLI, crc >> 1).astype(np.uint32)
    return crc
