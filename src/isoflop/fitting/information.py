"""What candidate runs would teach: covariances over all laws still alive, updated run by run.

Linear Bayes on draws: the covariance of candidates' and target's log predictions over the draws
of every law (each as often as its weight says) is the prior; between laws counts, so a run that
tells laws apart is worth as much as it moves the target. Observing a run with noise updates it in
closed form, before the run exists.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array
from isoflop.laws import Component, Estimate

SHARED_NOISE = 0.7
"""ASSUMPTION: share of a run's noise variance that branches of one trunk have in common; they
share most of their training (see `noise.PRIOR_RATIO`)."""

LEAST_NOISE = 1e-4
"""Noise of a run, at least: exact data would make every run tell everything."""

TAIL = 0.01
"""Draws are cut at these quantiles: single far draws must not be what a design is made for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Beliefs:
    """Prior of G candidates and K goals, all logs."""

    covariance: Array
    """(G, G) of the candidates' true losses before any was run, a trunk's noise included."""
    cross: Array
    """(K, G) of goals with candidates."""
    variance: Array
    """(K,) of the goals."""
    own_noise: float
    """Variance of a run's noise that its trunk does not share."""
    learnt: Array
    """(S, G): the covariance now is `covariance - learnt' learnt`, one row for each run made."""

    def gain(self) -> Array:
        """(K, G) by how much each candidate alone would lower each goal's variance."""
        left = np.diag(self.covariance) - (self.learnt**2).sum(axis=0)
        return np.asarray(self.cross**2 / (np.maximum(left, 0.0) + self.own_noise))

    def after(self, which: int) -> "Beliefs":
        """The beliefs once that candidate has been run."""
        # Only the column that is observed is brought up to date: a design takes many steps.
        column = self.covariance[:, which] - self.learnt[:, which] @ self.learnt
        size = max(float(column[which]), 0.0) + self.own_noise
        gone = self.cross[:, which]
        return replace(
            self,
            learnt=np.concatenate([self.learnt, column[None] / np.sqrt(size)]),
            cross=self.cross - np.outer(gone, column) / size,
            variance=np.maximum(self.variance - gone**2 / size, 0.0),
        )


def pooled(estimate: Estimate, value: Callable[[Component], Array]) -> Array:
    """`value` (B, ...) of every law's draws, each law as often as its weight; tails cut.

    Raises:
        InputError: the estimate has too few draws to say how sure it is (published constants).
    """
    parts = []
    for component in estimate.components:
        count = round(component.weight * max(len(c.draws) for c in estimate.components))
        if count:
            values = value(component)
            parts.append(values[np.arange(count) % len(values)])
    everything = np.concatenate(parts)
    if max(len(c.draws) for c in estimate.components) < 20:
        raise InputError(
            "`draws >= 20` must hold, but the estimate has the constants alone. Fit runs of your "
            "own, or give None for a first design."
        )
    low, high = np.quantile(everything, [TAIL, 1 - TAIL], axis=0)
    return np.asarray(np.clip(everything, low, high))


def make_beliefs(
    estimate: Estimate,
    sizes: Array,
    tokens: Array,
    goals: Array,
    goal_distance: tuple[float, ...],
) -> Beliefs:
    """The prior over candidates (G,) of the given sizes and tokens, and goals (S, K).

    Beyond the fitted compute every law is also wrong by an error of its own, whose sd grows with
    log distance as the back-test showed. Its increments are taken as independent: a run half-way
    takes away the error up to there, and no more. `goal_distance` (K,) says how far each goal is.
    """
    columns = {"n_params": sizes, "n_tokens": tokens}
    draws = pooled(estimate, lambda c: np.log(c.law.predict(c.draws, columns)))
    together = np.concatenate([draws, goals], axis=1)
    joint = np.cov(together, rowvar=False)
    count = sizes.size
    slope = (estimate.spread / estimate.spread_distance) ** 2
    far = _compute_distance(estimate, sizes * tokens)
    outer = np.minimum(far[:, None], far[None, :]) ** 2
    noise = max(estimate.sigma, LEAST_NOISE) ** 2
    same = (sizes[:, None] == sizes[None, :]).astype(np.float64)
    ahead = np.array(goal_distance)
    return Beliefs(
        covariance=joint[:count, :count] + slope * outer + SHARED_NOISE * noise * same,
        cross=joint[count:, :count] + slope * np.minimum(far[None, :], ahead[:, None]) ** 2,
        variance=np.diag(joint)[count:] + slope * ahead**2,
        own_noise=(1 - SHARED_NOISE) * noise,
        learnt=np.empty((0, count)),
    )


def _compute_distance(estimate: Estimate, product: Array) -> Array:
    """Log distance of N D beyond the dearest run; 0 where no runs are known."""
    known = estimate.ranges.get("n_params*n_tokens")
    if known is None:
        return np.zeros(product.shape)
    return np.asarray(np.maximum(np.log(product / known[1]), 0.0))
