"""Reading two recipes' tables into one: same metric, same units, which runs are pairs."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from isoflop._errors import FitError, InputError
from isoflop._types import Array, Problem, Table
from isoflop.fitting.arms import FIRST, SECOND
from isoflop.fitting.checks import design_problems
from isoflop.fitting.table import Runs, column_names, optional_column, read_table
from isoflop.laws import CHINCHILLA, CHINCHILLA_TIED, POWER, POWER_FLOOR, Law, find_law

Along = Literal["frontier", "ray", "x"]

PLANE_LAWS = (CHINCHILLA, CHINCHILLA_TIED)
LINE_LAWS = (POWER_FLOOR, POWER)

SPARE = 2
"""Runs that an arm must have beyond its law's parameters for `law="auto"` to take that law."""

SAME_CELL = 0.01
"""Sizes and tokens within 1 % are one cell: both are rounded to whole layers and batches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arms:
    """Both arms' runs in one table of scaled columns, `arm` 1 and 2 in a canonical order."""

    base: Law
    runs: Runs
    flipped: bool
    """Whether arm 1 is B: the order follows the numbers, so that swapping A and B is exact."""
    log_unit: tuple[float, float]
    """ln FLOPs of one unit of scaled compute, of arms 1 and 2."""
    span: tuple[tuple[float, float], tuple[float, float]]
    """Smallest and largest scaled compute of arms 1 and 2."""
    cell: np.ndarray
    """(R,) number of the run's pair or own cell."""
    cell_trunk: np.ndarray
    """Trunk of each cell: those of paired runs are one."""
    along: Along
    tables: tuple[Table, Table]
    """A's and B's table as each is fitted alone."""

    @property
    def second(self) -> np.ndarray:
        """Mask (R,) of the runs of arm 2."""
        return np.asarray(self.runs.columns["arm"] > (FIRST + SECOND) / 2)

    @property
    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Rows of arm 1 and of arm 2 that stand in the same cell."""
        both = np.flatnonzero(np.bincount(self.cell) == 2)
        rows = [np.flatnonzero(self.cell == one) for one in both]
        found = np.array(rows, dtype=np.intp).reshape(-1, 2)
        return found[:, 0], found[:, 1]


def check_metrics(table_a: Table, table_b: Table, target: str) -> None:
    """Refuse two tables whose numbers do not mean the same.

    Raises:
        InputError: the target is in one table only, or tokenizer, vocabulary (unless the target
            is bits per byte) or a counting convention differ.
    """
    for name, table, other in (("A", table_a, table_b), ("B", table_b, table_a)):
        if target not in table and target in other:
            have = ", ".join(sorted(column_names(table)))
            raise InputError(
                f"Both arms must have the column {target!r}, but {name} has {have}. "
                f"Compare them by a metric that both have."
            )
    per_token = not target.startswith("bpb")
    for column in ("tokenizer", "vocab_size", "n_params_convention", "flops_convention"):
        of_tokens = column in ("tokenizer", "vocab_size")
        if column not in table_a or column not in table_b or (of_tokens and not per_token):
            continue
        one, two = (sorted({str(v) for v in t[column]}) for t in (table_a, table_b))
        if one != two:
            remedy = "Compare by target='bpb'" if of_tokens else "Count both under one convention"
            raise InputError(
                f"`{column}` must be the same in both arms, but got {one} and {two}. {remedy}."
            )


def read_arms(table_a: Table, table_b: Table, target: str, law: str | Law) -> Arms:
    """Both tables as one.

    Runs that lie on one ray of (N, D) in either table have no frontier: they are compared along
    their compute, and so are tables of `x` or `flops` alone.

    Raises:
        FitError: a column is missing or wrong, or an arm has too few runs.
    """
    tables, along = _lay_out(table_a, table_b, target, law)
    bases = _bases(law, along)
    read = [read_table(one, target, bases[0].inputs) for one in tables]
    base = _affordable(bases, read, law)
    logs = [_log_flops_per_unit(one, runs) for one, runs in zip(tables, read, strict=True)]
    flipped = _key(read[1]) < _key(read[0])
    if flipped:
        read, logs = read[::-1], logs[::-1]
    scales = {
        # What a law of one's own does with its inputs is not known: they keep their units.
        name: float(np.exp(np.log(np.concatenate([r.columns[name] for r in read])).mean()))
        if base.scaled
        else 1.0
        for name in base.inputs
    }
    log_scale = float(np.log(list(scales.values())).sum())
    scaled = [
        replace(r, columns={name: r.columns[name] / scale for name, scale in scales.items()})
        for r in read
    ]
    cell, cell_trunk = _cells(scaled[0], scaled[1])
    return Arms(
        base=base,
        runs=_join(scaled[0], scaled[1]),
        flipped=flipped,
        log_unit=(logs[0] + log_scale, logs[1] + log_scale),
        span=tuple((float(r.compute.min()), float(r.compute.max())) for r in scaled),  # type: ignore[arg-type]
        cell=cell,
        cell_trunk=cell_trunk,
        along=along,
        tables=tables,
    )


def _lay_out(
    table_a: Table, table_b: Table, target: str, law: str | Law
) -> tuple[tuple[Table, Table], Along]:
    """The tables as they are fitted, and along what they are compared."""
    asked = law if isinstance(law, Law) else None if law == "auto" else find_law(law)
    plane = all("n_params" in t and "n_tokens" in t for t in (table_a, table_b))
    if asked is not None:
        plane = plane and "n_params" in asked.inputs
    if plane:
        flat = []
        for table in (table_a, table_b):
            runs = read_table(table, target, ("n_params", "n_tokens"))
            found = design_problems(table, runs, CHINCHILLA)
            flat.append(any(problem.code == "one_ray" for problem in found))
        if not any(flat):
            return (table_a, table_b), "frontier"
        return (_as_line(table_a, target), _as_line(table_b, target)), "ray"
    if all("x" in table for table in (table_a, table_b)):
        return (table_a, table_b), "x"
    return (_as_line(table_a, target), _as_line(table_b, target)), "x"


def _as_line(table: Table, target: str) -> Table:
    """The table with its compute [FLOPs] as the one variable x."""
    kept = (target, "trunk", "run", "kind", "weight")
    line = {name: table[name] for name in kept if name in table}
    if "flops" in table:
        return {**line, "x": table["flops"]}
    if "n_params" not in table or "n_tokens" not in table:
        have = ", ".join(sorted(column_names(table)))
        raise FitError(
            f"An arm must have n_params and n_tokens, or x, or flops, but it has {have}. Add them."
        )
    return {
        **line,
        "x": 6.0 * np.asarray(table["n_params"], float) * np.asarray(table["n_tokens"], float),
    }


def _bases(law: str | Law, along: Along) -> tuple[Law, ...]:
    if isinstance(law, Law):
        return (law,)
    if law != "auto":
        found = find_law(law)
        # Of runs on a ray a law of size and tokens cannot be fitted: the law of one variable can.
        if along != "ray":
            return (found,)
    return PLANE_LAWS if along == "frontier" else LINE_LAWS


def _affordable(bases: tuple[Law, ...], read: list[Runs], law: str | Law) -> Law:
    """The first law that both arms have enough runs for."""
    fewest = min(len(one) for one in read)
    spare = SPARE if law == "auto" else 1
    for base in bases:
        if fewest >= len(base.params) + spare:
            return base
    needed = len(bases[-1].params) + spare
    raise FitError(
        f"`runs >= {needed}` must hold in each arm for the law {bases[-1].name!r}, but got "
        f"{len(read[0])} and {len(read[1])}. Add runs."
    )


def _log_flops_per_unit(table: Table, runs: Runs) -> float:
    """ln k of C = k N D as the table's own FLOPs have it; ln 6 without; 0 for one variable."""
    if "x" in runs.columns:
        return 0.0
    if "flops" not in table:
        return float(np.log(6.0))
    names = ("n_params", "n_tokens", "flops")
    costed = read_table(table, runs.target, names)
    return float(np.log(costed.columns["flops"] / costed.compute).mean())


