"""Simulated loss curves: trunks at a constant rate, and branches that cool down from them."""

import numpy as np

from isoflop.laws import LrPath, find_law

SIZES = np.geomspace(4e4, 3e5, 5)
HORIZONS = (2e6, 4e6, 8e6)
WARM = 1e5
MEMORY = 2.5e5

TRUTH = {
    "annealed_sizes": [1.7, 80.0, 0.40, 300.0, 0.45, 0.5, 0.9, 0.45, -0.10],
    "tissue_sizes": [1.7, 80.0, 0.40, 300.0, 0.45, 1.5e-7, 0.04],
    "annealed": [2.2, 300.0, 0.45, 0.25, 0.45],
    "tissue": [2.2, 300.0, 0.45, 4e-7],
    "multi_power": [2.45, 300.0, 0.45, 0.25, 3e-5, 0.5, 0.4],
}


def run_path(n_tokens, share=0.2, floor=0.0, lr=1.0):
    """Warm-up, hold, and a linear cooldown over the last `share` (0: none) to `floor`."""
    tokens, rates = [0.0, WARM], [0.0, lr]
    if share:
        begin = (1 - share) * n_tokens
        cooling = np.linspace(0, 1, 9)
        tokens += (begin + cooling * (n_tokens - begin)).tolist()
        rates += (lr * (1 - (1 - floor) * cooling)).tolist()
    else:
        tokens.append(n_tokens)
        rates.append(lr)
    return LrPath(n_tokens=np.array(tokens), lr=np.array(rates))


def value(law, path, size, at, memory=MEMORY, theta=None):
    """The law's loss along a path at `at`."""
    found = find_law(law)
    columns = {
        "n_params": np.full(at.size, size),
        "lr_sum": path.lr_sum(at),
        "lr_smooth": path.lr_smooth(at, memory),
        "lr_drop": path.lr_drop(at, memory),
        **path.drops(at),
    }
    return found.predict(np.array(TRUTH[law] if theta is None else theta), columns)


def curves(
    law="annealed_sizes",
    *,
    sizes=SIZES,
    horizons=HORIZONS,
    share=0.2,
    points=12,
    shared=0.0,
    own=0.0,
    correlation=0.0,
    early=0.0,
    seed=0,
    lr=1.0,
    memory=MEMORY,
):
    """A table of one trunk a size and one branch a horizon, noise in log loss.

    `early` adds a transient of that size to the trunks, which dies away within 4e5 tokens.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for number, size in enumerate(sizes):
        shock = shared * rng.standard_normal()
        trunk = f"t{number}"
        path, at = run_path(max(horizons), 0.0, lr=lr), np.geomspace(6e4, max(horizons), points)
        noise = np.zeros(points)
        for i in range(points):
            before = noise[i - 1] if i else rng.standard_normal()
            noise[i] = correlation * before
            noise[i] += np.sqrt(1 - correlation**2) * rng.standard_normal()
        transient = early * np.exp(-((at / 2e5) ** 2))
        losses = value(law, path.scaled(lr), size, at, memory) * np.exp(
            shock + own * noise + transient
        )
        rows += _rows(trunk, trunk, size, path, at, losses, "intermediate")
        for horizon in horizons if share else ():
            path, at = run_path(horizon, share, lr=lr), np.array([horizon])
            noise = shock + own * rng.standard_normal(1)
            losses = value(law, path.scaled(lr), size, at, memory) * np.exp(noise)
            rows += _rows(f"{trunk}-{horizon:.0f}", trunk, size, path, at, losses, "final")
    names = ("run", "trunk", "kind", "n_params", "n_tokens", "lr", "loss")
    return {
        name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }


def _rows(run, trunk, size, path, at, losses, kind):
    told = [
        (run, trunk, "schedule", size, tokens, rate, np.nan)
        for tokens, rate in zip(path.n_tokens, path.lr, strict=True)
    ]
    seen = zip(at, path.rate(at), losses, strict=True)
    return told + [(run, trunk, kind, size, t, lr, loss) for t, lr, loss in seen]
