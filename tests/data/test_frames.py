"""Messages come whole or not at all."""

import io
import struct

import pytest

from isoflop.data.frames import receive, send


class Trickle(io.RawIOBase):
    """A stream without a buffer that gives one byte at a time."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._data.read(min(size, 1))


MESSAGES = [["", "a\nb", "ß 𝄞 \u0000", "\ud800"], [0.1, 1e-300, 3.0], {"a": None}]


def sent() -> bytes:
    stream = io.BytesIO()
    for message in MESSAGES:
        send(stream, message)
    return stream.getvalue()


def test_messages_come_as_they_were_sent() -> None:
    for stream in (io.BytesIO(sent()), Trickle(sent())):
        assert [receive(stream) for _ in MESSAGES] == MESSAGES
        with pytest.raises(EOFError, match="has ended"):
            receive(stream)


def test_a_cut_message_is_none() -> None:
    stream = io.BytesIO()
    send(stream, MESSAGES[0])
    for size in range(len(stream.getvalue())):
        with pytest.raises(EOFError, match="has ended"):
            receive(io.BytesIO(stream.getvalue()[:size]))


def test_what_is_no_message_is_not_waited_for() -> None:
    with pytest.raises(EOFError, match="no message: it would have"):
        receive(io.BytesIO(b"Loading the model ..."))
    with pytest.raises(EOFError, match="no message"):
        receive(io.BytesIO(struct.pack("<Q", 3) + b"abc"))