def _key(runs: Runs) -> tuple[object, ...]:
    columns = [runs.columns[name].tolist() for name in sorted(runs.columns)]
    return (len(runs), runs.loss.tolist(), columns, runs.trunk.tolist())


def _join(one: Runs, two: Runs) -> Runs:
    arm = np.concatenate([np.full(len(one), FIRST), np.full(len(two), SECOND)])
    columns = {name: np.concatenate([one.columns[name], two.columns[name]]) for name in one.columns}
    return Runs(
        columns={**columns, "arm": arm},
        loss=np.concatenate([one.loss, two.loss]),
        trunk=np.concatenate([one.trunk, two.trunk + one.n_trunks]),
        target=one.target,
        weight=np.concatenate([one.weight, two.weight]),
    )


def _cells(one: Runs, two: Runs) -> tuple[np.ndarray, np.ndarray]:
    """Cell of each row of both arms, and the trunk of each cell.

    Only cells with one run of either arm are pairs: among several seeds nothing says which
    belong together.
    """
    place = [
        np.stack([np.log(r.columns[n]) for n in sorted(r.columns)], axis=1) for r in (one, two)
    ]
    near = (np.abs(place[0][:, None] - place[1][None]) < SAME_CELL).all(axis=2)
    near &= (near.sum(axis=0) == 1)[None, :] & (near.sum(axis=1) == 1)[:, None]
    rows, others = np.nonzero(near)
    cell = np.arange(len(one) + len(two))
    cell[len(one) + others] = rows
    # A trunk of the second arm joins that of its first pair.
    joined = np.arange(two.n_trunks) + one.n_trunks
    for row, other in zip(rows[::-1], others[::-1], strict=True):
        joined[two.trunk[other]] = one.trunk[row]
    trunk = np.concatenate([one.trunk, joined[two.trunk]])
    _, first, cell = np.unique(cell, return_index=True, return_inverse=True)
    return cell, trunk[first]


def ray_problem(arms: Arms) -> tuple[Problem, ...]:
    """What is told of runs on one ray of D/N: no frontier, a multiplier along the ray."""
    if arms.along != "ray":
        return ()
    return (
        Problem(
            code="one_ray",
            severity="note",
            text="The runs of at least one arm lie on one line in (ln N, ln D): the recipes are "
            "compared along their compute, not on their frontiers.",
            remedy="For each recipe's own best split train at least 3 sizes at 3 horizons each.",
            affects=("allocation",),
        ),
    )


def shared_sizes(table_a: Table, table_b: Table) -> Array:
    """Sizes (within 1 %) that both tables have, rising."""
    sizes = [optional_column(table, "n_params") for table in (table_a, table_b)]
    if sizes[0] is None or sizes[1] is None:
        return np.empty(0)
    one, two = (np.unique(np.asarray(column, dtype=np.float64)) for column in sizes)
    near = np.abs(np.log(one[:, None] / two[None])) < SAME_CELL
    return np.asarray(one[near.any(axis=1)])
