"""The corpus's own byte-level BPE: trained on a bounded sample, exact in both directions."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop._errors import DataError, MissingExtraError
from isoflop.data.documents import Document, in_parts
from isoflop.data.word_cache import WordCache, segments, splits_like_gpt2

END_OF_TEXT = "<|endoftext|>"
END_ID = 0
SAMPLE_BYTES = 8_000_000
"""Text the merges are learned from, over all domains: 512 to 8,192 merges are settled by then."""
SAMPLE_CHARS = 20_000
"""At most this much of one document, so that no long document sets the merges."""
_BATCH_CHARS = 2_000_000


class Tokenizer:
    """Byte-level BPE with id 0 = end of text; `decode(encode(text)) == text` for every text."""

    __slots__ = ("_inner", "_words")

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self._words = WordCache(inner) if splits_like_gpt2(inner) else None
        # A document that spells the end mark must not end: its letters are text like any other.
        inner.encode_special_tokens = True

    @property
    def vocab_size(self) -> int:
        """Number of ids."""
        return int(self._inner.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without end mark."""
        return list(self._inner.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids; end marks are spelt out."""
        return str(self._inner.decode(list(ids), skip_special_tokens=False))

    def encode_documents(
        self, texts: Sequence[str], progress: Callable[[float], None] = lambda share: None
    ) -> list[NDArray[np.uint16]]:
        """Ids of each text and the end mark after it; a batch at a time, so memory is bounded."""
        out: list[NDArray[np.uint16]] = []
        for batch in in_parts(texts, len, least=_BATCH_CHARS):
            out += map(_with_end, self._ids(batch))
            progress(len(out) / len(texts))
        return out

    def _ids(self, texts: Sequence[str]) -> Iterator[NDArray[np.uint16]]:
        """Ids of each text: from the table of words where it can tell, else by the library."""
        if self._words is None:
            known: list[NDArray[np.uint16] | None] = [None] * len(texts)
            parts = [[text] for text in texts]
        else:
            known = [self._words.ids(text) for text in texts]
            parts = [list(segments(t)) for t, ids in zip(texts, known, strict=True) if ids is None]
        flat = [part for some in parts for part in some]
        found = iter(self._inner.encode_batch_fast(flat, add_special_tokens=False))
        unknown = (
            np.concatenate([np.array(next(found).ids, dtype=np.uint16) for _ in some])
            for some in parts
        )
        return (next(unknown) if ids is None else ids for ids in known)

    def to_json(self) -> str:
        """The `tokenizer.json` that Hugging Face tokenizers reads."""
        return str(self._inner.to_str())


def train_tokenizer(domains: Sequence[Sequence[Document]], vocab_size: int) -> Tokenizer:
    """Byte-level BPE learned from equal shares of the domains, documents chosen by content hash.

    Equal input gives an equal tokenizer to the bit; it does not depend on the study's seed.

    Raises:
        DataError: the text has too few distinct pairs for the vocabulary.

    Source: Sennrich et al. 2016, arXiv:1508.07909; byte alphabet of Radford et al. 2019 (GPT-2).
    """
    tokenizers = _import()
    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    share = SAMPLE_BYTES // len(domains)
    inner.train_from_iterator((text for docs in domains for text in _sample(docs, share)), trainer)
    tokenizer = Tokenizer(inner)
    if tokenizer.vocab_size < vocab_size:
        raise DataError(
            f"data.vocab_size = {vocab_size}: the corpus has text for {tokenizer.vocab_size} "
            "tokens only. Lower data.vocab_size or add text."
        )
    return tokenizer


def _with_end(ids: NDArray[np.uint16]) -> NDArray[np.uint16]:
    return np.append(ids, np.uint16(END_ID))


def load_tokenizer(folder: Path) -> Tokenizer:
    """The tokenizer of a corpus folder.

    Raises:
        DataError: `tokenizer.json` is missing or not a tokenizer.
    """
    path = folder / "tokenizer.json"
    tokenizers = _import()
    try:
        return Tokenizer(tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8")))
    except Exception as error:  # tokenizers raises nothing narrower
        raise DataError(
            f"{path}: not a tokenizer ({error}). Delete {folder / 'card.json'} and prepare the "
            "corpus again with `isoflop data`."
        ) from error


def _sample(documents: Sequence[Document], n_bytes: int) -> Iterator[str]:
    taken = 0
    for document in sorted(documents, key=lambda document: document.digest):
        if taken >= n_bytes:
            return
        text = document.text[:SAMPLE_CHARS]
        taken += len(text.encode())
        yield text


def _import() -> Any:
    # Said aloud, or the library warns on stderr whenever a process is started later on.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        import tokenizers
    except ImportError as error:
        raise MissingExtraError(
            "tokenizers", extra="data", needed_for="preparing a corpus"
        ) from error
    return tokenizers
