"""`Record`: what must be known to make a fit again, and the fingerprint of its data."""

import hashlib
from dataclasses import dataclass

from isoflop.fitting.noise import Noise
from isoflop.fitting.table import Runs


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The data and settings of a fit: with the same ones `fit` gives the same numbers."""

    data_sha256: str
    """SHA-256 of the rows that were fitted; see `data_sha256`."""
    objective: str
    seed: int
    n_draws: int
    prior: tuple[str, ...]
    """Parameters that published ladders helped to find."""
    noise: Noise
    """Noise of log loss about the law with the largest weight."""
    resampling: str = "auto"
    """What the draws were asked to be; see `draws.draw_parameters`."""


def data_sha256(runs: Runs) -> str:
    """SHA-256 of the fitted rows as canonical CSV: whoever has the table can compute it.

    UTF-8, lines end in a line feed. The header names the input columns in the order of the
    alphabet, then the target, `trunk` and `weight`; one line a row, ordered by the inputs as the
    law lists them, then by the target. Numbers are the shortest decimals that read back exactly,
    as Python writes them, losses less `lr_regret`; trunks are numbered from 0 in the order in which
    they appear.
    """
    names = sorted(runs.columns)
    columns = [*(runs.columns[name] for name in names), runs.loss]
    lines = [",".join([*names, runs.target, "trunk", "weight"])]
    for row in range(len(runs)):
        cells = [repr(float(column[row])) for column in columns]
        cells += [str(int(runs.trunk[row])), repr(float(runs.weight[row]))]
        lines.append(",".join(cells))
    return hashlib.sha256(("\n".join(lines) + "\n").encode()).hexdigest()
