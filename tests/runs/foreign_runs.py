"""Hand-made runs of other tools, for tests of what is understood of them."""

import math

import numpy as np

from isoflop.runs import Asked, ForeignRun, ImportedRun, Series
from isoflop.runs.segment import segment_of
from isoflop.runs.stitch import lineages
from isoflop.runs.understand import understand

VOCAB = 32_000
CONFIG = {
    "d_model": 256, "n_layers": 4, "d_ff": 1024, "vocab_size": VOCAB, "batch_tokens": 1000,
    "seed": 1,
}  # fmt: skip
"""4·12·256² + 256·32000 parameters that multiply."""
N_GATED = 16 * 4 * 256**2 + 256 * VOCAB
"""With three matrices in an MLP."""
N_PARAMS = 12 * 4 * 256**2 + 256 * VOCAB


def series(steps, values, at=math.nan):
    """A series over `steps`, one second a step from `at` on."""
    step = np.array(steps, dtype=np.int64)
    value = np.array(values, dtype=np.float64)
    return Series(step=step, value=value, wall_s=at + np.arange(step.size, dtype=np.float64))


def curve(steps, offset=0.0):
    """A loss that falls from ln(vocab)."""
    return [math.log(VOCAB) * (1 + s) ** -0.2 + offset for s in steps]


def foreign(run_id="a", *, steps=range(0, 101, 10), metric="loss", at=math.nan, **rest):
    """A run that logged a loss under `metric`."""
    given = {
        "tool": "wandb", "place": f"wandb/{run_id}", "run_id": run_id, "state": "done",
        "config": CONFIG, "series": {metric: series(steps, curve(steps), at)},
    }  # fmt: skip
    return ForeignRun(**{**given, **rest})


def read(*runs, **asked):
    """Every training among the runs: `ImportedRun` or `Missing`."""
    said = Asked(**asked)
    lines = lineages(segment_of(run, said) for run in runs)
    return [understand(line, said) for line in lines]


def taken(*runs, **asked):
    """The only training among the runs, which must have been understood."""
    (one,) = read(*runs, **asked)
    assert isinstance(one, ImportedRun), one.questions
    return one
