"""Reading a table: which rows are fitted, in which columns, in clusters of which trunks."""

from dataclasses import dataclass, field

import numpy as np

from isoflop._errors import FitError
from isoflop._types import SHARE_SUM, Array, Table, is_share


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """The rows that a fit uses: `columns` by name (R,), `loss` (R,), cluster numbers (R,)."""

    columns: dict[str, Array]
    loss: Array
    trunk: np.ndarray
    """Cluster of each row, 0 ... n_trunks - 1."""
    target: str
    weight: Array = field(default_factory=lambda: np.ones(0))
    """How much each row counts (R,); 1 unless the table has a column `weight`."""
    named: bool = False
    """Whether the table says which training each row comes from."""
    label: np.ndarray = field(default_factory=lambda: np.ones(0))
    """Number of each row's `experiment` (R,); all one without that column."""
    flagged: np.ndarray = field(default_factory=lambda: np.ones(0, dtype=bool))
    """Rows (R,) that the table's column `outlier` marks as suspect; fitted all the same."""
    row: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.intp))
    """Where each row stands in the user's table (R,), counted from 0."""
    regret: Array = field(default_factory=lambda: np.ones(0))
    """Expected excess of log loss (R,) by rates that are not the best (column `lr_regret`);
    already taken off `loss`."""

    def __post_init__(self) -> None:
        size = self.loss.size
        plain = {
            "weight": np.ones(size),
            "label": np.ones(size),
            "flagged": np.zeros(size, bool),
            "row": np.arange(size),
            "regret": np.zeros(size),
        }
        for name, values in plain.items():
            if getattr(self, name).size == 0:
                object.__setattr__(self, name, values)

    def __len__(self) -> int:
        return int(self.loss.size)

    @property
    def n_trunks(self) -> int:
        """How many independent trainings the rows come from."""
        return int(np.unique(self.trunk).size)

    @property
    def cluster(self) -> np.ndarray:
        """Which training each row comes from (R,): the trunk, or all rows one of a lone curve.

        Rows of one variable without a name are points of one curve: no independent evidence.
        """
        lone = "x" in self.columns and not self.named
        return np.zeros(len(self), dtype=np.intp) if lone else self.trunk

    @property
    def compute(self) -> Array:
        """What orders runs by cost: N D or what is known of it (N S), else one variable.

        Where a loss is the one variable (accuracy on loss), the lowest is the dearest; where only
        the mixture varies, all runs cost the same.
        """
        length = "n_tokens" if "n_tokens" in self.columns else "steps"
        known = [name for name in ("n_params", length) if name in self.columns]
        if known:
            return np.asarray(np.prod([self.columns[name] for name in known], axis=0))
        for name in ("x", "flops"):
            if name in self.columns:
                return self.columns[name]
        return 1 / self.columns["loss"] if "loss" in self.columns else np.ones(len(self))

    def where(self, keep: np.ndarray) -> "Runs":
        """The rows for which the mask is true."""
        return Runs(
            columns={name: column[keep] for name, column in self.columns.items()},
            loss=self.loss[keep],
            trunk=np.unique(self.trunk[keep], return_inverse=True)[1],
            target=self.target,
            weight=self.weight[keep],
            named=self.named,
            label=self.label[keep],
            flagged=self.flagged[keep],
            row=self.row[keep],
            regret=self.regret[keep],
        )


def read_table(table: Table, target: str, names: tuple[str, ...]) -> Runs:
    """The final rows of a table with the named columns, all checked to be positive numbers.

    Mixture shares `w_<domain>` may be zero; where several are named they add up to one.

    A column `lr_regret` is taken off losses: the law is that of tuned runs.

    Rows whose `kind` is `intermediate` are left out where the table also has final ones.

    Raises:
        FitError: a column is missing, of another length, or holds a value that is not a
            positive number; the text names the column and the row. Or shares do not add up.
    """
    wanted = (*names, target)
    missing = [name for name in wanted if name not in table]
    if missing:
        have = ", ".join(sorted(column_names(table))) or "no columns"
        raise FitError(
            f"The table must have the column {missing[0]!r}, but it has {have}. "
            f"Add it, or choose another target or law."
        )
    if "weight" in table:
        wanted = (*wanted, "weight")
    raw = {name: _column(table, name) for name in wanted}
    lengths = {name: column.size for name, column in raw.items()}
    if len(set(lengths.values())) != 1:
        raise FitError(f"All columns must be equally long, but got {lengths}. Fill in or cut.")
    keep = _final_rows(table, raw[target].size)
    for name, column in raw.items():
        _check_positive(name, column, keep)
    _check_shares({name: raw[name] for name in names if is_share(name)}, keep)
    trunk = _clusters(table, raw[target].size)
    regret = _regret(table, target, keep)
    runs = Runs(
        columns={n: raw[n] for n in names},
        loss=raw[target] * np.exp(-regret),
        trunk=trunk,
        target=target,
        weight=raw.get("weight", np.ones(raw[target].size)),
        named="trunk" in table or "run" in table,
        label=_labels(table, raw[target].size),
        flagged=_flags(table, raw[target].size),
        regret=regret,
    )
    runs = runs.where(keep)
    # A fixed order of rows makes every number the same whatever order the table came in.
    keys = [runs.loss, *(runs.columns[name] for name in reversed(names))]
    order = np.lexsort(keys)
    ordered = Runs(
        columns={name: column[order] for name, column in runs.columns.items()},
        loss=runs.loss[order],
        trunk=_renumber(runs.trunk[order]),
        target=target,
        weight=runs.weight[order],
        named=runs.named,
        label=runs.label[order],
        flagged=runs.flagged[order],
        row=runs.row[order],
        regret=runs.regret[order],
    )
    return ordered


