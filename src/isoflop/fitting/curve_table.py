"""Reading a table of curves: the points that are fitted, and the learning rate along every run.

One row a point: `run`, `n_tokens` (or `step`), `lr`, `loss`; `n_params`, `trunk` and `kind` where
known. A row of kind `schedule` has no loss: it only tells the rate there. A run whose `trunk` is
another run of the table has that run's rows before its own first one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from isoflop._errors import FitError
from isoflop._types import Array, Table
from isoflop.fitting.table import Runs, optional_column
from isoflop.laws import Law, LrPath

SCHEDULE = "schedule"
"""Kind of a row that tells the rate and no loss."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """The points of all runs, in order of run and tokens: columns (R,), and paths by run."""

    n_params: Array | None
    n_tokens: Array
    loss: Array
    run: np.ndarray
    """Number of each point's run."""
    trunk: np.ndarray
    """Number of each point's trunk."""
    final: np.ndarray
    """Whether a point ends its run's schedule, or is the last of its run where kinds lack."""
    paths: tuple[LrPath, ...]
    """Rates of every run, as shares of the largest of its size."""
    peaks: Mapping[float, float]
    """Largest rate of every size, by `n_params`; by 0 where sizes are not given."""
    warmup: np.ndarray
    """Whether a point lies in its run's warm-up."""

    def __len__(self) -> int:
        return int(self.loss.size)

    @property
    def n_curves(self) -> int:
        """How many runs have a point."""
        return int(np.unique(self.run).size)

    @property
    def sizes(self) -> Array:
        """The different sizes, ascending; one zero where they are not given."""
        return np.zeros(1) if self.n_params is None else np.unique(self.n_params)

    @property
    def compute(self) -> Array:
        """N D of every point, or D where sizes are not given."""
        return self.n_tokens * (1.0 if self.n_params is None else self.n_params)

    def where(self, keep: np.ndarray) -> "Curves":
        """The points for which the mask is true; runs keep their numbers."""
        return replace(
            self,
            n_params=None if self.n_params is None else self.n_params[keep],
            n_tokens=self.n_tokens[keep],
            loss=self.loss[keep],
            run=self.run[keep],
            trunk=self.trunk[keep],
            final=self.final[keep],
            warmup=self.warmup[keep],
        )

    def smooth(self, memory: float) -> Array:
        """Smoothed rate of every point, as a share of the peak (R,)."""
        return self._each(lambda path, at: path.lr_smooth(at, memory))

    def columns(self, law: Law, memory: float) -> dict[str, Array]:
        """The law's input columns; matrices of single drops are padded with drops of zero."""
        columns = {}
        if "n_params" in law.inputs:
            assert self.n_params is not None
            columns["n_params"] = self.n_params
        columns["lr_sum"] = self._each(LrPath.lr_sum)
        if "lr_smooth" in law.inputs:
            columns["lr_smooth"] = self.smooth(memory)
        if "lr_drop" in law.inputs:
            columns["lr_drop"] = self._each(lambda path, at: path.lr_drop(at, memory))
        if "drop" in law.inputs:
            columns |= self._drops()
        return columns

    def as_runs(self, law: Law, memory: float) -> Runs:
        """The points as the rows of a fit, clustered by trunk."""
        return Runs(
            columns=self.columns(law, memory),
            loss=self.loss,
            trunk=np.unique(self.trunk, return_inverse=True)[1],
            target="loss",
            named=True,
        )

    def _each(self, value: "object") -> Array:
        assert callable(value)
        out = np.empty(len(self))
        for number in np.unique(self.run):
            mine = self.run == number
            out[mine] = value(self.paths[number], self.n_tokens[mine])
        return out

    def _drops(self) -> dict[str, Array]:
        found = [
            (self.run == number, self.paths[number].drops(self.n_tokens[self.run == number]))
            for number in np.unique(self.run)
        ]
        width = max(1, *(drops["drop"].shape[1] for _, drops in found))
        padding = {"drop": 0.0, "drop_lr": 1.0, "drop_sum": 0.0}
        columns = {name: np.full((len(self), width), value) for name, value in padding.items()}
        for mine, drops in found:
            for name, matrix in drops.items():
                columns[name][mine, : matrix.shape[1]] = matrix
        return columns


