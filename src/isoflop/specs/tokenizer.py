"""The tokenizer keys of `[data]`: which are allowed together, and how many ids there are."""

from typing import Protocol

from isoflop._errors import StudyError
from isoflop.specs.section import require

OWN = "own"
BUILT_IN = {"r50k_base": 50_257, "cl100k_base": 100_277, "o200k_base": 200_019}
"""Tokenizers known by name and the ids of each: one past its largest, the gaps counted too.

Source: OpenAI's tiktoken, `tiktoken_ext/openai_public.py`."""
_OWN_SIZE = 512


class TokenizerKeys(Protocol):
    """What is asked of `[data]`."""

    @property
    def tokenizer(self) -> str: ...
    @property
    def vocab_size(self) -> int | None: ...
    @property
    def end_token(self) -> str: ...


def check_tokenizer(section: TokenizerKeys) -> None:
    """Refuse keys that do not go together.

    Raises:
        StudyError: names the key.
    """
    name, size = section.tokenizer, section.vocab_size
    is_file = name.startswith("path:")
    require(
        name == OWN or name in BUILT_IN or is_file,
        "data.tokenizer",
        name,
        f"own, path:FILE, or one of {', '.join(BUILT_IN)}",
        "Name one of these.",
    )
    require(
        name != OWN or size is None or 257 <= size <= 65_536,
        "data.vocab_size",
        size,
        "257 <= vocab_size <= 65536",
        "Byte-level BPE starts at 256 bytes and one end mark.",
    )
    require(
        name not in BUILT_IN or size in (None, BUILT_IN[name]),
        "data.vocab_size",
        size,
        f"vocab_size = {BUILT_IN.get(name)}",
        f"Leave it out: {name} has its own vocabulary.",
    )
    require(not is_file or size is None or size > 1, "data.vocab_size", size, "vocab_size > 1",
            "Leave it out: the file says it.")  # fmt: skip
    require(
        is_file or not section.end_token,
        "data.end_token",
        section.end_token,
        "data.tokenizer = 'path:FILE'",
        "Leave it out: the other tokenizers know their end mark.",
    )


def count_ids(section: TokenizerKeys) -> int:
    """Ids of the tokenizer: the vocabulary of every model of the study.

    Raises:
        StudyError: they are those of a file that was not read.
    """
    if section.vocab_size is not None:
        return section.vocab_size
    if section.tokenizer == OWN:
        return _OWN_SIZE
    if section.tokenizer in BUILT_IN:
        return BUILT_IN[section.tokenizer]
    raise StudyError(
        f"data.tokenizer = {section.tokenizer!r}: its file was not read, so the vocabulary is "
        "unknown. Open the study as a folder, or give data.vocab_size."
    )
