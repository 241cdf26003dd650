"""`LrPath`: the learning rate along a run, and what the laws along a run need to know of it.

A law along a run sees the schedule through a few columns, one value an evaluation point:
`lr_sum` how far the run has come, `lr_smooth` how high the rate still is, `lr_drop` by how much
it has fallen, and the matrices of single drops that the multi-power law sums over.
"""

from dataclasses import dataclass

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array
from isoflop.specs import Schedule

HOLD_KNOTS = 48
"""Knots of a schedule before its cooldown, equally far apart in log tokens."""

COOLDOWN_KNOTS = 24
"""Knots of a cooldown; a rate that falls like 1 - sqrt is then linear between two of them."""

LEAST = 1e-9
"""Smooth rate, as a share of the peak, below which it is as good as zero (it enters as a log)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LrPath:
    """Learning rate `lr` (K,) at `n_tokens` (K,) seen, linear between; a repeated count jumps.

    Where the warm-up ends is where `lr` first reaches its largest value.
    """

    n_tokens: Array
    lr: Array

    def __post_init__(self) -> None:
        if self.n_tokens.ndim != 1 or self.n_tokens.shape != self.lr.shape or self.lr.size < 2:
            raise InputError(
                "`n_tokens` and `lr` must be columns of one length, at least 2, but got shapes "
                f"{self.n_tokens.shape} and {self.lr.shape}. Give one rate a token count."
            )
        if not (np.isfinite(self.n_tokens).all() and np.isfinite(self.lr).all()):
            raise InputError("`n_tokens` and `lr` must be finite numbers. Correct the schedule.")
        if (np.diff(self.n_tokens) < 0).any() or self.n_tokens[0] < 0:
            raise InputError(
                "`n_tokens` must start at 0 or above and not fall along a run, but got "
                f"{self.n_tokens[:3]} ... {self.n_tokens[-1]:g}. Sort the points."
            )
        if (self.lr < 0).any() or self.lr.max() <= 0:
            raise InputError(
                f"`lr >= 0` must hold, and once above 0, but got {self.lr.min():g} to "
                f"{self.lr.max():g}. Correct the schedule."
            )

    @staticmethod
    def of(schedule: Schedule, peak: float, n_tokens: int) -> "LrPath":
        """The path of a run's schedule with peak rate `peak`, from the first to `n_tokens`."""
        warm = max(schedule.warmup_tokens, 1)
        knots = [np.array([0.0, warm]), np.geomspace(warm, max(n_tokens, warm + 1), HOLD_KNOTS)]
        if schedule.decay_exponent:
            knots.append(np.array([float(schedule.decay_from_tokens)]))
        if schedule.kind == "wsd":
            share = np.linspace(0.0, 1.0, COOLDOWN_KNOTS) ** 2
            cooling = schedule.hold_tokens + schedule.cooldown_tokens * share
            knots = [part[part < schedule.hold_tokens] for part in knots] + [cooling]
        if schedule.kind == "cosine":
            knots.append(np.linspace(warm, max(n_tokens, warm + 1), HOLD_KNOTS))
        tokens = np.unique(np.concatenate(knots).round())
        tokens = tokens[tokens <= n_tokens]
        # A rate that falls as a power of tokens has no value at the very first.
        lr = [peak * schedule.factor(int(t), max(int(t), 1)) for t in tokens]
        return LrPath(n_tokens=tokens, lr=np.array(lr))

    @property
    def warmup_tokens(self) -> float:
        """Tokens at which the rate first reaches its largest value (0 if it starts there)."""
        return float(self.n_tokens[self._peak])

    @property
    def _peak(self) -> int:
        return int(np.argmax(self.lr >= self.lr.max() * (1 - 1e-9)))

    def scaled(self, unit: float) -> "LrPath":
        """The path with its rates in multiples of `unit`."""
        return LrPath(n_tokens=self.n_tokens, lr=self.lr / unit)

    def lr_sum(self, at: Array) -> Array:
        """S1: the integral of the rate over tokens, warm-up included, at `at` (G,) [lr * tokens].

        Source: Tissue et al. 2024, arXiv:2408.11029 (a sum over steps there).
        """
        width = np.diff(self.n_tokens)
        total = np.concatenate([[0.0], np.cumsum((self.lr[1:] + self.lr[:-1]) / 2 * width)])
        k = np.clip(np.searchsorted(self.n_tokens, at, side="left") - 1, 0, width.size - 1)
        here = self.rate(at)
        return np.asarray(total[k] + (at - self.n_tokens[k]) * (self.lr[k] + here) / 2)

    def rate(self, at: Array) -> Array:
        """The rate at `at` (G,) tokens; before a jump there, and the last rate beyond the end."""
        last = self.n_tokens.size - 2
        k = np.clip(np.searchsorted(self.n_tokens, at, side="left") - 1, 0, last)
        width = self.n_tokens[k + 1] - self.n_tokens[k]
        share = np.clip((at - self.n_tokens[k]) / np.maximum(width, 1e-300), 0.0, 1.0)
        return np.asarray(self.lr[k] + share * (self.lr[k + 1] - self.lr[k]))

    def lr_drop(self, at: Array, memory: float) -> Array:
        """S2: falls of the rate, each counted as long as it has been felt (G,) [lr * tokens].

        S2(t) = sum over falls d at u < t of d * memory * (1 - exp(-(t-u)/memory)). Rises after
        the warm-up count negative, the warm-up itself does not. With `memory` = batch/(1 - lambda)
        this is the sum of the momentum m_i = lambda m_(i-1) + fall_i, which starts at zero.

        Source: Tissue et al. 2024, arXiv:2408.11029.
        """
        return np.asarray(memory * self._felt(at, memory))

    def lr_smooth(self, at: Array, memory: float) -> Array:
        """The rate smoothed over the last `memory` tokens (G,): the peak less S2/memory [lr]."""
        peak = self.lr.max()
        return np.asarray(np.maximum(peak - self._felt(at, memory), LEAST * peak))

    def drops(self, at: Array) -> dict[str, Array]:
        """Single falls of the rate for each point (G, K'): their size, the rate, the sum since.

        `drop` d_k, `drop_lr` the rate after the fall (in the middle of a slow one) and `drop_sum`
        the lr sum from the fall on to the point; falls that lie ahead have size zero.

        Source: Luo et al. 2025, arXiv:2503.12811 (S_k(t) runs from k on).
        """
        a, b, fall, after = self._falls()
        start, end = a[None, :], np.minimum(b[None, :], at[:, None])
        jump = (b == a)[None, :]
        seen = np.where(jump, at[:, None] > start, end > start)
        share = np.where(jump, 1.0, (end - start) / np.where(jump, 1.0, (b - a)[None, :]))
        middle = np.where(seen, (start + end) / 2, at[:, None])
        since = self.lr_sum(at)[:, None] - self.lr_sum(middle.ravel()).reshape(middle.shape)
        return {
            "drop": np.where(seen, fall[None, :] * share, 0.0),
            "drop_lr": np.broadcast_to(after, middle.shape),
            "drop_sum": np.maximum(since, 0.0),
        }

    def _falls(self) -> tuple[Array, Array, Array, Array]:
        """Start, end, size of every change after the warm-up, and the rate in it or after it."""
        k = np.arange(self._peak, self.lr.size - 1)
        k = k[self.lr[k] != self.lr[k + 1]]
        a, b = self.n_tokens[k], self.n_tokens[k + 1]
        after = np.where(a == b, self.lr[k + 1], (self.lr[k] + self.lr[k + 1]) / 2)
        return a, b, self.lr[k] - self.lr[k + 1], np.maximum(after, LEAST * self.lr.max())

    def _felt(self, at: Array, memory: float) -> Array:
        """Sum (G,) of the falls, each times 1 - exp(-age/memory), averaged over a slow fall."""
        if not memory > 0:
            raise InputError(f"`memory > 0` must hold, but got {memory}. Give tokens.")
        a, b, fall, _ = self._falls()
        end = np.minimum(b[None, :], at[:, None])
        width = end - a[None, :]
        young = np.exp(-np.maximum(at[:, None] - end, 0.0) / memory)
        old = np.exp(-np.maximum(at[:, None] - a[None, :], 0.0) / memory)
        slow = width - memory * (young - old)
        length = (b - a)[None, :]
        share = np.where(length > 0, slow / np.where(length > 0, length, 1.0), 1 - old)
        return np.asarray((np.where(at[:, None] > a[None, :], share, 0.0) * fall).sum(axis=-1))
