"""Tokens in blocks: what a kill has left is used as far as it is sound, and no further."""

import json
from pathlib import Path

import numpy as np
import pytest

from isoflop.data import token_store
from isoflop.data.documents import make_document
from isoflop.data.store import store_documents
from isoflop.data.token_store import IDS, JOURNAL, LENGTHS, TokenStore, write_tokens

TEXTS = [chr(97 + i) * (20 * i) for i in range(10)]
DOCUMENTS = store_documents(make_document(str(i), text) for i, text in enumerate(TEXTS))


class Stopped(Exception):
    """In place of a kill."""


class Encoder:
    """One token a letter; counts the texts, and stops after some."""

    def __init__(self, most: int = 99) -> None:
        self.texts: list[str] = []
        self._most = most

    def __call__(self, texts: list[str]) -> list[np.ndarray]:
        if len(self.texts) + len(texts) > self._most:
            raise Stopped
        self.texts += texts
        return [np.array([*map(ord, text), 0], dtype=np.uint16) for text in texts]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_store, "BLOCK_BYTES", 100)


def write(folder: Path, encoder: Encoder, key: str = "one") -> TokenStore:
    return write_tokens(
        folder, key, DOCUMENTS, encoder, dtype=np.dtype("<u2"), tell=lambda done: None
    )


def check(store: TokenStore) -> None:
    assert store.lengths.tolist() == [len(text) + 1 for text in TEXTS]
    for number, text in enumerate(TEXTS):
        assert store.tokens(number).tolist() == [*map(ord, text), 0]


def stopped(folder: Path) -> int:
    """Texts of the whole blocks that a preparation stopped in the middle has left."""
    encoder = Encoder(most=7)
    with pytest.raises(Stopped):
        write(folder, encoder)
    return len(encoder.texts)


def test_finished_blocks_are_not_made_again(tmp_path: Path) -> None:
    done = stopped(tmp_path)
    assert done >= 5
    encoder = Encoder()
    check(write(tmp_path, encoder))
    assert encoder.texts == TEXTS[done:]
    idle = Encoder()
    check(write(tmp_path, idle))
    assert idle.texts == []


def test_tokens_of_another_key_are_not_used(tmp_path: Path) -> None:
    stopped(tmp_path)
    encoder = Encoder()
    check(write(tmp_path, encoder, key="another"))
    assert encoder.texts == TEXTS


@pytest.mark.parametrize(
    ("name", "change"),
    [
        (IDS, lambda data: data[:-1]),
        (IDS, lambda data: data[:-1] + b"!"),
        (IDS, lambda data: b""),
        (LENGTHS, lambda data: data[:-3]),
        (LENGTHS, lambda data: data[:-8] + bytes(8)),
        (JOURNAL, lambda data: data[:-5]),
        (JOURNAL, lambda data: data + b'{"documents": 1, "ids_end"'),
        (JOURNAL, lambda data: data + b'{"documents": 1}\n'),
        (JOURNAL, lambda data: data.replace(b"ids_end", b"ids_ent")),
        (JOURNAL, lambda data: data + data),
        (JOURNAL, lambda data: b"\xff\x00" + data),
    ],
)
def test_torn_files_are_made_again(tmp_path: Path, name: str, change: object) -> None:
    stopped(tmp_path)
    path = tmp_path / name
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    check(write(tmp_path, Encoder()))
    check(write(tmp_path, Encoder(most=0)))


def test_ids_without_a_line_in_the_journal_are_written_over(tmp_path: Path) -> None:
    """The kill came between the two."""
    done = stopped(tmp_path)
    lines = (tmp_path / JOURNAL).read_text().splitlines(keepends=True)
    (tmp_path / JOURNAL).write_text("".join(lines[:-1]))
    encoder = Encoder()
    check(write(tmp_path, encoder))
    assert encoder.texts == TEXTS[sum(json.loads(line)["documents"] for line in lines[:-1]) :]
    assert len(encoder.texts) > len(TEXTS) - done
