"""Parts of TensorBoard's events: numbers and texts in tensors, settings of the hparams plugin.

Source: tensorboard/compat/proto/{tensor,types}.proto and plugins/hparams/plugin_data.proto.
"""

import struct
from collections.abc import Iterator
from typing import Any

import numpy as np

from isoflop.runs.readers.protobuf import (
    BYTES,
    VARINT,
    double,
    fields,
    packed_varints,
    signed,
    text,
)

_DTYPES = {
    1: "<f4", 2: "<f8", 3: "<i4", 4: "<u1", 5: "<i2", 6: "<i1", 9: "<i8", 10: "?", 17: "<u2",
    19: "<f2", 22: "<u4", 23: "<u8",
}  # fmt: skip
_BFLOAT16, _HALF = 14, 19
_DTYPE, _SHAPE, _CONTENT, _FLOAT_VAL, _DOUBLE_VAL, _STRING_VAL = 1, 2, 4, 5, 6, 8
_INTEGER_VALS = (7, 10, 11, 13, 16, 17)

_ENDS = {1: "done", 2: "failed", 3: "running"}


def tensor_value(tensor: bytes) -> float | bytes | None:
    """The number or the text of a tensor that holds one; of more or fewer None.

    Raises:
        WireError: no TensorProto.
    """
    dtype = 0
    size = 1
    content = b""
    values: list[float | bytes] = []
    for number, kind, value, data in fields(tensor):
        if number == _DTYPE and kind == VARINT:
            dtype = value
        elif number == _SHAPE and kind == BYTES:
            size = _size(data)
        elif number == _CONTENT:
            content = data
        elif number == _STRING_VAL:
            values.append(data)
        elif number in (_FLOAT_VAL, _DOUBLE_VAL):
            letter, width = ("f", 4) if number == _FLOAT_VAL else ("d", 8)
            if len(data) == width:
                values += struct.unpack(f"<{letter}", data)
        elif number in _INTEGER_VALS:
            values += _integers(kind, value, data, dtype)
    if size != 1:
        return None
    if content:
        return _raw_number(content, dtype)
    return values[0] if len(values) == 1 else None


def _size(shape: bytes) -> int:
    """How many elements a TensorShapeProto has."""
    size = 1
    for number, kind, _, dim in fields(shape):
        if number == 2 and kind == BYTES:
            size *= dict(_varints(dim)).get(1, 0)
    return size


def _integers(kind: int, value: int, data: bytes, dtype: int) -> list[float | bytes]:
    """Values of an integer field, packed or not; of halves these are the bits."""
    found = [value] if kind == VARINT else list(packed_varints(data[:10]))
    if dtype in (_BFLOAT16, _HALF):
        number = _raw_number(struct.pack("<H", found[0] & 0xFFFF), dtype) if found else None
        return [] if number is None else [number]
    return [float(signed(each)) for each in found]


def _raw_number(content: bytes, dtype: int) -> float | None:
    if dtype == _BFLOAT16:
        content, dtype = b"\0\0" + content, 1
    form = _DTYPES.get(dtype)
    if form is None or len(content) != np.dtype(form).itemsize:
        return None
    return float(np.frombuffer(content, form)[0])


def hparams(content: bytes) -> tuple[dict[str, Any], str]:
    """Settings and state in the content of the hparams plugin.

    Raises:
        WireError: no HParamsPluginData.
    """
    settings: dict[str, Any] = {}
    state = ""
    for number, kind, _, data in fields(content):
        if number == 3 and kind == BYTES:
            for inner, inner_kind, _, entry in fields(data):
                if inner == 1 and inner_kind == BYTES:
                    key, value = _setting(entry)
                    settings[key] = value
        elif number == 4 and kind == BYTES:
            state = _ENDS.get(dict(_varints(data)).get(1, 0), "")
    return settings, state


def _setting(entry: bytes) -> tuple[str, Any]:
    """One entry of a map from string to google.protobuf.Value."""
    key, value = "", None
    for number, kind, _, data in fields(entry):
        if number == 1 and kind == BYTES:
            key = text(data)
        elif number == 2 and kind == BYTES:
            value = _plain(data)
    return key, value


def _plain(value: bytes) -> Any:
    """A google.protobuf.Value that is a number, a text or a truth; of others None."""
    for number, kind, varint, data in fields(value):
        if number == 2:
            return double(data)
        if number == 3 and kind == BYTES:
            return text(data)
        if number == 4 and kind == VARINT:
            return bool(varint)
    return None


def _varints(message: bytes) -> Iterator[tuple[int, int]]:
    return ((number, value) for number, kind, value, _ in fields(message) if kind == VARINT)


def status(message: bytes) -> int:
    """Field 1 of a message, as in SessionLog; 0 where it is absent."""
    return dict(_varints(message)).get(1, 0)
