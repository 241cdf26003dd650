"""Whether a tokenizer gives back the text it was given, and what it has no token for."""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from isoflop._types import Problem
from isoflop.data.card import DataCard
from isoflop.data.shards import Tokens
from isoflop.data.tokenizer import Tokenizer
from isoflop.specs.tokenizer import OWN

CHECKED = 200
"""Documents whose text is compared: of an error in 1 of 50, the odds to miss it are 2 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """What the card says of a tokenizer that was not made for the corpus."""

    checked_documents: int = 0
    inexact_documents: int = 0
    unknown_tokens: int = 0
    early_ends: int = 0


def measure_fidelity(
    tokenizer: Tokenizer, n: int, tokens_of: Callable[[int], Tokens], text_of: Callable[[int], str]
) -> Fidelity:
    """Decode an even sample of the documents, and count unknowns and ends in all of them.

    Args:
        tokenizer: not asked where it is the corpus's own, which loses nothing.
        n: number of documents.
        tokens_of: the ids of a document by its place, with the end mark.
        text_of: its text.
    """
    if tokenizer.name == OWN:
        return Fidelity()
    count = min(n, CHECKED)
    sample = [k * n // count for k in range(count)]
    unknown = unknown_id(tokenizer)
    unknown_tokens = early_ends = 0
    for ids in map(tokens_of, range(n)):
        unknown_tokens += _count(ids, unknown)
        early_ends += _count(ids, tokenizer.end_id)
    return Fidelity(
        checked_documents=len(sample),
        inexact_documents=sum(
            tokenizer.decode(tokens_of(place)[:-1].tolist()) != text_of(place) for place in sample
        ),
        unknown_tokens=unknown_tokens,
        early_ends=early_ends,
    )


def unknown_id(tokenizer: Tokenizer) -> int | None:
    """The id that stands for text without a token; None where there is none."""
    data = json.loads(tokenizer.to_json())
    model = data["model"]
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    token = model.get("unk_token")
    return None if token is None else tokenizer.token_id(token)


def _count(ids: Tokens, token: int | None) -> int:
    return 0 if token is None else int(np.count_nonzero(ids[:-1] == token))


def tokenizer_problems(card: DataCard) -> tuple[Problem, ...]:
    """`inexact_tokenizer` if text does not come back or has no tokens; `early_ends` if documents
    spell the end mark."""
    total = sum(d.train_tokens + d.val_tokens + d.contaminated_tokens for d in card.domains)
    found = []
    if card.inexact_documents or card.unknown_tokens:
        share = card.unknown_tokens / total
        found.append(
            Problem(
                code="inexact_tokenizer",
                severity="warning",
                text=f"The tokenizer {card.tokenizer!r} does not give back the text of "
                f"{card.inexact_documents} of {card.checked_documents} documents; {share:.2%} of "
                "all tokens stand for text that it does not know.",
                remedy="Losses per token and bits per byte leave out what is lost: compare them "
                "with runs of this tokenizer only, or use one that is byte-level.",
            )
        )
    if card.early_ends:
        found.append(
            Problem(
                code="early_ends",
                severity="warning",
                text=f"Documents spell the end mark {card.end_token!r} {card.early_ends} times, "
                f"and the tokenizer {card.tokenizer!r} takes it for the end of a document.",
                remedy="Name another token in data.end_token, or replace the text.",
            )
        )
    return tuple(found)
