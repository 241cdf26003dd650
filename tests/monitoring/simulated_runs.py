"""A known law along a run, its band, and healthy or harmed curves about it."""

from dataclasses import replace

import numpy as np

from isoflop.laws import ANNEALED_SIZES, LrPath
from isoflop.monitoring import Band, CurveNoise, MeasuredCurve

THETA = np.array([1.7, 80.0, 0.40, 300.0, 0.45, 0.5, 0.9, 0.45, -0.10])
MEMORY, WARM, END, SIZE = 2.5e5, 1e5, 1.6e7, 6e5
FIRST = 4e5
NOISE = CurveNoise(
    offset=0.006, smooth=0.003, length=1.0, drift=0.002, memory=2e5, white=0.001, freedom=20.0
)
AT = np.linspace(FIRST, END, 80)
MIDDLE = 0.5 * END


def path(end=END):
    """Warm-up, hold and a cooldown over the last fifth."""
    tokens = [0.0, WARM, *np.linspace(0.8 * end, end, 9)]
    return LrPath(n_tokens=np.array(tokens), lr=np.array([0.0, 1.0, *np.linspace(1, 0, 9)]))


def log_law(at, factor=1.0, since=MIDDLE, size=SIZE, planned=None):
    """The law's log loss at token counts; the rate is `factor` times the planned from `since` on.

    The smooth rate follows within the law's memory; the sum of rates grows faster.
    """
    age = np.maximum(at - since, 0.0)
    planned = planned or path()
    begun = planned.lr_sum(np.minimum(at, since))
    columns = {
        "n_params": np.full(at.size, size),
        "lr_sum": begun + factor * (planned.lr_sum(at) - begun),
        "lr_smooth": planned.lr_smooth(at, MEMORY) * (1 + (factor - 1) * -np.expm1(-age / MEMORY)),
    }
    return np.log(ANNEALED_SIZES.predict(THETA, columns))


def band(noise=NOISE):
    """The forecast by the true law."""
    grid = np.unique(np.concatenate([np.geomspace(FIRST, END, 200), np.linspace(FIRST, END, 200)]))
    return Band(
        n_params=SIZE,
        n_tokens=grid,
        log_loss=log_law(grid),
        modes=np.zeros((0, grid.size)),
        lr_share=path().rate(grid),
        lr=1.0,
        noise=noise,
        law="annealed_sizes",
        theta={},
        source="simulated",
    )


def healthy(rng, at=AT, noise=NOISE, **law):
    """Log loss of a run with an offset of its own and AR(1) noise: no smooth bend, normal."""
    step = np.exp(-np.diff(at) / noise.memory)
    wander = np.empty(at.size)
    wander[0] = rng.standard_normal()
    for i, keep in enumerate(step, start=1):
        wander[i] = keep * wander[i - 1] + np.sqrt(1 - keep**2) * rng.standard_normal()
    white = noise.white * rng.standard_normal(at.size)
    return log_law(at, **law) + noise.offset * rng.standard_normal() + noise.drift * wander + white


def rate_tripled(at=AT):
    """What three times the rate from the middle on does to the log loss, by the law."""
    return log_law(at, 3.0) - log_law(at)


def curve(log_loss, at=AT, **changes):
    """A measured curve."""
    nan = np.full(at.size, np.nan)
    made = MeasuredCurve(run="r", n_tokens=at, loss=np.exp(log_loss), lr=nan, wall_s=nan)
    return replace(made, **changes)


SIZES, ENDS, POINTS = (4e4, 7e4, 1.2e5, 2e5, 3.5e5), (4e6, 1.2e7), 14


def pilots(rng, noise=NOISE):
    """A table of curves of smaller sizes, every run with an offset and noise of its own."""
    rows = []
    for size in SIZES:
        for end in ENDS:
            planned, at = path(end), np.linspace(end / POINTS, end, POINTS)
            logs = healthy(rng, at, noise, size=size, planned=planned)
            name = f"{size:.0f}-{end:.0f}"
            for tokens, rate in zip(planned.n_tokens, planned.lr, strict=True):
                rows.append((name, "schedule", size, tokens, rate, np.nan))
            for tokens, log_loss in zip(at, logs, strict=True):
                rate = float(planned.rate(np.array([tokens]))[0])
                kind = "final" if tokens == end else "intermediate"
                rows.append((name, kind, size, tokens, rate, np.exp(log_loss)))
    names = ("run", "kind", "n_params", "n_tokens", "lr", "loss")
    return dict(zip(names, map(np.array, zip(*rows, strict=True)), strict=True))
