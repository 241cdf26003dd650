"""`Rate`: the learning rate and batch of a rung, by the rule of `[train]` or by a tuned law."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np

from isoflop._errors import InputError
from isoflop.accounting import count_params
from isoflop.ladders.scaling import base_rate
from isoflop.specs import ModelShape, StudyConfig

DIGITS = 4
"""Significant digits of a tuned rate: more would make run ids of noise."""

LEAST_COOLDOWN = 4
"""Batches that the shortest cooldown of a rung has at least."""


class Rate(NamedTuple):
    """What a trunk is trained with."""

    lr: float
    batch_tokens: int


RateRule = Callable[[ModelShape, Sequence[int]], Rate]
"""The rate of a shape whose branches end at the given horizons."""


def batch_unit(config: StudyConfig) -> int:
    """Tokens that every batch of a study is a multiple of: a micro-batch, or a sequence."""
    micro = config.launch.micro_batch_tokens
    return micro if isinstance(micro, int) and micro else config.model.context


def train_rule(config: StudyConfig) -> RateRule:
    """The rate of `[train]` (`base_rate`) at train.batch_tokens."""
    train = config.train

    def rate(shape: ModelShape, _horizons: Sequence[int]) -> Rate:
        return Rate(base_rate(train, shape.width), train.batch_tokens)

    return rate


@dataclass(frozen=True, slots=True, kw_only=True)
class TunedLaw:
    """ln lr* and ln B* linear in (1, ln N, ln D), and the bowl around them."""

    lr: tuple[float, float, float]
    batch_tokens: tuple[float, float, float]
    curvature: tuple[tuple[float, float], tuple[float, float]]
    """H: ln loss rises by z'Hz/2 at z = (ln lr/lr*, ln B/B*)."""
    batches: tuple[int, int]
    """Smallest and largest batch that were swept: the law is not followed beyond them."""

    def best(self, n_params: float, n_tokens: float) -> tuple[float, float]:
        """ln lr* and ln B* at (N, D)."""
        at = np.array([1.0, np.log(n_params), np.log(n_tokens)])
        return float(at @ np.array(self.lr)), float(at @ np.array(self.batch_tokens))

    def lr_given(self, n_params: float, n_tokens: float, batch_tokens: float) -> float:
        """The best rate at a batch: ln lr = ln lr* - H12/H11 (ln B - ln B*)."""
        log_lr, log_batch = self.best(n_params, n_tokens)
        ratio = self.curvature[0][1] / self.curvature[0][0]
        return float(np.exp(log_lr - ratio * (np.log(batch_tokens) - log_batch)))

    def rule(self, config: StudyConfig) -> RateRule:
        """Rates of the law at the middle (in ln D) of a rung's horizons: a trunk has one rate.

        The batch is whole in contexts and micro-batches, within what was swept, and leaves the
        shortest cooldown `LEAST_COOLDOWN` batches.
        """
        assert config.tune is not None
        takes_batch = config.tune.batch
        unit = batch_unit(config)

        def rate(shape: ModelShape, horizons: Sequence[int]) -> Rate:
            n_params = count_params(shape).under("active")
            middle = float(np.sqrt(float(min(horizons)) * float(max(horizons))))
            batch = config.train.batch_tokens
            if takes_batch:
                longest = config.train.cooldown_fraction * min(horizons) / LEAST_COOLDOWN
                low, high = self.batches
                wish = float(np.clip(np.exp(self.best(n_params, middle)[1]), low, high))
                batch = max(1, round(min(wish, longest) / unit)) * unit
            return Rate(_rounded(self.lr_given(n_params, middle, batch)), batch)

        return rate

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> "TunedLaw":
        """The law that `to_json` wrote.

        Raises:
            InputError: not such data.
        """
        try:
            return TunedLaw(
                lr=_triple(data["lr"]),
                batch_tokens=_triple(data["batch_tokens"]),
                curvature=(_pair(data["curvature"][0]), _pair(data["curvature"][1])),
                batches=(int(data["batches"][0]), int(data["batches"][1])),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise InputError(f"not a tuned law ({error}).") from error


def _triple(values: Sequence[float]) -> tuple[float, float, float]:
    first, second, third = map(float, values)
    return first, second, third


def _pair(values: Sequence[float]) -> tuple[float, float]:
    first, second = map(float, values)
    return first, second


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