def column_names(table: Table) -> tuple[str, ...]:
    """Names of the columns of a dict or a frame; iterating a polars frame gives its columns."""
    return tuple(str(name) for name in getattr(table, "columns", table))


def optional_column(table: Table, name: str) -> np.ndarray | None:
    """A column as an array of whatever type, or None where the table lacks it."""
    return np.asarray(table[name]) if name in table else None


def _column(table: Table, name: str) -> Array:
    try:
        column = np.asarray(table[name], dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise FitError(
            f"The column {name!r} must hold numbers, but {error}. Correct the entry."
        ) from error
    if column.ndim != 1:
        raise FitError(f"{name!r} must be 1-D, but got shape {column.shape}. Flatten it.")
    return column


def _check_positive(name: str, column: Array, keep: np.ndarray) -> None:
    sign, right = (">=", column >= 0) if is_share(name) else (">", column > 0)
    bad = keep & ~(np.isfinite(column) & right)
    if bad.any():
        row = int(np.argmax(bad))
        raise FitError(
            f"`{name} {sign} 0` must hold, but got {name}={column[row]} in row {row}. "
            f"Correct or drop that row."
        )


def _check_shares(shares: dict[str, Array], keep: np.ndarray) -> None:
    if len(shares) < 2:
        return
    total = np.sum(list(shares.values()), axis=0)
    bad = keep & (np.abs(total - 1) > SHARE_SUM)
    if bad.any():
        row = int(np.argmax(bad))
        raise FitError(
            f"`{' + '.join(shares)} = 1` must hold, but got {total[row]:.6g} in row {row}. "
            f"Name every domain of the mixture, as shares of one."
        )


def _final_rows(table: Table, size: int) -> np.ndarray:
    kind = optional_column(table, "kind")
    if kind is None:
        return np.ones(size, dtype=bool)
    final = np.asarray(kind.astype(str) == "final")
    return final if final.any() else np.ones(size, dtype=bool)


def _labels(table: Table, size: int) -> np.ndarray:
    column = optional_column(table, "experiment")
    if column is None or column.size != size:
        return np.ones(size)
    return np.unique(column.astype(str), return_inverse=True)[1]


def _flags(table: Table, size: int) -> np.ndarray:
    """The column `outlier` as a mask: true, yes or a number but zero, in any writing."""
    column = optional_column(table, "outlier")
    if column is None or column.size != size:
        return np.zeros(size, dtype=bool)
    words = np.char.lower(np.char.strip(column.astype(str)))
    return np.isin(words, ["true", "yes", "1", "1.0"])


def _regret(table: Table, target: str, keep: np.ndarray) -> Array:
    """The column `lr_regret` (R,) where the target is a loss; zeros without."""
    if "lr_regret" not in table or not target.startswith(("loss", "bpb")):
        return np.zeros(keep.size)
    column = _column(table, "lr_regret")
    if column.size != keep.size:
        raise FitError(
            f"All columns must be equally long, but 'lr_regret' has {column.size} of {keep.size} "
            "rows. Fill in or cut."
        )
    bad = keep & ~(np.isfinite(column) & (column >= 0))
    if bad.any():
        row = int(np.argmax(bad))
        raise FitError(
            f"`lr_regret >= 0` must hold, but got lr_regret={column[row]} in row {row}. "
            "Give the expected excess as a share of the loss, or 0."
        )
    return np.where(keep, column, 0.0)


def _clusters(table: Table, size: int) -> np.ndarray:
    for name in ("trunk", "run"):
        column = optional_column(table, name)
        if column is not None and column.size == size:
            return np.unique(column.astype(str), return_inverse=True)[1]
    return np.arange(size)


def _renumber(trunk: np.ndarray) -> np.ndarray:
    """Cluster numbers in the order of first appearance, so that labels do not matter."""
    _, first, inverse = np.unique(trunk, return_index=True, return_inverse=True)
    rank = np.empty(first.size, dtype=np.intp)
    rank[np.argsort(first)] = np.arange(first.size)
    return np.asarray(rank[inverse])
