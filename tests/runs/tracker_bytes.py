"""Trackers' bytes made by hand: protobuf fields, W&B's log and TFRecords with right checksums."""

import struct
import zlib

import numpy as np

from isoflop.runs.readers.frames import masked_crc32c

BLOCK = 1 << 15


def varint(value: int) -> bytes:
    """An unsigned number."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number: int, value: bytes | int) -> bytes:
    """A field of bytes, or of a number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def item(key: str | list[str], json_text: bytes) -> bytes:
    """An item of W&B; its path may be nested."""
    path = [field(1, key.encode())] if isinstance(key, str) else [field(2, k.encode()) for k in key]
    return b"".join(path) + field(16, json_text)


def row(step: int, *items: bytes) -> bytes:
    """A record of W&B with a row of the history."""
    return field(2, b"".join(field(1, each) for each in items) + field(2, field(1, step)))


def wandb_file(*records: bytes) -> bytes:
    """A file of W&B with these records, cut into chunks where they cross a block."""
    out = bytearray(b":W&B\xe1\xbe\x00")
    for record in records:
        kind, rest = 2, record
        while True:
            room = BLOCK - len(out) % BLOCK
            if room < 7:
                out += bytes(room)
                continue
            data, rest = rest[: room - 7], rest[room - 7 :]
            if not rest:
                kind = 1 if kind == 2 else 4
            body = bytes([kind]) + data
            out += struct.pack("<IH", zlib.crc32(body), len(data)) + body
            if not rest:
                break
            kind = 3
    return bytes(out)


def tf_record(data: bytes) -> bytes:
    """A TFRecord."""
    head = struct.pack("<Q", len(data))
    return head + crc(head) + data + crc(data)


def crc(data: bytes) -> bytes:
    """TensorFlow's masked checksum."""
    return struct.pack("<I", masked_crc32c(data, np.array([0]), np.array([len(data)]))[0])


def event(step: int, tag: bytes, value: float) -> bytes:
    """An event with one scalar, as a TFRecord."""
    scalar = field(1, tag) + b"\x15" + struct.pack("<f", value)
    return tf_record(field(2, step) + field(5, field(1, scalar)))
