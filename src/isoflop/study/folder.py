"""`StudyFolder`: where a study lives, and its strictly read configuration."""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from isoflop._errors import DataError, InputError, StudyError
from isoflop.accounting import ACCELERATORS, Accelerator, find_accelerator, read_hardware
from isoflop.data import find_recipe
from isoflop.data.foreign import settle_vocabulary
from isoflop.ladders import design_ladder
from isoflop.ladders.design import CorpusFacts, one_cell
from isoflop.laws import CLOSED_FORM
from isoflop.runs.folder import read_json, write_json_atomically
from isoflop.specs import (
    FitSection,
    LaunchSection,
    PlanSection,
    StudyConfig,
    read_study,
    study_place,
)

_STUDY, _SOURCE, _OVERRIDES = "study.toml", ".source", "overrides.json"
_VERSION = 1
_STARTS_WITH_A_KEY = re.compile(
    r"(data|model|train|ladder|tune|holdout|fit|plan|launch|eval|trainer)(\.|:| =)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFolder:
    """One study: `study.toml`, `data/`, `runs/<id>/`, `fits/`, `plans/`, `report.html`."""

    path: Path
    config: StudyConfig
    base: Path
    """Folder against which the study file's relative paths are read."""
    file: Path
    """The study file that was read: in this folder, or one that `keep` copies here."""
    overrides: tuple[str, ...] = ()
    """`a.b=value` on top of the file, as given to --set."""

    @property
    def data(self) -> Path:
        """The corpus: shards, tokeniser, data card."""
        return self.path / "data"

    @property
    def runs(self) -> Path:
        """One folder a run."""
        return self.path / "runs"

    @property
    def fits(self) -> Path:
        """Analyses and forecasts."""
        return self.path / "fits"

    @property
    def law_card(self) -> Path:
        """The law card as JSON; as Markdown beside it."""
        return self.fits / "law-card.json"

    @property
    def plans(self) -> Path:
        """Plans."""
        return self.path / "plans"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"

    def accelerator(self, name: str) -> Accelerator:
        """The accelerator called `name`, of `plan.hardware_file` where the study names one.

        Raises:
            StudyError: the file cannot be used, or none is called so.
        """
        try:
            return find_accelerator(name, self.accelerators())
        except InputError as error:
            raise StudyError(f"plan.hardware: {error}") from error

    def accelerators(self) -> tuple[Accelerator, ...]:
        """All that are known, those of `plan.hardware_file` among them.

        Raises:
            StudyError: the file cannot be used.
        """
        file = self.config.plan.hardware_file
        try:
            return ACCELERATORS if file is None else tuple(read_hardware(self.base / file))
        except InputError as error:
            raise StudyError(f"plan.hardware_file: {error}") from error

    def keep(self) -> None:
        """Make the folder complete: the study file, where it came from, its overrides.

        Raises:
            StudyError: the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if _read_overrides(self.path) != list(self.overrides):
                kept = {"version": _VERSION, "set": list(self.overrides)}
                write_json_atomically(self.path / _OVERRIDES, kept)
            copy = self.path / _STUDY
            if copy.resolve() == self.file.resolve():
                return
            # Relative paths in the study mean the folder of the file it came from; where that
            # lies from here, so that both may move together.
            origin = os.path.relpath(self.file.parent.resolve(), self.path.resolve())
            _write_atomically(self.path / _SOURCE, f"{origin}\n".encode())
            if not copy.exists():
                _write_atomically(copy, self.file.read_bytes())
        except OSError as error:
            raise StudyError(
                f"{self.path}: the study folder cannot be written ({error.strerror}). "
                "Name another folder with --into."
            ) from error

    @contextmanager
    def named_in_errors(self) -> Iterator[None]:
        """Errors that speak of a key of the study begin with its file."""
        try:
            yield
        except (StudyError, DataError) as error:
            text = str(error)
            if text.startswith("package:"):
                text = f"data.domains.source: {text}"
            if not _STARTS_WITH_A_KEY.match(text):
                raise
            raise type(error)(f"{study_place(self.file, self.overrides)}: {text}") from error


def open_study(
    source: Path, into: Path | None = None, overrides: Sequence[str] = ()
) -> StudyFolder:
    """The study of a `study.toml`, of another study file, or of a study folder; writes nothing.

    A file that is not called study.toml lives in the folder `into`, by default a sibling folder
    named by its stem; `StudyFolder.keep` copies it there. Overrides that were kept in the folder
    hold again when none are given.

    Raises:
        StudyError: nothing there; the file is not a valid study, or another than the one in the
            folder; or other overrides than those of the runs in the folder.
    """
    source = Path(source)
    file = source / _STUDY if source.is_dir() else source
    if into is None:
        into = file.parent if file.name == _STUDY else file.parent / file.stem
    into = Path(into)
    if into.exists() and not into.is_dir():
        raise StudyError(f"{into}: is a file, no study folder. Name another folder with --into.")
    overrides = _settled_overrides(file, into, overrides)
    config = read_study(file, overrides=overrides)
    _refuse_another_study(file, into)
    study = StudyFolder(
        path=into, config=config, base=_base(file, into), file=file, overrides=tuple(overrides)
    )
    with study.named_in_errors():
        data = settle_vocabulary(config.data, base=study.base, folder=study.data)
        study = replace(study, config=replace(config, data=data))
        _check(study.config)
        if study.config.plan.hardware == "any":
            study.accelerators()
        else:
            study.accelerator(study.config.plan.hardware)
    return study


def _settled_overrides(file: Path, into: Path, given: Sequence[str]) -> Sequence[str]:
    """The overrides given, or else those kept; runs accept none that make other trainings."""
    kept = _read_overrides(into)
    if not given or not _has_runs(into):
        return given or kept
    # On top of those kept: `--set launch.slots=1` on a resumed study changes nothing else.
    merged = list({text.partition("=")[0].strip(): text for text in (*kept, *given)}.values())
    asked, trained = (_trainings(read_study(file, overrides=one)) for one in (merged, kept))
    if asked != trained:
        raise StudyError(
            f"{_as_options(given)}: the runs in {into} were trained with {_as_options(kept)}. "
            "Name another folder with --into, or leave --set out to go on with them."
        )
    return merged


def _trainings(config: StudyConfig) -> StudyConfig:
    """The study without what may change from one start to the next."""
    data = replace(config.data, arms=(), propose=None)
    return replace(config, data=data, fit=FitSection(), plan=PlanSection(), launch=LaunchSection())


def _as_options(overrides: Sequence[str]) -> str:
    return " ".join(f"--set {override}" for override in overrides) or "no --set"


def _read_overrides(folder: Path) -> list[str]:
    path = folder / _OVERRIDES
    if not path.exists():
        return []
    remedy = "Restore it, or delete it and give the --set options again."
    data = read_json(path, remedy=remedy)
    texts = data.get("set") if isinstance(data, dict) and data.get("version") == _VERSION else None
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise StudyError(f"{path}: not the overrides of a study. {remedy}")
    return texts


def _has_runs(folder: Path) -> bool:
    return any((folder / "runs").glob("*/config.json"))


def _refuse_another_study(file: Path, into: Path) -> None:
    """A study file in the folder is never written over."""
    copy = into / _STUDY
    if not copy.exists() or copy.resolve() == file.resolve():
        return
    if copy.read_bytes() != file.read_bytes():
        delete = "" if _has_runs(into) else f", delete {copy} to take the new one"
        raise StudyError(
            f"{copy}: another study file than {file} lies there. "
            f"Name another folder with --into{delete}, or run the study that lies there."
        )


def _check(config: StudyConfig) -> None:
    """What a study file cannot know by itself: recipes, laws, a possible ladder."""
    for domain in config.data.domains:
        kind, _, name = domain.source.partition(":")
        if kind == "package":
            find_recipe(name)
    if config.fit.law not in ("auto", *CLOSED_FORM):
        raise StudyError(
            f"fit.law = {config.fit.law!r}: a law of n_params and n_tokens is needed. "
            f"Use auto or one of: {', '.join(CLOSED_FORM)}."
        )
    ladder = design_ladder(config, CorpusFacts.unknown(config))
    if (section := config.data.propose) is not None:
        one_cell(ladder, section.width, section.tokens, key="data.propose")


def _write_atomically(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def _base(file: Path, into: Path) -> Path:
    source = into / _SOURCE
    if file.parent.resolve() == into.resolve() and source.exists():
        origin = source.read_text(encoding="utf-8").strip()
        return Path(os.path.normpath(into / origin))  # as it is where an older one is absolute
    return file.parent
