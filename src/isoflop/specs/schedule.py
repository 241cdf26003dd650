"""`Schedule`: the learning-rate factor of a training as a function of tokens seen."""

import math
from dataclasses import dataclass
from typing import Literal

from isoflop._errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Warm-up, constant, then a 1-sqrt cooldown over the last `cooldown_tokens` tokens.

    factor(t) = min(1, t/warmup), and 1 - sqrt((t - hold)/cooldown) from hold = n_tokens - cooldown.
    A trunk has `kind="constant"` and no end: its length is what its branches need.

    Source: Hägele et al. 2024, arXiv:2405.18392, section 4 (cooldown "1-sqrt").
    """

    kind: Literal["constant", "wsd"]
    warmup_tokens: int
    n_tokens: int | None = None
    cooldown_tokens: int = 0

    def __post_init__(self) -> None:
        if self.warmup_tokens < 0:
            raise InputError(
                f"`warmup_tokens >= 0` must hold, but got {self.warmup_tokens}. Give a count."
            )
        if self.kind == "constant":
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
            return 1 - math.sqrt((start - self.hold_tokens) / self.cooldown_tokens)
        return min(1.0, end / self.warmup_tokens) if self.warmup_tokens else 1.0
