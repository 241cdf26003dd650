"""`ScoringModel`: a finished run of our own trainer by whose loss documents are judged.

Found and checked here without torch; the process that scores (`scorer`) checks it alike.
"""

import hashlib
import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path

from isoflop._errors import DataError, InputError, MissingExtraError, RunError
from isoflop.data.card import DataCard, corpus_of_run
from isoflop.data.shards import hash_file
from isoflop.runs import RunFolder
from isoflop.runs.checkpoints import latest, step_of
from isoflop.specs import DataSection, DomainSection, RunConfig
from isoflop.specs.arm import arm_section

SCORE_VERSION = 1
"""Raised when a score changes its meaning: columns of another version are not used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoringModel:
    """A run with the checkpoint of its last step and the corpus that has its tokenizer."""

    run: Path
    corpus: Path
    checkpoint: Path
    version: str
    """Hash of the run id, the content of the checkpoint, and the tokenizer."""


def find_model(section: DomainSection, *, base: Path) -> ScoringModel | None:
    """The model that a domain's quality section names; None if it names none.

    Args:
        section: the domain.
        base: what `path:` is relative to (the study file's folder).

    Raises:
        DataError: it is no run, not done, without checkpoint or without its tokenizer.
    """
    if section.quality is None or not section.quality.model:
        return None
    name = section.quality.model
    path = base / Path(name.removeprefix("path:")).expanduser()
    try:
        return open_model(path)
    except InputError as error:
        key = f"data.domains.quality.model = {name!r} of {section.name!r}"
        raise DataError(f"{key}: {error}") from error


def check_use(section: DataSection) -> None:
    """Every model that a domain names is asked by one of its rules.

    Raises:
        DataError: no rule asks for `model_bpb`.
    """
    for domain in section.domains:
        quality = domain.quality
        if quality is not None and quality.model and not quality.uses_model():
            raise DataError(
                f"data.domains.quality.model = {quality.model!r} of {domain.name!r}: no rule asks "
                "for model_bpb. Add max_model_bpb or min_model_bpb (`isoflop data --quality` shows "
                "what documents have), or leave the model out."
            )


def need_trainer(section: DataSection) -> None:
    """Torch is there if a domain names a model, here or in an arm: scoring comes late.

    Raises:
        MissingExtraError: it is not installed.
    """
    recipes = [section, *(arm_section(section, arm) for arm in section.arms)]
    named = any(one.quality and one.quality.model for data in recipes for one in data.domains)
    if named and importlib.util.find_spec("torch") is None:
        raise MissingExtraError("torch", extra="train", needed_for="data.domains.quality.model")


def open_model(path: Path) -> ScoringModel:
    """The model of a run folder `STUDY/runs/ID`, whose corpus is in `STUDY/data`.

    Raises:
        RunError: it is no run, not done, without checkpoint, or its corpus is not there.
        DataError: a file of the corpus is corrupt.
    """
    if not (path / "config.json").is_file():
        raise RunError(
            f"{path} is no run folder. Name one of a finished study: path:STUDY/runs/ID."
        )
    folder = RunFolder(path)
    config, status = folder.config(), folder.status()
    if status.state != "done":
        raise RunError(
            f"{path}: the run is {status.state}, not done. Train it to its end with `isoflop run`, "
            "or name another."
        )
    checkpoint = latest(folder.checkpoints, up_to=status.step)
    if checkpoint is None or step_of(checkpoint) != status.step:
        raise RunError(
            f"{folder.checkpoints}: holds no checkpoint of the last step, {status.step}. Restore "
            "it, or name a run of isoflop's own trainer that has one."
        )
    corpus, card = _corpus_of(folder, config)
    identity = [
        SCORE_VERSION, folder.run_id, hash_file(checkpoint), hash_file(corpus / "tokenizer.json"),
    ]  # fmt: skip
    if identity[-1] != card.tokenizer_sha256:
        raise RunError(
            f"{corpus / 'tokenizer.json'}: is not the tokenizer that the run was trained with. "
            "Restore it."
        )
    return ScoringModel(
        run=path,
        corpus=corpus,
        checkpoint=checkpoint,
        version=hashlib.sha256(json.dumps(identity).encode()).hexdigest(),
    )


def _corpus_of(folder: RunFolder, config: RunConfig) -> tuple[Path, DataCard]:
    """The corpus of a run's study, or of one of its arms, that it was trained on."""
    found = corpus_of_run(folder.path, config.data.corpus_hash)
    if found is None:
        data = folder.path.resolve().parent.parent / "data"
        raise RunError(
            f"{data}: is not the corpus that run {folder.run_id} was trained on, so its tokenizer "
            "is not here. Name a run in a study as it was trained: STUDY/runs/ID beside "
            "STUDY/data."
        )
    place, card = found
    if card.vocab_size != config.shape.vocab_size:
        raise RunError(
            f"{folder.path}: the model has {config.shape.vocab_size} ids and the tokenizer in "
            f"{place} {card.vocab_size}. Name a run that was trained on this corpus."
        )
    return found
