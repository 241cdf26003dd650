"""`Schedule`: the learning-rate factor of a training as a function of tokens seen."""

import math
from dataclasses import dataclass
from typing import Literal

from isoflop._errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Warm-up, hold, then a 1-sqrt cooldown over the last `cooldown_tokens` tokens.

    hold(t) = min(1, t/warmup) · min(1, (decay_from/t)^decay_exponent): constant for exponent 0,
    else falling as the best rate does with tokens, with no end to be known. From
    h = n_tokens - cooldown on: hold(h) · (1 - sqrt((t - h)/cooldown)).
    A trunk has `kind="trunk"` and no end: its length is what its branches need.

    Source: Hägele et al. 2024, arXiv:2405.18392, section 4 (cooldown "1-sqrt"); Shen et al. 2024,
    arXiv:2408.13359 (rate as a power of tokens).
    """

    kind: Literal["trunk", "wsd"]
    warmup_tokens: int
    decay_exponent: float = 0.0
    decay_from_tokens: int = 0
    n_tokens: int | None = None
    cooldown_tokens: int = 0

    def __post_init__(self) -> None:
        if self.warmup_tokens < 0:
            raise InputError(
                f"`warmup_tokens >= 0` must hold, but got {self.warmup_tokens}. Give a count."
            )
        if not 0 <= self.decay_exponent <= 1 or (
            self.decay_exponent and self.decay_from_tokens < 1
        ):
            raise InputError(
                "`0 <= decay_exponent <= 1` with decay_from_tokens >= 1 must hold, but got "
                f"decay_exponent={self.decay_exponent}, decay_from_tokens="
                f"{self.decay_from_tokens}. Use exponent 0 for a constant rate."
            )
        if self.kind == "trunk":
            assert self.n_tokens is None
            assert self.cooldown_tokens == 0
            return
        if self.n_tokens is None or not 0 < self.cooldown_tokens < self.n_tokens:
            raise InputError(
                "`0 < cooldown_tokens < n_tokens` must hold, but got "
                f"cooldown_tokens={self.cooldown_tokens}, n_tokens={self.n_tokens}. "
                "Give the run more tokens or a shorter cooldown."
            )
        if self.warmup_tokens > self.hold_tokens:
            raise InputError(
                f"the warm-up must end before the cooldown begins, but got warmup_tokens="
                f"{self.warmup_tokens}, cooldown from {self.hold_tokens} tokens. "
                "Shorten the warm-up or lengthen the run."
            )

    @property
    def hold_tokens(self) -> int:
        """Tokens seen when the cooldown begins."""
        assert self.n_tokens is not None
        return self.n_tokens - self.cooldown_tokens

    def factor(self, start: int, end: int) -> float:
        """Learning rate of the step from `start` to `end` tokens, as a share of the peak.

        Warm-up counts the step's own tokens, so that the first step is not wasted at zero.
        """
        if self.kind == "wsd" and start >= self.hold_tokens:
            share = (start - self.hold_tokens) / self.cooldown_tokens
            return self._hold(self.hold_tokens) * (1 - math.sqrt(share))
        return self._hold(end)

    def _hold(self, n_tokens: int) -> float:
        warmup = min(1.0, n_tokens / self.warmup_tokens) if self.warmup_tokens else 1.0
        if not self.decay_exponent:
            return warmup
        return warmup * min(1.0, math.pow(self.decay_from_tokens / n_tokens, self.decay_exponent))
