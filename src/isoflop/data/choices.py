"""Multiple choice made of held-out documents: which of four continuations is the true one?

A question is `prompt` tokens of a validation document and four continuations of equal length: its
own, and three cut from other documents of the same domain. Guessing is right one time in four.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop._errors import DataError
from isoflop.data.card import DataCard, open_tokens, read_card
from isoflop.data.shards import Tokens, write_text
from isoflop.data.token_lengths import byte_lengths

N_CHOICES = 4
MAX_QUESTIONS = 400
"""Of a domain: an accuracy of 0.5 is then known to 0.025 (one standard error)."""
MIN_QUESTIONS = 40
_VERSION = 1
_TRIES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """The questions of one domain, Q of them."""

    domain: str
    prompt: Tokens
    """(Q, P)."""
    choices: Tokens
    """(Q, 4, C)."""
    answer: NDArray[np.int64]
    """(Q,): which of the four is true."""
    answer_bytes: NDArray[np.int64]
    """(Q,): bytes of the true continuation's text."""


def question_sizes(context: int) -> tuple[int, int]:
    """(tokens of the prompt, tokens of a continuation) for a context of `context` tokens.

    A quarter of the context is asked for, at most 32 tokens; the prompt is the rest, at most 256.
    """
    asked = max(1, min(32, context // 4))
    return max(1, min(256, context - asked)), asked


def open_choices(folder: str | Path, domain: str, *, context: int) -> Choices:
    """The questions of a domain, from `<folder>/choices/`, where the first call writes them.

    They are a function of the corpus hash, the domain and the context: every training of a corpus
    answers the same ones.

    Raises:
        DataError: too few or too short held-out documents, or a corrupt corpus.
    """
    folder = Path(folder)
    prompt, asked = question_sizes(context)
    path = folder / "choices" / f"{domain}-{prompt}-{asked}.json"
    card = read_card(folder)
    made = _read(path, card, domain)
    if made is None:
        made = _make(folder, domain, card, prompt, asked)
        write_text(path, json.dumps(_to_json(made, card.corpus_hash)) + "\n")
    return made


def _make(folder: Path, domain: str, card: DataCard, prompt: int, asked: int) -> Choices:
    tokens = np.asarray(open_tokens(folder, "val", domain))
    documents = _documents(tokens, card.end_id, asked)
    whole = prompt + asked
    places = [
        (number, start)
        for number, tokens in enumerate(documents)
        for start in range(0, len(tokens) - whole + 1, whole)
    ]
    text = f"{card.corpus_hash}:{domain}:{prompt}:{asked}"
    rng = np.random.default_rng(list(hashlib.sha256(text.encode()).digest()))
    order = rng.permutation(len(places))
    rows = []
    for number, start in (places[i] for i in order):
        true = documents[number][start + prompt : start + whole]
        wrong = _distractors(documents, number, true, rng)
        if wrong is not None:
            rows.append((documents[number][start : start + prompt], true, wrong))
        if len(rows) == MAX_QUESTIONS:
            break
    if len(rows) < MIN_QUESTIONS:
        raise DataError(
            f"domain {domain!r}: its held-out documents give {len(rows)} questions of {prompt} + "
            f"{asked} tokens, and {MIN_QUESTIONS} are needed. Raise data.validation_tokens, "
            "shorten model.context or set eval.multiple_choice = false."
        )
    answer = rng.integers(0, N_CHOICES, len(rows))
    choices = [np.insert(wrong, at, true, axis=0)
               for (_, true, wrong), at in zip(rows, answer, strict=True)]  # fmt: skip
    lengths = byte_lengths(folder, card.vocab_size)
    return Choices(
        domain=domain,
        prompt=np.stack([row[0] for row in rows]),
        choices=np.stack(choices),
        answer=answer,
        answer_bytes=np.array([int(lengths[row[1]].sum()) for row in rows]),
    )


def _documents(tokens: Tokens, end_id: int, asked: int) -> list[Tokens]:
    """The documents of a shard without their end marks, those long enough to ask for."""
    parts = np.split(tokens, np.flatnonzero(tokens == end_id))
    whole = [part[part != end_id] for part in parts]
    return [part for part in whole if len(part) >= asked]


def _distractors(
    documents: list[Tokens], own: int, true: Tokens, rng: np.random.Generator
) -> Tokens | None:
    """Three different continuations (3, C) from three other documents; None if there are none."""
    asked = len(true)
    found: dict[int, Tokens] = {}
    if len(documents) < N_CHOICES:
        return None
    for _ in range(_TRIES):
        other = int(rng.integers(0, len(documents)))
        start = int(rng.integers(0, len(documents[other]) - asked + 1))
        span = documents[other][start : start + asked]
        taken = [true, *found.values()]
        if other == own or other in found or any(np.array_equal(span, t) for t in taken):
            continue
        found[other] = span
        if len(found) == N_CHOICES - 1:
            return np.stack(list(found.values()))
    return None


def _to_json(choices: Choices, corpus_hash: str) -> dict[str, Any]:
    return {
        "version": _VERSION,
        "corpus_hash": corpus_hash,
        "domain": choices.domain,
        "prompt": choices.prompt.tolist(),
        "choices": choices.choices.tolist(),
        "answer": choices.answer.tolist(),
        "answer_bytes": choices.answer_bytes.tolist(),
    }


def _read(path: Path, card: DataCard, domain: str) -> Choices | None:
    """What a file holds; None if it must be made anew (absent, cut, or of another corpus)."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    named = {"version": _VERSION, "corpus_hash": card.corpus_hash, "domain": domain}
    if not isinstance(data, Mapping) or any(data.get(k) != v for k, v in named.items()):
        return None
    return Choices(
        domain=domain,
        prompt=np.array(data["prompt"], dtype=card.dtype),
        choices=np.array(data["choices"], dtype=card.dtype),
        answer=np.array(data["answer"], dtype=np.int64),
        answer_bytes=np.array(data["answer_bytes"], dtype=np.int64),
    )
