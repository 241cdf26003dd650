"""`StudyFolder`: where a study lives, and its strictly read configuration."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from isoflop._errors import StudyError
from isoflop.specs import StudyConfig, read_study


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyFolder:
    """One study: `study.toml`, `data/`, `runs/<id>/`, `fits/`, `plans/`, `report.html`."""

    path: Path
    config: StudyConfig
    base: Path
    """Folder against which the study file's relative paths are read."""

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
    def plans(self) -> Path:
        """Plans."""
        return self.path / "plans"

    @property
    def report(self) -> Path:
        """The report."""
        return self.path / "report.html"


def open_study(
    source: Path, into: Path | None = None, overrides: Sequence[str] = ()
) -> StudyFolder:
    """The study of a `study.toml`, of another study file, or of a study folder.

    A file that is not called study.toml lives in the folder `into`, by default a sibling folder
    named by its stem; the file is copied there as study.toml, so that the folder is complete.

    Raises:
        StudyError: nothing there, or the file is not a valid study.
    """
    file = source / "study.toml" if source.is_dir() else source
    config = read_study(file, overrides=overrides)
    if into is None:
        into = file.parent if file.name == "study.toml" else file.parent / file.stem
    into.mkdir(parents=True, exist_ok=True)
    copy = into / "study.toml"
    if copy.resolve() != file.resolve():
        _copy_study(file, copy)
    return StudyFolder(path=into, config=config, base=_base(file, into))


def _copy_study(file: Path, copy: Path) -> None:
    if copy.exists() and copy.read_bytes() != file.read_bytes() and (copy.parent / "runs").exists():
        raise StudyError(
            f"{copy.parent}: holds the runs of another study file. "
            "Name another folder with --into, or run the study that lies there."
        )
    shutil.copyfile(file, copy)
    # Relative paths in the study mean the folder of the file it came from.
    (copy.parent / ".source").write_text(str(file.parent.resolve()) + "\n", encoding="utf-8")


def _base(file: Path, into: Path) -> Path:
    source = into / ".source"
    if file.parent.resolve() == into.resolve() and source.exists():
        return Path(source.read_text(encoding="utf-8").strip())
    return file.parent
