"""Arms: other recipes for the documents of a prepared corpus, with the same held-out text.

An arm whose documents differ is a whole corpus folder of its own, with the tokenizer and the
validation shards of the corpus it belongs to; one that only mixes differently trains on that
corpus itself.
"""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isoflop._errors import DataError
from isoflop.data.card import DataCard, read_card
from isoflop.data.corpus import (
    exclusive,
    finish,
    finished,
    hash_recipe,
    recipe_of,
    refuse_own_runs,
)
from isoflop.data.foreign import find_foreign
from isoflop.data.leaks import resolve_benchmarks
from isoflop.data.packing import HELD_OUT, Packing, Pool
from isoflop.data.preparation import (
    Progress,
    Task,
    encode_pool,
    filter_domains,
    pool_domains,
    read_domains,
)
from isoflop.data.quality_filter import Dropped
from isoflop.data.scoring_model import check_use, need_trainer
from isoflop.data.sources import Documents, resolve_source
from isoflop.data.stages import Workshop
from isoflop.data.tokenizer import Tokenizer, load_tokenizer
from isoflop.specs import DataSection

ARM_VERSION = 1
"""Raised when the same recipe finds other documents."""


def arm_folder(corpus: str | Path, name: str, section: DataSection, arm: DataSection) -> Path:
    """Where the tokens of an arm lie: the corpus itself, unless the arm has other documents."""
    same = _documents_of(arm) == _documents_of(section)
    return Path(corpus) if same else Path(corpus) / "arms" / name


def _documents_of(section: DataSection) -> DataSection:
    """The recipe without what only says how its documents are mixed."""
    domains = (replace(one, weight=1.0, unique_tokens=None) for one in section.domains)
    return replace(
        section, domains=tuple(domains), repeat=False, temperature=None, arms=(), propose=None
    )


def prepare_arm(
    section: DataSection,
    corpus: str | Path,
    folder: str | Path,
    *,
    base: Path,
    seed: int,
    progress: Progress,
) -> DataCard:
    """Filter, remove duplicates and pack the documents of a corpus by another recipe; its card.

    Held out is what the corpus holds out, whatever the arm's filters say; no document that shares
    a duplicate cluster with held-out text goes into train, even where duplicates are kept.

    Args:
        section: the recipe of the arm.
        corpus: the folder of the prepared corpus.
        folder: where the arm goes.
        base: what `path:` sources are relative to (the study file's folder).
        seed: seed of the documents' order, that of the corpus.
        progress: told the stage in words and the share done, 0 to 1.

    Raises:
        DataError: a source or a file is at fault, or the corpus is of other documents; names it.
        MissingExtraError: the extra `data` is not installed.
    """
    corpus, folder = Path(corpus), Path(folder)
    check_use(section)
    sources = [
        resolve_source(domain, base=base, cache=corpus / "cache") for domain in section.domains
    ]
    benchmarks = resolve_benchmarks(section.decontaminate, base=base)
    foreign = find_foreign(section, base=base)
    own = hash_recipe(section, sources, seed, benchmarks, foreign)
    text = f"{ARM_VERSION} {read_card(corpus).corpus_hash} {own}"
    recipe_hash = hashlib.sha256(text.encode()).hexdigest()
    card = finished(folder, recipe_hash, section)
    if card is not None:
        progress("the arm is prepared", 1.0)
        return card
    need_trainer(section)
    refuse_own_runs(sources, folder)
    tokenizer = load_tokenizer(corpus, engine=section.engine)
    recipe = {**recipe_of(section, sources, benchmarks, foreign), "arm": recipe_hash}
    with exclusive(folder):
        task = Task(
            section=section,
            sources=sources,
            recipe=recipe,
            folder=folder,
            columns=corpus,
            shop=Workshop(folder),
            progress=progress,
        )
        everything = read_domains(task)
        passed, dropped = filter_domains(task, everything)
        held_out = _held_out(corpus, everything)
        domains, dropped, held = _with_held_out(everything, passed, dropped, held_out)
        packing = _pack(task, domains, held, tokenizer, seed)
        card = finish(task, packing, benchmarks, recipe_hash, domains, tokenizer, dropped)
    _check_validation(card, read_card(corpus), folder)
    progress("the arm is prepared", 1.0)
    return card


