"""Items of W&B's records: a path of keys and the JSON text of a value."""

import json
from typing import Any

from isoflop.runs.readers.gathering import MAX_TEXT, parse_json
from isoflop.runs.readers.protobuf import BYTES, WireError, double, fields, text

Key = tuple[bytes, ...]

# Numbers of fields of HistoryItem; SummaryItem and ConfigItem have the first two and the last.
_KEY, _NESTED_KEY, _VALUE_JSON = 1, 2, 16
_BOOLEAN, _INTEGER, _NUMBER, _TEXT, _JSON = 4, 5, 6, 7, 8
_VALUE_MARK = b"\x82\x01"
"""Number and wire type of the field with the JSON text."""
_MAX_KNOWN = 10_000
_LONGEST_WITH_NUMBERS = 1 << 16


class Items:
    """Splits items into the path of their key and their JSON text.

    Nearly all are a key, then a text of less than 128 bytes: what comes before the text is known
    from the second row on, and is looked up instead of parsed (half of the time of a reading).
    """

    def __init__(self) -> None:
        self._keys: dict[bytes, Key] = {}

    def split(self, item: bytes) -> tuple[Key, bytes]:
        """The path and the JSON text; a value that is no JSON text is made one.

        Raises:
            WireError: no item.
        """
        head, _, tail = item.partition(_VALUE_MARK)
        known = self._keys.get(head)
        if known is not None and tail and tail[0] == len(tail) - 1 < 128:
            return known, tail[1:]
        key, raw = _parsed(item)
        if len(self._keys) < _MAX_KNOWN and _is_path(head):
            self._keys[head] = key
        return key, raw


def _parsed(item: bytes) -> tuple[Key, bytes]:
    key: list[bytes] = []
    raw = b""
    for number, kind, varint, data in fields(item):
        if kind == BYTES and number in (_NESTED_KEY, _KEY):
            key.append(data)
        elif kind == BYTES and number in (_VALUE_JSON, _JSON):
            raw = data
        elif number == _NUMBER:
            raw = repr(double(data)).encode()
        elif number == _INTEGER:  # zigzag
            raw = b"%d" % ((varint >> 1) ^ -(varint & 1))
        elif number == _BOOLEAN:
            raw = b"true" if varint else b"false"
        elif kind == BYTES and number == _TEXT:
            raw = json.dumps(text(data)).encode()
    return tuple(key), raw


def _is_path(head: bytes) -> bool:
    """Whether these bytes are whole fields of a key and nothing else."""
    try:
        parts = [(number, kind) for number, kind, _, _ in fields(head)]
    except WireError:
        return False
    return all(number in (_KEY, _NESTED_KEY) and kind == BYTES for number, kind in parts)


def number_or_json(raw: bytes) -> object:
    """The value of a JSON text: a float where it is a number, NaN and infinities too.

    A text that is no JSON, or far too long for anything that holds a number, stays a text.
    """
    try:
        return float(raw)
    except ValueError:
        pass
    if len(raw) > _LONGEST_WITH_NUMBERS:
        return ""
    try:
        return parse_json(raw) if raw else None
    except ValueError:
        return ""


def json_value(raw: bytes) -> object:
    """The value of a JSON text; of an absent one None.

    Raises:
        WireError: no JSON, or so long that its values would fill the memory.
    """
    if len(raw) > MAX_TEXT:
        raise WireError(f"JSON of {len(raw) / 1e6:.0f} MB")
    try:
        return parse_json(raw) if raw else None
    except ValueError as error:
        raise WireError(f"JSON: {error}") from error


def put(target: dict[str, Any], path: list[str], value: object) -> None:
    """Set a nested value; what stands in the way gives way, as in W&B."""
    for part in path[:-1]:
        inner = target.get(part)
        if not isinstance(inner, dict):
            inner = target[part] = {}
        target = inner
    if path:
        target[path[-1]] = value


def remove(target: dict[str, Any], path: list[str]) -> None:
    """Remove a nested value, if it is there."""
    for part in path[:-1]:
        inner = target.get(part)
        if not isinstance(inner, dict):
            return
        target = inner
    if path:
        target.pop(path[-1], None)