def read_curve_table(table: Table) -> Curves:
    """The points and paths of a table of curves, in a fixed order.

    Raises:
        FitError: a column is missing, of another length, or holds a value that is not a positive
            number (rates may be zero); or a run has no rate above zero.
    """
    length = "n_tokens" if "n_tokens" in table or "step" not in table else "step"
    for name in ("run", length, "lr", "loss"):
        if name not in table:
            have = ", ".join(sorted(map(str, table))) or "no columns"
            raise FitError(
                f"A table of curves must have the column {name!r}, but it has {have}. Add it: one "
                f"row a point, with run, n_tokens (or step), lr and loss."
            )
    run = np.asarray(table["run"]).astype(str)
    kind = optional_column(table, "kind")
    kinds = np.full(run.size, "") if kind is None else kind.astype(str)
    numbers = {name: _numbers(table, name, run.size) for name in (length, "lr", "loss")}
    sizes = _numbers(table, "n_params", run.size) if "n_params" in table else None
    point = kinds != SCHEDULE
    _check(length, numbers[length], numbers[length] >= 0)
    _check(length, numbers[length], (numbers[length] > 0) | ~point)
    _check("lr", numbers["lr"], numbers["lr"] >= 0)
    _check("loss", numbers["loss"], (numbers["loss"] > 0) | ~point)
    if sizes is not None:
        _check("n_params", sizes, sizes > 0)
    if not point.any():
        raise FitError("The table holds no point with a loss. Train first, or add rows.")
    trunk = optional_column(table, "trunk")
    trunks = run if trunk is None else trunk.astype(str)
    # A fixed order of rows makes every number the same whatever order the table came in; of two
    # rows at one count the higher rate comes first: rates fall in jumps.
    order = np.lexsort((numbers["loss"], -numbers["lr"], numbers[length], run, trunks))
    order = order[np.argsort(_rank(sizes, order), kind="stable")]
    return _assemble(
        run[order],
        trunks[order],
        kinds[order],
        {"n_tokens": numbers[length][order], "lr": numbers["lr"][order]},
        numbers["loss"][order],
        None if sizes is None else sizes[order],
    )


def _rank(sizes: Array | None, order: np.ndarray) -> Array:
    return np.zeros(order.size) if sizes is None else sizes[order]


def _assemble(
    run: np.ndarray,
    trunk: np.ndarray,
    kind: np.ndarray,
    numbers: dict[str, Array],
    loss: Array,
    sizes: Array | None,
) -> Curves:
    names = list(dict.fromkeys(run.tolist()))
    number = {name: i for i, name in enumerate(names)}
    member = np.array([number[name] for name in run])
    raw = [_path(i, name, run, trunk, numbers) for i, name in enumerate(names)]
    size_of = [0.0 if sizes is None else float(sizes[member == i][0]) for i in range(len(names))]
    peaks: dict[float, float] = {}
    for size, path in zip(size_of, raw, strict=True):
        peaks[size] = max(peaks.get(size, 0.0), float(path.lr.max()))
    tokens, point = numbers["n_tokens"], kind != SCHEDULE
    warm = np.array([path.warmup_tokens for path in raw])
    last = np.array([tokens[(member == i) & point].max(initial=0.0) for i in range(len(names))])
    final = kind == "final" if (kind == "final").any() else tokens == last[member]
    everything = Curves(
        n_params=sizes,
        n_tokens=tokens,
        loss=loss,
        run=member,
        trunk=np.unique(trunk, return_inverse=True)[1],
        final=final,
        paths=tuple(path.scaled(peaks[size]) for size, path in zip(size_of, raw, strict=True)),
        peaks=peaks,
        warmup=tokens < warm[member],
    )
    return everything.where(point)


def _path(
    number: int, name: str, run: np.ndarray, trunk: np.ndarray, numbers: dict[str, Array]
) -> LrPath:
    """The rates of one run, behind those of its trunk, from the first token on."""
    del number
    own = np.flatnonzero(run == name)
    tokens, lr = numbers["n_tokens"][own], numbers["lr"][own]
    parent = str(trunk[own[0]])
    if parent != name:
        before = (run == parent) & (numbers["n_tokens"] < tokens[0])
        tokens = np.concatenate([numbers["n_tokens"][before], tokens])
        lr = np.concatenate([numbers["lr"][before], lr])
    if tokens[0] > 0:
        # ASSUMPTION: before its first row a run had the rate of that row.
        tokens, lr = np.append(0.0, tokens), np.append(lr[0], lr)
    if lr.max() <= 0:
        raise FitError(f"run {name!r}: `lr > 0` must hold somewhere along it. Add its rates.")
    return LrPath(n_tokens=tokens, lr=lr)


def _numbers(table: Table, name: str, size: int) -> Array:
    try:
        column = np.asarray(table[name], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise FitError(
            f"The column {name!r} must hold numbers, but {error}. Correct the entry."
        ) from error
    if column.shape != (size,):
        raise FitError(
            f"All columns must be equally long, but {name!r} has shape {column.shape} and run "
            f"{size} rows. Fill in or cut."
        )
    return column


def _check(name: str, column: Array, good: np.ndarray) -> None:
    bad = ~good | (~np.isfinite(column) if name != "loss" else np.zeros(column.size, dtype=bool))
    bad |= np.isposinf(column)
    if bad.any():
        row = int(np.argmax(bad))
        sign = ">=" if name == "lr" else ">"
        raise FitError(
            f"`{name} {sign} 0` must hold, but got {name}={column[row]} in row {row}. Correct or "
            f"drop that row, or give it the kind {SCHEDULE!r} if it has a rate and no loss."
        )