def _held_out(corpus: Path, domains: Sequence[Documents]) -> list[frozenset[int]]:
    """Of each domain, the numbers of its held-out documents."""
    path = corpus / HELD_OUT
    try:
        rows = [line.split(" ") for line in path.read_text(encoding="utf-8").splitlines()]
        wanted = Counter((name, bytes.fromhex(digest)) for name, digest in rows)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path}: not the list of held-out documents ({error}). Delete {corpus / 'card.json'} "
            "and prepare the corpus again with `isoflop data`."
        ) from error
    found = []
    for domain in domains:
        mine = set()
        for i, digest in enumerate(domain.documents.digests):
            key = (domain.source.section.name, digest)
            if wanted[key] > 0:
                wanted[key] -= 1
                mine.add(i)
        found.append(frozenset(mine))
    if missing := +wanted:
        raise DataError(
            f"{path}: {missing.total()} held-out documents are no longer among the sources. "
            "Restore the sources, or prepare the corpus again with `isoflop data`."
        )
    return found


def _with_held_out(
    everything: Sequence[Documents],
    passed: Sequence[Documents],
    dropped: Sequence[Dropped | None],
    held_out: Sequence[frozenset[int]],
) -> tuple[list[Documents], list[Dropped | None], NDArray[np.bool_]]:
    """The documents that pass the filters or are held out, and which of them are the latter."""
    domains, filtered, held = [], [], []
    for whole, some, gone, mine in zip(everything, passed, dropped, held_out, strict=True):
        stays = set(some.documents.digests)
        # Filters judge by content, so all copies of a text pass or none.
        numbers = np.array(
            [i for i, d in enumerate(whole.documents.digests) if i in mine or d in stays],
            dtype=np.int64,
        )
        documents = whole.documents.take(numbers)
        domains.append(replace(some, documents=documents))
        held.append(np.isin(numbers, np.array(sorted(mine), dtype=np.int64)))
        filtered.append(_without(gone, set(documents.digests)))
    return domains, filtered, np.concatenate(held)


def _without(dropped: Dropped | None, digests: set[bytes]) -> Dropped | None:
    """What was dropped, less held-out documents: they are in the corpus all the same."""
    if dropped is None:
        return None
    stay = np.array([digest not in digests for digest in dropped.documents.digests], dtype=np.bool_)
    return replace(
        dropped,
        documents=dropped.documents.take(stay),
        reasons=tuple(r for r, stays in zip(dropped.reasons, stay, strict=True) if stays),
    )


def _pack(
    task: Task,
    domains: Sequence[Documents],
    marks: NDArray[np.bool_],
    tokenizer: Tokenizer,
    seed: int,
) -> Packing:
    """What stays of an arm: its duplicates gone, nothing in train that is like held-out text."""
    pool = pool_domains(task, domains, first=marks)
    mine = frozenset(np.flatnonzero(marks).tolist())
    duplicates = replace(
        pool.duplicates,
        exact=tuple(i for i in pool.duplicates.exact if i not in mine),
        near=tuple((i, kept) for i, kept in pool.duplicates.near if i not in mine),
    )
    component = duplicates.component
    close = np.isin(component, component[marks])
    kept = np.array(duplicates.kept, dtype=np.int64)
    pool = replace(pool, duplicates=duplicates, kept=kept)
    withheld = frozenset(kept[close[kept] & ~marks[kept]].tolist())
    _refuse_empty(domains, pool, withheld | mine)
    tokens = encode_pool(task, pool, tokenizer)
    return Packing(pool=pool, tokens=tokens, held_out=mine, withheld=withheld, seed=seed)


def _refuse_empty(domains: Sequence[Documents], pool: Pool, outside: frozenset[int]) -> None:
    for number, domain in enumerate(domains):
        if not set(pool.kept_of(number).tolist()) - outside:
            raise DataError(
                f"data.domains {domain.source.section.name!r}: all that passes the arm's filters "
                "is held out or is like held-out text. Loosen the filters of the arm."
            )


def _check_validation(card: DataCard, corpus: DataCard, folder: Path) -> None:
    """Arms are only comparable on the same held-out tokens."""
    for own, common in zip(card.domains, corpus.domains, strict=True):
        if own.val_sha256 != common.val_sha256:
            raise DataError(
                f"{folder}: the validation tokens of {own.name!r} are not those of the corpus. "
                "Delete the folder and the corpus's card.json, and prepare both again."
            )
