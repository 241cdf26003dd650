"""From a forecast of loss to a forecast of accuracy, with the uncertainty of both steps.

What to use when:
- `fit_task`: a ladder with `bpb_<task>` and `acc_<task>`; both steps with their defaults.
- `chain`: two fits of your own, such as error on a validation loss (Gadre).
- `pass_rate_target`: counts of solved samples -> GPT-4's target, a power law of compute.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from isoflop._errors import FitError, InputError
from isoflop._types import LEVEL, Array, Prediction, Problem, Table
from isoflop.fitting.chosen_law import LawChoice
from isoflop.fitting.fit import fit
from isoflop.fitting.fit_result import Fit
from isoflop.fitting.table import column_names
from isoflop.laws.estimate import SPREAD_FREEDOM, Estimate, Of

SAMPLES = 4000

SAMPLE_SEED = 7
"""Step two draws from another stream than step one: their errors are taken as independent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Two steps: `first` predicts a loss from e.g. (N, D), `second` the score from that loss."""

    first: Estimate
    second: Estimate

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Every problem of both steps, once."""
        return tuple(dict.fromkeys((*self.first.problems, *self.second.problems)))

    def predict(
        self, inputs: Mapping[str, ArrayLike], of: Of = "run", level: float | None = None
    ) -> Prediction:
        """Predicted score in [0, 1] with an interval that carries both steps' uncertainty.

        Losses are drawn from the first step (law, draws, noise, spread) and each goes through a
        draw of the second. The mean is the second law at the first's mean.

        Args:
            inputs: columns of equal length (G,) of the first step.
            of: "run" for a new run, "mean" for the two laws.
            level: level of the interval; the first estimate's own when None.

        Raises:
            InputError: a column is missing, not positive, or of another length.
        """
        level = self.first.level if level is None else level
        first = self.first.predict(inputs, of=of, level=level)
        second = self.second.predict({"loss": first.mean}, of="mean", level=level)
        losses = self.first.sample(inputs, SAMPLES, of=of)
        scores = _second_step(self.second, losses, of)
        low, high = np.quantile(scores, [(1 - level) / 2, (1 + level) / 2], axis=0)
        mean = np.clip(second.mean, 0.0, 1.0)
        return Prediction(
            mean=mean,
            low=np.clip(np.minimum(low, mean), 0.0, 1.0),
            high=np.clip(np.maximum(high, mean), 0.0, 1.0),
            level=level,
            problems=tuple(dict.fromkeys((*first.problems, *second.problems))),
        )


def chain(first: Fit | Estimate, second: Fit | Estimate) -> Chain:
    """Join a law of loss and a law of score on loss into one prediction.

    Args:
        first: predicts the loss on the task, from whatever its law takes.
        second: predicts accuracy or error; its one input is `loss`.

    Raises:
        InputError: the second step takes something else than `loss`.

    Source: Bhagia et al. 2024, arXiv:2412.04403; Llama 3, arXiv:2407.21783, sec. 3.2.1.
    """
    one, two = (step.estimate if isinstance(step, Fit) else step for step in (first, second))
    if two.inputs != ("loss",):
        raise InputError(
            f"`second.inputs == ('loss',)` must hold, but got {two.inputs}. "
            f"Fit sigmoid_to_one, sigmoid or error_on_loss to a table with the column loss."
        )
    return Chain(first=one, second=two)


def fit_task(
    table: Table,
    task: str,
    *,
    law: LawChoice = "chinchilla",
    level: float = LEVEL,
    n_draws: int = 500,
    seed: int = 0,
) -> Chain:
    """Fit both steps of one task: bits per byte of the right answer, then accuracy on them.

    Step one is `fit(table, target="bpb_<task>", law=law)`, step two `sigmoid_to_one` on the same
    rows. The law of step one is the paper's: a single task's loss is too noisy for a dozen runs
    to choose among laws.

    Args:
        table: columns `n_params`, `n_tokens`, `bpb_<task>` [bits/byte] and `acc_<task>` in (0, 1];
            optionally `trunk`, `run`, `kind`.
        task: the task's name as in the columns.
        law: step one's law, as in `fit`.
        level: level of every interval.
        n_draws: draws of the parameters.
        seed: the same seed gives the same numbers.

    Raises:
        FitError: a column or value is missing or wrong, or there are too few rows.

    Source: Bhagia et al. 2024, arXiv:2412.04403.
    """
    loss, accuracy = f"bpb_{task}", f"acc_{task}"
    if loss not in table or accuracy not in table:
        raise FitError(
            f"The table must have the columns {loss!r} and {accuracy!r}, but it has "
            f"{', '.join(sorted(column_names(table)))}. Add them, or name another task."
        )
    first = fit(table, target=loss, law=law, level=level, n_draws=n_draws, seed=seed)
    kept = [name for name in ("trunk", "run", "kind", accuracy) if name in table]
    pair = {**{name: table[name] for name in kept}, "loss": table[loss]}
    second = fit(
        pair, target=accuracy, law="sigmoid_to_one", level=level, n_draws=n_draws, seed=seed
    )
    return chain(first, second)


def pass_rate_target(solved: ArrayLike, samples: ArrayLike) -> Array:
    """`-mean_P log(solved/samples)` of every model (R,) [nats]: fit `power` to it over `flops`.

    Take many samples a problem: the log of a rate from n samples is too low by about
    (1 - p)/(2 n p). Restrict the problems to those that every model solves at least once; adding
    a small number to a zero would let that number set the law.

    Args:
        solved: (R, P) how many samples of each model solved each problem.
        samples: how many samples were drawn, a number or (R, P).

    Raises:
        InputError: a problem was never solved by some model, or counts are impossible.

    Source: OpenAI 2023 (GPT-4), arXiv:2303.08774, sec. 3.2.
    """
    counts = np.asarray(solved, dtype=np.float64)
    if counts.ndim != 2 or counts.size == 0:
        raise InputError(
            f"`solved` must be a table of models by problems, but got shape {counts.shape}. "
            f"Give one row a model."
        )
    drawn = np.broadcast_to(np.asarray(samples, dtype=np.float64), counts.shape)
    for bad, what in (
        (~np.isfinite(counts) | ~np.isfinite(drawn) | (counts > drawn), "solved <= samples"),
        (counts <= 0, "solved > 0"),
    ):
        if bad.any():
            model, problem = (int(i) for i in np.argwhere(bad)[0])
            raise InputError(
                f"`{what}` must hold, but got solved={counts[model, problem]:g} of "
                f"{drawn[model, problem]:g} for model {model}, problem {problem}. "
                f"Draw more samples, or leave that problem out for all models."
            )
    return np.asarray(-np.log(counts / drawn).mean(axis=1))


def _second_step(estimate: Estimate, losses: Array, of: Of) -> Array:
    """Scores (S, G): each row of losses (S, G) meets one draw of the second law and its noise."""
    rng = np.random.default_rng(SAMPLE_SEED)
    size = len(losses)
    which = rng.choice(len(estimate.components), size, p=[c.weight for c in estimate.components])
    scores = np.empty_like(losses)
    for number, component in enumerate(estimate.components):
        rows = np.flatnonzero(which == number)
        theta = component.draws[rng.integers(len(component.draws), size=rows.size)]
        scores[rows] = component.law.predict(theta, {"loss": losses[rows]})
    if of == "mean":
        return scores
    far = estimate.distance({"loss": losses}) / estimate.spread_distance
    noise = estimate.sigma * rng.standard_normal((size, 1))
    noise = noise + estimate.spread * far * rng.standard_t(SPREAD_FREEDOM, (size, 1))
    return np.asarray(scores * np.exp(noise))
