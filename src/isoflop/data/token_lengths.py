"""How many bytes of text each token stands for, whatever the tokenizer."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop._errors import DataError
from isoflop.data.foreign import vocabulary_of
from isoflop.data.tokenizer import Tokenizer, load_tokenizer

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")


def byte_lengths(folder: Path, vocab_size: int) -> NDArray[np.int64]:
    """Bytes of each token's text (vocab_size,), of the tokenizer of a corpus folder.

    A byte-level vocabulary writes one letter a byte. Of another one, a token's text is what
    decoding adds when the token follows a word; a token of byte fallback is one byte.

    Raises:
        DataError: `tokenizer.json` is missing or not a tokenizer.
        MissingExtraError: the tokenizer is not byte-level and `tokenizers` is not installed.
    """
    path = folder / "tokenizer.json"
    lengths = np.zeros(vocab_size, dtype=np.int64)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        vocabulary = vocabulary_of(data)
        kinds = {part["type"] for part in _decoders(data.get("decoder"))}
        added = {token["content"] for token in data.get("added_tokens") or ()}
        texts, ids = list(vocabulary), np.array(list(vocabulary.values()))
        if "ByteLevel" in kinds:
            lengths[ids] = [len(t.encode()) if t in added else len(t) for t in texts]
            return lengths
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(
            f"{path}: not the tokenizer of a corpus ({error}). Delete it and prepare the corpus "
            "again with `isoflop data`."
        ) from error
    lengths[ids] = _added_bytes(load_tokenizer(folder), ids)
    if "ByteFallback" in kinds:
        lengths[[vocabulary[text] for text in texts if _BYTE.fullmatch(text)]] = 1
    return lengths


def _decoders(decoder: Mapping[str, Any] | None) -> Iterator[Mapping[str, Any]]:
    if decoder is not None:
        yield decoder
        for part in decoder.get("decoders", ()):
            yield from _decoders(part)


def _added_bytes(tokenizer: Tokenizer, ids: NDArray[np.int64]) -> NDArray[np.int64]:
    before = tokenizer.encode("a")[-1:]
    rows = [[*before, token] for token in ids.tolist()]
    bare = len(tokenizer.decode(before).encode())
    texts = tokenizer.decode_many(rows)
    return np.array([max(0, len(text.encode()) - bare) for text in texts], dtype=np.int64)
