"""A store gives back the documents that it was given, however odd, and reads no text unasked."""

from pathlib import Path

import numpy as np
import pytest

from isoflop._errors import DataError
from isoflop.data.documents import Document, make_document
from isoflop.data.store import (
    DocumentStore,
    StoreWriter,
    TextFile,
    pool_stores,
    store_documents,
)

ODD = [
    make_document("plain.txt", "a text\r\nof two lines"),
    make_document("empty.txt", ""),
    make_document("höhe/數.txt", "größer 數學 \U0001f600 e\u0301"),
    make_document("name \udce9 of another encoding", "text"),
    make_document("half \ud83d", "one half of a pair: \ud83d"),
    make_document("broken.txt", b"caf\xe9"),
    make_document("zero", "a\x00b\u2028c"),
    make_document("empty.txt", ""),
]


def fields(document: Document) -> tuple[object, ...]:
    return (
        document.name, document.text, document.digest, document.n_bytes, document.replaced,
    )  # fmt: skip


def test_a_store_is_the_sequence_of_its_documents() -> None:
    store = store_documents(iter(ODD))
    assert len(store) == len(ODD)
    assert [fields(document) for document in store] == [fields(document) for document in ODD]
    assert fields(store[-1]) == fields(ODD[-1])
    assert list(store.texts) == [document.text for document in ODD] == list(store.texts)
    assert store.digests == [document.digest for document in ODD]
    assert store.n_bytes.tolist() == [document.n_bytes for document in ODD]
    assert [document.replaced for document in store].count(True) == 2
    with pytest.raises(IndexError):
        store[len(ODD)]


def test_a_choice_of_documents_is_a_store_too() -> None:
    store = store_documents(ODD)
    some = store.take(np.array([5, 2, 2]))
    assert [fields(one) for one in some] == [fields(ODD[i]) for i in (5, 2, 2)]
    assert [one.name for one in store[1:3]] == ["empty.txt", "höhe/數.txt"]
    assert [one.name for one in store.take(store.n_bytes == 0)] == ["empty.txt"] * 2
    assert list(store.take(np.zeros(len(store), dtype=bool))) == []
    assert list(store[2:4].texts) == [ODD[2].text, ODD[3].text]


def test_stores_in_one_row() -> None:
    parts = [store_documents(ODD[:3]), store_documents([]), store_documents(ODD[3:])]
    row = pool_stores([parts[0], parts[1], pool_stores([parts[2], parts[0]])])
    assert [fields(one) for one in row] == [fields(one) for one in [*ODD, *ODD[:3]]]


def test_a_file_that_is_cut_while_it_is_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "texts.bin"
    with path.open("wb") as stream:
        writer = StoreWriter(stream)
        for document in ODD:
            writer.add(document)
    store = DocumentStore((TextFile.open(path),), writer.rows)
    assert store[2].text == ODD[2].text
    with path.open("r+b") as stream:
        stream.truncate(30)
    assert store[0].text == ODD[0].text
    with pytest.raises(DataError, match=r"texts\.bin: cut to less than \d+ bytes while"):
        store[5].text  # noqa: B018
