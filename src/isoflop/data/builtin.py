"""r50k, cl100k and o200k: the tables of ranks that Daft carries, as a `tokenizer.json`."""

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from isoflop._errors import DataError
from isoflop.data.engine import carried_table

_HEAD = b"IQ== 0\n"
"""First line of every table: the byte `!` has rank 0."""
_CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltIn:
    """What is published of one tokenizer.

    Source: OpenAI's tiktoken, `tiktoken_ext/openai_public.py` (hashes, patterns, special tokens).
    """

    n_bytes: int
    """Size of its table of ranks."""
    sha256: str
    """Of the table."""
    pattern: str
    """How text is split before merges."""
    special: Mapping[str, int]


BUILT_INS = {
    "r50k_base": BuiltIn(
        n_bytes=835_554,
        sha256="306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
        pattern=r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        special={"<|endoftext|>": 50_256},
    ),
    "cl100k_base": BuiltIn(
        n_bytes=1_681_126,
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        pattern=_CL100K,
        special={
            "<|endoftext|>": 100_257, "<|fim_prefix|>": 100_258, "<|fim_middle|>": 100_259,
            "<|fim_suffix|>": 100_260, "<|endofprompt|>": 100_276,
        },
    ),
    "o200k_base": BuiltIn(
        n_bytes=3_613_922,
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        pattern=_O200K,
        special={"<|endoftext|>": 199_999, "<|endofprompt|>": 200_018},
    ),
}  # fmt: skip


def built_in_json(name: str) -> str:
    """The `tokenizer.json` that gives the ids of a built-in tokenizer.

    Raises:
        DataError: this version of Daft carries another table.
        MissingExtraError: Daft is not installed.
    """
    known = BUILT_INS[name]
    table = carried_table(_HEAD, known.n_bytes, known.sha256)
    if table is None:
        raise DataError(
            f"data.tokenizer = {name!r}: the Daft that is installed does not carry its table of "
            "ranks. Install daft 0.7.26, or name a file of this tokenizer: 'path:tokenizer.json'."
        )
    rows = (line.split() for line in table.splitlines())
    ranks = {base64.b64decode(text): int(rank) for text, rank in rows}
    letters = _byte_letters()
    spelt = {token: "".join(letters[byte] for byte in token) for token in ranks}
    merges = [[spelt[a], spelt[b]] for a, b in _merges(ranks)]
    model = {
        "type": "BPE",
        "ignore_merges": True,
        "vocab": {spelt[token]: rank for token, rank in ranks.items()} | dict(known.special),
        "merges": merges,
    }
    return json.dumps(_tokenizer(model, known), ensure_ascii=False)


def _tokenizer(model: dict[str, Any], known: BuiltIn) -> dict[str, Any]:
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    split = {
        "type": "Split", "pattern": {"Regex": known.pattern}, "behavior": "Isolated",
        "invert": False,
    }  # fmt: skip
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": token, "content": text, **flags, "special": True}
            for text, token in known.special.items()
        ],
        "pre_tokenizer": {
            "type": "Sequence", "pretokenizers": [split, {**level, "use_regex": False}]
        },
        "decoder": {**level, "use_regex": True},
        "model": model,
    }  # fmt: skip


def _merges(ranks: Mapping[bytes, int]) -> Iterator[tuple[bytes, bytes]]:
    """The two parts that make each token, by rank: what is left of its bytes by earlier merges."""
    for token, rank in sorted(ranks.items(), key=lambda item: item[1]):
        parts = [token[i : i + 1] for i in range(len(token))]
        while len(parts) > 2:
            pairs = [(ranks.get(parts[i] + parts[i + 1], rank), i) for i in range(len(parts) - 1)]
            _, first = min(pairs)
            parts[first : first + 2] = [parts[first] + parts[first + 1]]
        if len(parts) == 2:
            yield parts[0], parts[1]


def _byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary.

    Source: Radford et al. 2019, GPT-2, `bytes_to_unicode` of its encoder.py.
    """
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    place = {byte: 256 + number for number, byte in enumerate(others)}
    return [chr(place.get(byte, byte)) for byte in range(256)]
