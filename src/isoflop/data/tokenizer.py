"""Text to ids and back, whatever the tokenizer; and the corpus's own byte-level BPE."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isoflop._errors import DataError, MissingExtraError
from isoflop.data.card import read_card
from isoflop.data.documents import Document, in_parts
from isoflop.data.engine import PART_CHARS, Engine, encode_texts
from isoflop.data.shards import Tokens, dtype_of
from isoflop.data.word_cache import WordCache, segments, splits_like_gpt2
from isoflop.specs.tokenizer import BUILT_IN, OWN

END_OF_TEXT = "<|endoftext|>"
END_ID = 0
SAMPLE_BYTES = 8_000_000
"""Text the merges are learned from, over all domains: 512 to 8,192 merges are settled by then."""
SAMPLE_CHARS = 20_000
"""At most this much of one document, so that no long document sets the merges."""
_BATCH_CHARS = 2_000_000
_DAFT_CHARS = min(2 * PART_CHARS * (os.cpu_count() or 1), 256_000_000)
"""Text that Daft takes at once: two parts a core, within a bound of the memory they take."""


class Tokenizer:
    """A tokenizer of the `tokenizers` library, with the id that ends a document.

    Byte-level ones give `decode(encode(text)) == text` for every text; of others nothing is sure.
    """

    __slots__ = (
        "_dtype",
        "_engine",
        "_inner",
        "_words",
        "end_id",
        "end_token",
        "name",
        "vocab_size",
    )

    def __init__(
        self,
        inner: Any,
        *,
        name: str = OWN,
        end_token: str = END_OF_TEXT,
        engine: Engine = "native",
    ) -> None:
        """Args:
        inner: of the library.
        name: as data.tokenizer names it; Daft gives the ids of those that it carries.
        end_token: must be in its vocabulary.
        engine: where Daft works.
        """
        self._inner = inner
        # A document that spells the end mark must not end: its letters are text like any other.
        inner.encode_special_tokens = True
        ids = inner.get_vocab(with_added_tokens=True)
        self.name = name
        self.end_token = end_token
        self.end_id = int(ids[end_token])
        self.vocab_size = 1 + max(ids.values())
        """One past the largest id: ids may have gaps."""
        self._dtype = dtype_of(self.vocab_size)
        self._words = WordCache(inner, self._dtype) if splits_like_gpt2(inner) else None
        self._engine = engine

    @property
    def chars_at_once(self) -> int:
        """Text that it must see at once to use all cores; 0 where any will do."""
        return _DAFT_CHARS if self.name in BUILT_IN else 0

    def encode(self, text: str) -> list[int]:
        """Token ids of a text, without end mark."""
        return list(self._inner.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """Text of token ids; end marks are spelt out."""
        return str(self._inner.decode(list(ids), skip_special_tokens=False))

    def encode_documents(
        self, texts: Sequence[str], progress: Callable[[float], None] = lambda share: None
    ) -> list[Tokens]:
        """Ids of each text and the end mark after it; a batch at a time, so memory is bounded."""
        out: list[Tokens] = []
        for batch in in_parts(texts, len, least=max(_BATCH_CHARS, self.chars_at_once)):
            out += map(self._with_end, self._encode_batch(batch))
            progress(len(out) / len(texts))
        return out

    def decode_many(self, rows: Sequence[Sequence[int]]) -> list[str]:
        """Text of each row of token ids."""
        return list(self._inner.decode_batch(rows, skip_special_tokens=False))

    def token_id(self, token: str) -> int | None:
        """The id of a token by its spelling in the vocabulary; None if it has none."""
        found = self._inner.token_to_id(token)
        return None if found is None else int(found)

    def to_json(self) -> str:
        """The `tokenizer.json` that Hugging Face tokenizers reads."""
        return str(self._inner.to_str())

    def _with_end(self, ids: Tokens) -> Tokens:
        end = np.array([self.end_id], dtype=self._dtype)
        return np.append(ids, end).astype(self._dtype, copy=False)

    def _encode_batch(self, texts: Sequence[str]) -> Iterable[Tokens]:
        """Ids of each text: from Daft, from the table of words where it can tell, else by the
        library; all give the same (LOG.md)."""
        if self.name in BUILT_IN:
            return encode_texts(texts, self.name, engine=self._engine)
        if self._words is None:
            known: list[Tokens | None] = [None] * len(texts)
            parts = [[text] for text in texts]
        else:
            known = [self._words.ids(text) for text in texts]
            parts = [list(segments(t)) for t, ids in zip(texts, known, strict=True) if ids is None]
        flat = [part for some in parts for part in some]
        found = iter(self._inner.encode_batch_fast(flat, add_special_tokens=False))
        unknown = (
            np.concatenate([np.array(next(found).ids, dtype=self._dtype) for _ in some])
            for some in parts
        )
        return (next(unknown) if ids is None else ids for ids in known)


def train_tokenizer(domains: Sequence[Sequence[Document]], vocab_size: int) -> Tokenizer:
    """Byte-level BPE learned from equal shares of the domains, documents chosen by content hash.

    Equal input gives an equal tokenizer to the bit; it does not depend on the study's seed.

    Raises:
        DataError: the text has too few distinct pairs for the vocabulary.

    Source: Sennrich et al. 2016, arXiv:1508.07909; byte alphabet of Radford et al. 2019 (GPT-2).
    """
    tokenizers = import_tokenizers()
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


def load_tokenizer(folder: Path, *, engine: Engine = "native") -> Tokenizer:
    """The tokenizer of a corpus folder; one that Daft carries gives its ids by that engine.

    Raises:
        DataError: `tokenizer.json` is missing or not a tokenizer.
    """
    path = folder / "tokenizer.json"
    tokenizers = import_tokenizers()
    name, end_token = OWN, END_OF_TEXT
    if (folder / "card.json").is_file():
        card = read_card(folder)
        name, end_token = card.tokenizer, card.end_token
    try:
        inner = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
        return Tokenizer(inner, name=name, end_token=end_token, engine=engine)
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


def import_tokenizers() -> Any:
    """The module `tokenizers`.

    Raises:
        MissingExtraError: it is not installed.
    """
    # Said aloud, or the library warns on stderr whenever a process is started later on.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    try:
        import tokenizers
    except ImportError as error:
        raise MissingExtraError(
            "tokenizers", extra="data", needed_for="preparing a corpus"
        ) from error
    return tokenizers
