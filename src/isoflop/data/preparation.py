"""The stages of a preparation, in order; each one's files are found again after a kill."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop.data.dedup import find_duplicates, load_duplicates
from isoflop.data.packing import Packing, Pool
from isoflop.data.quality_filter import Dropped, filter_documents
from isoflop.data.shards import dtype_of
from isoflop.data.sources import Documents, Source, open_documents, write_documents
from isoflop.data.split import choose_validation
from isoflop.data.stages import Workshop, hash_asked
from isoflop.data.store import pool_stores
from isoflop.data.token_store import TokenStore, write_tokens
from isoflop.data.tokenizer import Tokenizer, load_tokenizer, train_tokenizer
from isoflop.specs import DataSection

Progress = Callable[[str, float], None]
_OF_TOKENS = ("vocab_size", "tokenizer", "end_token")
_AFTER_TOKENS = ("validation_tokens", "decontaminate")
"""Keys of a recipe that decide nothing before the split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is prepared, and where."""

    section: DataSection
    sources: Sequence[Source]
    recipe: Mapping[str, Any]
    """All that decides the tokens but the seed."""
    folder: Path
    """Where the corpus goes."""
    columns: Path
    """The corpus folder that keeps what was measured of the documents' quality."""
    shop: Workshop
    progress: Progress

    def recipe_without(self, *later: str) -> dict[str, Any]:
        """The recipe without the keys that only a later stage heeds."""
        return {key: value for key, value in self.recipe.items() if key not in later}


def read_domains(task: Task) -> list[Documents]:
    """The documents of every domain, each a stage of its own.

    Raises:
        DataError: a source is at fault; names it.
    """
    found = []
    for number, source in enumerate(task.sources):
        section = source.section
        task.progress(f"reading {section.name}", 0.02 + 0.18 * number / len(task.sources))
        recipe = {k: v for k, v in task.recipe["domains"][number].items() if k != "quality"}
        asked = [recipe, section.max_document_mb, task.section.min_chars]

        def make(folder: Path, source: Source = source) -> None:
            write_documents(source, folder, min_chars=task.section.min_chars)

        found.append(open_documents(source, task.shop.stage(f"read-{section.name}", asked, make)))
    task.shop.lap("reading", sum(int(one.documents.n_bytes.sum()) for one in found))
    return found


def filter_domains(
    task: Task, domains: Sequence[Documents]
) -> tuple[list[Documents], list[Dropped | None]]:
    """What passes each domain's filters, and what does not; columns measured before are kept.

    Raises:
        DataError: no document of a domain passes.
    """
    passed, dropped = [], []
    for number, domain in enumerate(domains):
        label = f"measuring the quality of {domain.source.section.name}"

        def tell(share: float, label: str = label, number: int = number) -> None:
            task.progress(label, 0.2 + 0.05 * (number + share) / len(domains))

        good, gone = filter_documents(domain, task.columns, progress=tell)
        passed.append(good)
        dropped.append(gone)
    filtered = [domain for domain, gone in zip(domains, dropped, strict=True) if gone is not None]
    if filtered:
        task.shop.lap("quality", sum(int(one.documents.n_bytes.sum()) for one in filtered))
    return passed, dropped


def pool_domains(
    task: Task, domains: Sequence[Documents], *, first: NDArray[np.bool_] | None = None
) -> Pool:
    """Remove duplicates over all domains at once: a twin in another domain would leak as well.

    Args:
        task: what is prepared.
        domains: the documents; of two duplicates the one of the earlier domain stays.
        first: mask of documents that stay before those of any domain.
    """
    documents = pool_stores([domain.documents for domain in domains])
    home = np.repeat(np.arange(len(domains)), [len(domain.documents) for domain in domains])
    task.progress(f"removing duplicates among {len(documents)} documents", 0.25)

    def make(folder: Path) -> None:
        find_duplicates(
            documents.texts,
            documents.digests,
            rank=(home if first is None else np.where(first, -1, home)).tolist(),
            threshold=task.section.jaccard,
            engine=task.section.engine,
        ).save(folder / "duplicates.npz")

    asked = task.recipe_without(*_AFTER_TOKENS, *_OF_TOKENS, "duplicates")
    folder = task.shop.stage("duplicates", asked, make)
    duplicates = load_duplicates(folder / "duplicates.npz").removing(task.section.duplicates)
    task.shop.lap("duplicates", int(documents.n_bytes.sum()))
    kept = np.array(duplicates.kept, dtype=np.int64)
    return Pool(documents=documents, domain=home, duplicates=duplicates, kept=kept)


def learn_tokenizer(task: Task, pool: Pool) -> Tokenizer:
    """The tokenizer of the documents that stay.

    Raises:
        DataError: too little text for the vocabulary.
    """
    task.progress("training the tokenizer", 0.4)
    numbers = range(len(task.sources))

    def make(folder: Path) -> None:
        texts = [pool.documents.take(pool.kept_of(number)) for number in numbers]
        made = train_tokenizer(texts, task.section.n_ids)
        (folder / "tokenizer.json").write_text(made.to_json(), encoding="utf-8", newline="\n")

    folder = task.shop.stage("tokenizer", task.recipe_without(*_AFTER_TOKENS), make)
    tokenizer = load_tokenizer(folder)
    task.shop.lap("tokenizer", 0)
    return tokenizer


def encode_pool(task: Task, pool: Pool, tokenizer: Tokenizer) -> TokenStore:
    """Tokens of every kept document."""
    documents = pool.documents.take(pool.kept)
    first = True

    def tell(done: int) -> None:
        nonlocal first
        task.shop.note(found=done > 0 and first)
        first = False
        task.progress("tokenising", 0.5 + 0.45 * done / len(documents))

    key = hash_asked("tokens", [task.recipe_without(*_AFTER_TOKENS), tokenizer.to_json()])
    folder = task.shop.folder / "tokens"
    tokens = write_tokens(
        folder, key, documents, tokenizer.encode_documents,
        dtype=dtype_of(tokenizer.vocab_size), tell=tell, at_once=tokenizer.chars_at_once,
    )  # fmt: skip
    task.shop.lap("tokens", int(documents.n_bytes.sum()))
    return tokens


def split_pool(task: Task, pool: Pool, tokens: TokenStore, seed: int) -> Packing:
    """Which documents are held out.

    Raises:
        DataError: a domain cannot hold out as many tokens as asked for.
    """
    chosen = choose_validation(
        tokens.lengths,
        pool.domain[pool.kept],
        pool.cluster_names(),
        names=[source.section.name for source in task.sources],
        validation_tokens=task.section.validation_tokens,
        seed=seed,
    )
    task.shop.lap("split", 0)
    return Packing(
        pool=pool, tokens=tokens, held_out=frozenset(pool.kept[chosen].tolist()), seed=seed
    )
