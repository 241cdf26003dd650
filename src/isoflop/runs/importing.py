"""`read_foreign`: sources -> trainings in our words; `import_runs`: into a study's folder."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from isoflop._errors import RunError
from isoflop.runs.imported import SOURCE, ImportedFolder, ImportedRun
from isoflop.runs.joined import attach_evaluations, merge_twins
from isoflop.runs.segment import Segment, segment_of
from isoflop.runs.sources import BadSource, Source, find_sources, on_server, read_source
from isoflop.runs.stitch import lineages
from isoflop.runs.understand import Missing, understand
from isoflop.runs.vocabulary import Asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What sources hold: trainings, those that lack something, sources that cannot be read."""

    sources: tuple[Source, ...]
    runs: tuple[ImportedRun, ...]
    missing: tuple[Missing, ...]
    bad: tuple[BadSource, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """One run of the store after an import."""

    run: ImportedRun
    is_new: bool
    n_new: int
    """Points that were not there before."""


def read_foreign(
    sources: Iterable[str | Path], asked: Asked | None = None, *, home: Path = Path()
) -> Reading:
    """Every training at or below `sources`, attempts stitched, in our words and units.

    Args:
        sources: files and folders of any kind that a reader knows; `wandb:ENTITY/PROJECT`,
            `mlflow:ADDRESS` for runs of a server.
        asked: what the user says of names, sizes and units.
        home: the study's folder: ids that are paths are relative to it.

    Raises:
        RunError: a source is not there, or nothing in it is known.
    """
    asked = asked or Asked()
    found = [one for source in sources for one in _found(source, asked)]
    bad: list[BadSource] = []
    segments = list(_segments(found, asked, home, bad))
    runs: list[ImportedRun] = []
    missing: list[Missing] = []
    for line in merge_twins(attach_evaluations(lineages(segments))):
        one = understand(line, asked)
        if isinstance(one, ImportedRun):
            runs.append(one)
        else:
            missing.append(one)
    return Reading(sources=tuple(found), runs=tuple(runs), missing=tuple(missing), bad=tuple(bad))


def import_runs(reading: Reading, into: Path) -> list[Taken]:
    """Bring the runs of a reading into `into`/runs; again, and only what is new is added.

    Raises:
        RunError: the folder has trainings of isoflop's own, or cannot be written.
    """
    folder = into / "runs"
    _refuse_own(folder)
    return [_take(run, folder) for run in reading.runs]


def imported_folders(root: Path) -> list[ImportedFolder]:
    """The folders of imported runs at or below `root`: a run's, a `runs` or a study folder."""
    if (root / SOURCE).is_file():
        return [ImportedFolder(root)]
    base = root / "runs" if (root / "runs").is_dir() else root
    if not base.is_dir():
        return []
    return [ImportedFolder(path) for path in sorted(base.iterdir()) if (path / SOURCE).is_file()]


def read_imported(root: Path) -> list[ImportedRun]:
    """The imported runs at or below `root`, without those that others have taken the place of.

    Raises:
        RunError: a file is corrupt.
    """
    runs = [folder.read() for folder in imported_folders(root)]
    later = {(run.tool, one) for run in runs for one in run.segments if one != run.id}
    return [run for run in runs if (run.tool, run.id) not in later]


def _found(source: str | Path, asked: Asked) -> list[Source]:
    served = on_server(source) if isinstance(source, str) else None
    return [served] if served is not None else find_sources(Path(source), asked.columns)


def _segments(
    found: Sequence[Source], asked: Asked, home: Path, bad: list[BadSource]
) -> Iterator[Segment]:
    # Reduced at once: a tracker logs a hundred series, of which a few are kept.
    for source in found:
        for run in read_source(source, asked.columns, home=home):
            if isinstance(run, BadSource):
                bad.append(run)
            else:
                yield segment_of(run, asked)


def _take(run: ImportedRun, folder: Path) -> Taken:
    place = ImportedFolder(folder / run.run_id)
    is_new = not (place.path / SOURCE).exists()
    return Taken(run=run, is_new=is_new, n_new=place.write(run))


def _refuse_own(folder: Path) -> None:
    own = next(folder.glob("*/config.json"), None) if folder.is_dir() else None
    if own is not None:
        raise RunError(
            f"{folder.parent}: has trainings of its own ({own.parent.name}). Losses of other "
            "corpora do not mix with theirs. Name another folder with --into, and compare the two."
        )


def require_runs(reading: Reading) -> None:
    """Refuse a reading without a single run.

    Raises:
        RunError: none was understood; says what the first ones lack.
    """
    if reading.runs:
        return
    reasons = [f"{one.run}: {'; '.join(one.questions)}" for one in reading.missing]
    reasons += [one.reason for one in reading.bad]
    more = f" And {len(reasons) - 1} more, which a dry run lists." if len(reasons) > 1 else ""
    raise RunError(f"no run can be taken. {reasons[0] if reasons else 'Nothing is there.'}{more}")
