"""`prepare_corpus`: from a study's data section to token shards and a data card."""

import errno
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from isoflop._errors import DataError
from isoflop._lock import hold
from isoflop.data.card import CARD_VERSION, DataCard, check_corpus, read_card
from isoflop.data.foreign import Foreign, find_foreign
from isoflop.data.leaks import (
    LEAKS_VERSION,
    RECORD,
    Benchmark,
    find_leaks,
    resolve_benchmarks,
)
from isoflop.data.packing import HELD_OUT, Packing, write_card, write_corpus
from isoflop.data.preparation import (
    Progress,
    Task,
    encode_pool,
    filter_domains,
    learn_tokenizer,
    pool_domains,
    read_domains,
    split_pool,
)
from isoflop.data.quality import QUALITY_VERSION
from isoflop.data.quality_filter import DROPPED, Dropped, QualityTable, quality_table
from isoflop.data.scoring_model import check_use, need_trainer
from isoflop.data.shards import shard_path
from isoflop.data.sources import Documents, Source, read_documents, resolve_source
from isoflop.data.stages import Workshop, peak_megabytes
from isoflop.data.tokenizer import Tokenizer
from isoflop.specs import DataSection, DecontaminateSection, DomainSection

_LATER_KEYS = ("decontaminate", "duplicates", "tokenizer", "end_token")
_LATER_DOMAIN_KEYS = ("formats", "languages", "text_column", "split", "subset")


def prepare_corpus(
    section: DataSection, folder: str | Path, *, base: Path, seed: int, progress: Progress
) -> DataCard:
    """Read, remove duplicates, split, tokenise and pack a corpus into `folder`; its card.

    A corpus already made from the same recipe is checked and returned at once; a missing file is
    made again. The same input gives the same files to the bit, on any number of threads.

    Args:
        section: what to prepare.
        folder: where card.json, tokenizer.json, train/ and val/ go.
        base: what `path:` sources are relative to (the study file's folder).
        seed: seed of the split and of the documents' order.
        progress: told the stage in words and the share done, 0 to 1.

    Raises:
        DataError: a source, the split or an existing file is at fault; names it.
        MissingExtraError: the extra `data` is not installed.
    """
    folder = Path(folder)
    check_use(section)
    progress("looking for the sources", 0.0)
    sources = [
        resolve_source(domain, base=base, cache=folder / "cache") for domain in section.domains
    ]
    benchmarks = resolve_benchmarks(section.decontaminate, base=base)
    foreign = find_foreign(section, base=base)
    recipe_hash = hash_recipe(section, sources, seed, benchmarks, foreign)
    card = finished(folder, recipe_hash, section)
    if card is not None:
        progress("the corpus is prepared", 1.0)
        return card
    need_trainer(section)
    refuse_own_runs(sources, folder)
    with exclusive(folder):
        task = Task(
            section=section,
            sources=sources,
            recipe=recipe_of(section, sources, benchmarks, foreign),
            folder=folder,
            columns=folder,
            shop=Workshop(folder),
            progress=progress,
        )
        domains, dropped = filter_domains(task, read_domains(task))
        pool = pool_domains(task, domains)
        tokenizer = learn_tokenizer(task, pool) if foreign is None else foreign.load()
        packing = split_pool(task, pool, encode_pool(task, pool, tokenizer), seed)
        card = finish(task, packing, benchmarks, recipe_hash, domains, tokenizer, dropped)
    progress(f"the corpus is prepared (peak memory {peak_megabytes():.0f} MB)", 1.0)
    return card


def refuse_own_runs(sources: Sequence[Source], folder: Path) -> None:
    """No model may need the tokenizer of the corpus that its filters are about to replace."""
    for source in sources:
        if source.model is not None and source.model.corpus.is_relative_to(folder.resolve()):
            raise DataError(
                f"data.domains.quality.model of {source.section.name!r}: {source.model.run} was "
                f"trained on the corpus in {folder}, which would be prepared anew. Name a run of "
                "another study, or filter an arm of this one."
            )


def finish(
    task: Task,
    packing: Packing,
    benchmarks: Sequence[Benchmark],
    recipe_hash: str,
    domains: Sequence[Documents],
    tokenizer: Tokenizer,
    dropped: Sequence[Dropped | None],
) -> DataCard:
    """Decontaminate where asked, write shards and card, and clear the stages away."""
    section, pool = task.section, packing.pool
    n_bytes = int(pool.documents.n_bytes[pool.kept].sum())
    if section.decontaminate is not None:
        task.progress("comparing train with held-out text and benchmarks", 0.95)
        packing = decontaminate(packing, section, section.decontaminate, benchmarks)
        task.shop.lap("decontamination", n_bytes)
    task.progress("writing shards", 0.96)
    card = write_corpus(task.folder, recipe_hash, domains, packing, tokenizer, dropped)
    task.shop.lap("shards", n_bytes)
    task.shop.close()
    return card


def survey_quality(
    section: DataSection, folder: str | Path, *, base: Path, progress: Progress
) -> tuple[QualityTable, ...]:
    """The quality of every domain's documents before any filter: percentiles to choose rules by.

    Measured columns are kept in the folder for `prepare_corpus`; nothing else is written.

    Args:
        section: what would be prepared.
        folder: the corpus folder.
        base: what `path:` sources are relative to.
        progress: told the stage in words and the share done, 0 to 1.

    Raises:
        DataError: a source is at fault; names it.
        MissingExtraError: the extra `data` is not installed.
    """
    folder, n, found = Path(folder), len(section.domains), []
    need_trainer(replace(section, arms=(), propose=None))
    work = folder / "work"
    work.mkdir(parents=True, exist_ok=True)
    sources = [
        resolve_source(domain, base=base, cache=folder / "cache") for domain in section.domains
    ]
    for number, source in enumerate(sources):
        progress(f"reading {source.section.name}", number / n)
        documents = read_documents(source, min_chars=section.min_chars, folder=work)

        def tell(label: str, share: float, number: int = number) -> None:
            progress(label, (number + share) / n)

        found.append(quality_table(documents, folder, progress=tell))
    progress("quality is measured", 1.0)
    return tuple(found)


