"""Reading runs from anywhere into one table: study folders, run folders, CSV files."""

import csv
import io
import json
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isoflop._errors import RunError
from isoflop._types import Array, is_share
from isoflop.accounting import count_params, train_flops
from isoflop.accounting.flops import FLOPS_CONVENTIONS
from isoflop.accounting.params import PARAM_CONVENTIONS
from isoflop.laws import LrPath
from isoflop.runs.folder import RunFolder
from isoflop.runs.imported import ImportedRun
from isoflop.runs.importing import imported_folders, read_foreign, read_imported, require_runs
from isoflop.runs.records import Point
from isoflop.runs.rows import imported_curves, imported_rows, like_columns
from isoflop.runs.sources import find_sources, on_server
from isoflop.runs.tables import OTHER_TABLES, is_plain_table, table_rows
from isoflop.runs.vocabulary import Asked

_TEXT_COLUMNS = ("run", "trunk", "kind", "schedule", "run_name", "name", "state")
_TASK_COLUMNS = ("acc_", "task_loss_")
_FEW = 3
"""Runs left out that a warning tells of."""


def read_runs(
    *sources: str | Path, kind: str = "final", asked: Asked | None = None
) -> dict[str, np.ndarray]:
    """One table of points from study folders, run folders, tables and other tools' files.

    Of all but tables those of the given kind: `final`, `intermediate` or `any`. A table with our
    columns is taken as it is; other tools' runs as `read_foreign` understands them, with what
    `asked` says of them. Runs that lack something are left out with a warning.

    Columns of our own runs: run, trunk, kind, seed, n_params (non_embedding_with_head; `active` for
    a mixture of experts, whose 6·N·D then is its FLOPs), n_tokens,
    flops (6nd), loss [nats/token], loss_<domain>, bpb, lr, batch_tokens, width, depth, n_heads;
    where some run saw tokens more than once, n_unique_tokens of every run; where runs differ in
    their mixture, w_<domain> of every run;
    of runs with multiple choice acc_<domain> and task_loss_<domain> [bits/byte], NaN for the
    others (a fit of such a column names the rows that lack it);
    N and C as every convention counts them: n_params_<convention>, flops_<convention>.

    Raises:
        RunError: nothing there, a corrupt file (named with its line), or sources whose columns
            differ.
    """
    rows, own, imported = _gather(sources, kind, asked)
    _drop_common_shares(own)
    if imported:
        rows = like_columns(rows + imported_rows(imported, kind, asked.convention if asked else ""))
    if not rows:
        places = ", ".join(str(source) for source in sources)
        raise RunError(f"{places}: no {kind} point of any run. Train first, or name another place.")
    if any("n_unique_tokens" in row for row in rows):
        for row in own:  # a run of ours that saw no token twice does not say so
            row.setdefault("n_unique_tokens", row["n_tokens"])
    measured = {name for row in rows for name in row if name.startswith(_TASK_COLUMNS)}
    rows = [row | dict.fromkeys(sorted(measured - set(row)), math.nan) for row in rows]
    columns = list(rows[0])
    for row in rows:
        if set(row) != set(columns):
            different = sorted(set(row) ^ set(columns))
            raise RunError(
                f"run {row.get('run')!r}: columns {different} are in some runs only. "
                "Read sources of one kind at a time."
            )
    return {name: _column([row[name] for row in rows], name) for name in columns}


def _gather(
    sources: Sequence[str | Path], kind: str, asked: Asked | None
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[ImportedRun]]:
    """Rows of our own runs and of tables, our own among them, and other tools' runs."""
    rows: list[dict[str, Any]] = []
    own: list[dict[str, Any]] = []
    kept: list[ImportedRun] = []
    foreign: list[str | Path] = []
    for source in sources:
        path = Path(source)
        if isinstance(source, str) and on_server(source):
            foreign.append(source)
        elif _is_ours(path):
            mine, imported = _own_rows(path, kind), read_imported(path)
            if mine and imported:
                raise RunError(
                    f"{path}: has runs of its own and imported ones, whose losses do not mix. "
                    "Move one kind to another folder."
                )
            own, rows, kept = own + mine, rows + mine, kept + imported
        elif is_plain_table(path) and not (asked and asked.columns):
            rows += _plain_rows(path)
        else:
            foreign.append(source)
    # All at once: attempts of one training may lie in several places.
    return rows, own, [*kept, *(_foreign(foreign, asked) if foreign else ())]


def _is_ours(source: Path) -> bool:
    """Whether a path is a folder of the store, and no other tool's."""
    if source.is_file():
        return False
    if not source.is_dir() or (source / "runs").is_dir() or imported_folders(source):
        return True
    configs = [source / "config.json", *sorted(source.glob("*/config.json"))]
    if any(_is_run_config(path) for path in configs):
        return True
    try:
        return not find_sources(source)
    except RunError:
        return True  # nothing is in it: said where runs are looked for


def _is_run_config(path: Path) -> bool:
    """Whether a config.json is ours, not Hugging Face's; a corrupt one may be."""
    if not path.is_file():
        return False
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return True
    return not isinstance(data, dict) or "model_type" not in data


def _foreign(sources: Sequence[str | Path], asked: Asked | None) -> tuple[ImportedRun, ...]:
    reading = read_foreign(sources, asked)
    require_runs(reading)
    left_out = [f"{one.run} ({one.questions[0]})" for one in reading.missing]
    left_out += [f"{one.place} ({one.reason})" for one in reading.bad]
    if left_out:
        some = "; ".join(left_out[:_FEW])
        warnings.warn(f"{len(left_out)} runs or sources left out: {some}", stacklevel=4)
    return reading.runs


