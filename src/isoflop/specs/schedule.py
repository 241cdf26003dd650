"""`Schedule`: the learning-rate factor of a training as a function of tokens seen."""

import math
from dataclasses import dataclass
from typing import Literal

from isoflop._errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Learning-rate factor: a trunk, a trunk with its cooldown (`wsd`), or one cosine.

    hold(t) = min(1, t/warmup) · min(1, (decay_from/t)^decay_exponent): constant for exponent 0,
    else falling as the best rate does with tokens, with no end to be known. From
    h = n_tokens - cooldown on: hold(h) · (1 - sqrt((t - h)/cooldown)).
    A trunk has `kind="trunk"` and no end: its length is what its branches need. A cosine knows its
    end from its first step: f + (1 - f) · (1 + cos(pi · (t - w)/(n_tokens - w)))/2 after the
    warm-up w, with f = `final_factor`.

    Source: Hägele et al. 2024, arXiv:2405.18392, section 4 (cooldown "1-sqrt"); Shen et al. 2024,
    arXiv:2408.13359 (rate as a power of tokens); Loshchilov and Hutter 2016, arXiv:1608.03983,
    eq. 5 (cosine).
    """

    kind: Literal["trunk", "wsd", "cosine"]
    warmup_tokens: int
    decay_exponent: float = 0.0
    decay_from_tokens: int = 0
    n_tokens: int | None = None
    cooldown_tokens: int = 0
    final_factor: float = 0.1
    """Where a cosine ends, as a share of the peak. A tenth is what the published laws were fitted
    on (Hoffmann et al. 2022, arXiv:2203.15556, appendix B)."""

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
        elif self.kind == "cosine":
            self._check_cosine()
        else:
            self._check_cooldown()

    def _check_cosine(self) -> None:
        if self.n_tokens is None or not self.warmup_tokens < self.n_tokens:
            raise InputError(
                "`warmup_tokens < n_tokens` must hold, but got "
                f"warmup_tokens={self.warmup_tokens}, n_tokens={self.n_tokens}. "
                "Shorten the warm-up or lengthen the run."
            )
        if self.cooldown_tokens or self.decay_exponent:
            raise InputError(
                "a cosine has no other decay, but got "
                f"cooldown_tokens={self.cooldown_tokens}, decay_exponent={self.decay_exponent}. "
                "Leave both at 0, or use kind = 'wsd'."
            )
        if not 0 <= self.final_factor <= 1:
            raise InputError(
                f"`0 <= final_factor <= 1` must hold, but got {self.final_factor}. 0.1 is usual."
            )

    def _check_cooldown(self) -> None:
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
        if self.kind == "cosine" and start >= self.warmup_tokens:
            assert self.n_tokens is not None
            share = (start - self.warmup_tokens) / (self.n_tokens - self.warmup_tokens)
            half = (1 + math.cos(math.pi * min(share, 1.0))) / 2
            return self.final_factor + (1 - self.final_factor) * half
        if self.kind == "wsd" and start >= self.hold_tokens:
            share = (start - self.hold_tokens) / self.cooldown_tokens
            return self._hold(self.hold_tokens) * (1 - math.sqrt(share))
        return self._hold(end)

    def _hold(self, n_tokens: int) -> float:
        warmup = min(1.0, n_tokens / self.warmup_tokens) if self.warmup_tokens else 1.0
        if not self.decay_exponent:
            return warmup
        return warmup * min(1.0, math.pow(self.decay_from_tokens / n_tokens, self.decay_exponent))