@contextmanager
def exclusive(folder: Path) -> Iterator[None]:
    """Hold `work/lock` of a corpus folder: two preparations at once would mix their files.

    Raises:
        DataError: another process holds it, the folder cannot be written, or its disk is full.
    """
    with hold(
        folder / "work" / "lock",
        error=DataError,
        busy=f"{folder}: another isoflop (process {{holder}}) is preparing this corpus. "
        "Wait until it ends, or stop it.",
        denied=f"{folder}: cannot be written ({{reason}}). Name another folder with --into.",
    ):
        try:
            yield
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise DataError(
                f"{folder}: its disk is full ({error.strerror}). Free some room (a preparation "
                "needs that of all text and its tokens) and run the command again: it goes on "
                "from the last finished stage."
            ) from error


def decontaminate(
    packing: Packing,
    section: DataSection,
    asked: DecontaminateSection,
    benchmarks: Sequence[Benchmark],
) -> Packing:
    """The packing with the train documents that hold protected text; validation stays as it is."""
    names = [domain.name for domain in section.domains]
    leaks = find_leaks(
        packing.pool.documents,
        {name: packing.members(number, "train") for number, name in enumerate(names)},
        {name: packing.members(number, "val") for number, name in enumerate(names)},
        benchmarks,
        asked,
    )
    return replace(packing, leaks=leaks)


def hash_recipe(
    section: DataSection,
    sources: Sequence[Source],
    seed: int,
    benchmarks: Sequence[Benchmark] = (),
    foreign: Foreign | None = None,
) -> str:
    """Hash of everything that decides the tokens."""
    asked = [CARD_VERSION, seed, recipe_of(section, sources, benchmarks, foreign)]
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def recipe_of(
    section: DataSection,
    sources: Sequence[Source],
    benchmarks: Sequence[Benchmark],
    foreign: Foreign | None,
) -> dict[str, Any]:
    """What decides the tokens but the seed; how they are mixed belongs to the trainings."""
    asked = asdict(section)
    del asked["repeat"], asked["temperature"]
    del asked["arms"], asked["propose"]  # they have hashes of their own
    del asked["engine"]  # any engine finds the same duplicates
    _leave_out_defaults(DataSection, asked, _LATER_KEYS)
    asked["vocab_size"] = section.n_ids if foreign is None else None
    if foreign is not None:
        asked["tokenizer"] = foreign.version
    if "decontaminate" in asked:  # raised when other documents go
        asked["decontaminate"]["version"] = LEAKS_VERSION
    if benchmarks:  # like the sources: by content, wherever they lie
        asked["decontaminate"]["benchmarks"] = [one.version for one in benchmarks]
    for domain, source in zip(asked["domains"], sources, strict=True):
        del domain["weight"], domain["unique_tokens"], domain["max_document_mb"]
        _leave_out_defaults(DomainSection, domain, _LATER_DOMAIN_KEYS)
        _add_quality(domain, source)
        domain["version"] = source.version
        if domain["source"].startswith("path:"):
            domain["source"] = "path:"  # the files' hash names them, wherever they lie
    return asked


def _leave_out_defaults(record: type, asked: dict[str, Any], keys: Sequence[str]) -> None:
    """Keys added since the first release count only where they differ from their default."""
    defaults = {one.name: one.default for one in fields(record)}
    for key in keys:
        if asked[key] == defaults[key]:
            del asked[key]


def _add_quality(asked: dict[str, Any], source: Source) -> None:
    """Rules as they apply: spelling a published threshold out is the same recipe."""
    del asked["quality"]
    section = source.section.quality
    if section is not None and not section.is_empty():
        asked["quality"] = {
            "version": QUALITY_VERSION,
            "limits": section.limits(),
            "languages": sorted(section.languages),
            "where": [asdict(condition) for condition in section.conditions()],
        }
        if section.uses_model():
            assert source.model is not None
            asked["quality"]["model"] = source.model.version


def _clear_stages(folder: Path) -> None:
    """Remove what a preparation that was killed behind its card has left."""
    if (folder / "work" / "stages").exists():
        with exclusive(folder):
            Workshop(folder).clear()


def finished(folder: Path, recipe_hash: str, section: DataSection) -> DataCard | None:
    """The card of a corpus that needs no work, with this section's weights; None otherwise."""
    if not (folder / "card.json").is_file():
        return None
    card = read_card(folder)
    files = [folder / "tokenizer.json"]
    for domain in card.domains:
        files += [shard_path(folder, "train", domain.name), shard_path(folder, "val", domain.name)]
    if section.decontaminate is not None:
        files.append(folder / RECORD)
    if any(one.quality is not None and not one.quality.is_empty() for one in section.domains):
        files.append(folder / DROPPED)
    if section.arms:
        files.append(folder / HELD_OUT)
    if card.recipe_hash != recipe_hash or not all(path.is_file() for path in files):
        return None
    check_corpus(folder)
    _clear_stages(folder)
    weighted = tuple(
        replace(domain, weight=asked.weight)
        for domain, asked in zip(card.domains, section.domains, strict=True)
    )
    if weighted != card.domains:
        card = replace(card, domains=weighted)
        write_card(folder, card)
    return card