def _plain_rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix.lower() not in OTHER_TABLES:
        return _csv_rows(path)
    return [
        {name: math.nan if value is None else value for name, value in row.items()}
        for row in table_rows(path)
    ]


def _own_rows(source: Path, kind: str) -> list[dict[str, Any]]:
    return [
        _row(folder, point)
        for folder in run_folders(source)
        for point in folder.points()
        if kind in ("any", point.kind)
    ]


def _drop_common_shares(rows: list[dict[str, Any]]) -> None:
    """A mixture that all runs have in common is no variable of theirs."""
    names = {name for row in rows for name in row if is_share(name)}
    if len({tuple(row.get(name) for name in sorted(names)) for row in rows}) > 1:
        return
    for row in rows:
        for name in names:
            del row[name]


def run_folders(root: Path) -> Iterator[RunFolder]:
    """The run folders at or below `root` (a run folder, a `runs` folder or a study folder)."""
    if not root.is_dir():
        raise RunError(f"{root}: no such folder or file. Check the path.")
    if (root / "config.json").exists():
        yield RunFolder(root)
        return
    base = root / "runs" if (root / "runs").is_dir() else root
    for path in sorted(base.iterdir()):
        if (path / "config.json").exists():
            yield RunFolder(path)


def read_curves(root: str | Path) -> dict[str, np.ndarray]:
    """One table of all points of every run below `root`, with the learning rate along each run.

    Columns: run, trunk, kind, n_params (as `read_runs`), n_tokens, lr (the matrices'
    rate), loss [nats/token]. Rows of kind `schedule` have no loss: they tell the rate between the
    points, from the run's own schedule. `fit_curves` takes this table.

    Raises:
        RunError: nothing there, a corrupt file (named with its line), or an imported run that
            logged no rate.
    """
    rows = [row for folder in run_folders(Path(root)) for row in _curve_rows(folder)]
    if imported := read_imported(Path(root)):
        rows += imported_curves(imported)
    if not rows:
        raise RunError(f"{root}: no point of any run. Train first, or name another place.")
    return {name: _column([row[name] for row in rows], name) for name in rows[0]}


def _curve_rows(folder: RunFolder) -> Iterator[dict[str, Any]]:
    points = folder.points()
    if not points:
        return
    config = folder.config()
    path = LrPath.of(config.schedule, config.optimiser.lr, points[-1].n_tokens)
    same = {
        "run": folder.run_id,
        "trunk": config.trunk or folder.run_id,
        "n_params": count_params(config.shape).under("active"),
    }
    for n_tokens, lr in zip(path.n_tokens.tolist(), path.lr.tolist(), strict=True):
        yield {**same, "kind": "schedule", "n_tokens": n_tokens, "lr": lr, "loss": math.nan}
    for point in points:
        lr = float(path.rate(np.array([float(point.n_tokens)]))[0])
        seen = {"n_tokens": point.n_tokens, "lr": lr, "loss": point.loss}
        yield {**same, "kind": point.kind, **seen}


def _row(folder: RunFolder, point: Point) -> dict[str, Any]:
    config = folder.config()
    shape = config.shape
    row: dict[str, Any] = {
        "run": folder.run_id,
        "trunk": config.trunk or folder.run_id,
        "kind": point.kind,
        "seed": config.seed,
        "n_params": count_params(shape).under("active"),
        "n_tokens": point.n_tokens,
        "flops": train_flops(shape, point.n_tokens),
        "n_params_convention": "active" if shape.n_experts else "non_embedding_with_head",
        "flops_convention": "6nd",
        "loss": point.loss,
        "lr": config.optimiser.lr,
        "batch_tokens": config.optimiser.batch_tokens,
        "width": shape.width,
        "depth": shape.depth,
        "n_heads": shape.n_heads,
    }
    count = count_params(shape)
    row |= {f"n_params_{name}": count.under(name) for name in PARAM_CONVENTIONS}
    row |= {f"flops_{name}": train_flops(shape, point.n_tokens, name) for name in FLOPS_CONVENTIONS}
    if point.bpb is not None:
        row["bpb"] = point.bpb
    if point.n_unique_tokens is not None:
        row["n_unique_tokens"] = point.n_unique_tokens
    row |= {f"w_{name}": share for name, share in config.data.weights}
    row |= {f"loss_{name}": value for name, value in point.loss_by_domain.items()}
    row |= {f"acc_{name}": value for name, value in point.acc_by_domain.items()}
    return row | {f"task_loss_{name}": value for name, value in point.task_loss_by_domain.items()}


def _csv_rows(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise RunError(
            f"{path}, line {line}: not UTF-8 ({error.reason}). Save the table as UTF-8."
        ) from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    rows: list[dict[str, Any]] = []
    try:
        for raw in reader:
            rows.append({k: _cell(path, reader.line_num, k, v) for k, v in raw.items()})
    except csv.Error as error:
        raise RunError(f"{path}, line {reader.line_num + 1}: {error}. Mend the line.") from error
    return rows


def _cell(path: Path, line: int, key: str | None, text: str | None) -> Any:
    if key is None or text is None:
        raise RunError(f"{path}, line {line}: wrong number of cells. Mend the line.")
    if key in _TEXT_COLUMNS:
        return text
    try:
        return float(text)
    except ValueError:
        return text


def _column(values: list[Any], name: str) -> np.ndarray:
    if name in _TEXT_COLUMNS or any(isinstance(value, str) for value in values):
        return np.array([str(value) for value in values])
    column: Array = np.asarray(values, dtype=np.float64)
    return column
