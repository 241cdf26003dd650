"""`Caps`: the largest size, tokens and training compute that a plan may have, and what set them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, inf, log

from isoflop.accounting import FLOPS_PER_PARAM_TOKEN

_AT = 1e-4
"""A cap binds where the plan lies this close below it, in logs: what searches leave."""

UNITS = {
    "log_params": "parameters",
    "log_tokens": "tokens",
    "log_flops": "FLOPs of training",
}
"""What each cap counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """Upper ends that a plan must keep; inf where there is none."""

    log_params: float = inf
    """ln of the most parameters, counted as the law counts them."""
    log_tokens: float = inf
    """ln of the most training tokens."""
    log_flops: float = inf
    """ln of the most training FLOPs, 6·N·D."""
    names: Mapping[str, str] = field(default_factory=dict)
    """By field, what set it, in the user's words: {"log_params": "max_token_s"}."""

    def tightened(self, name: str, value: float, by: str) -> "Caps":
        """These caps with ln `value` on `name`, set by `by`, where it is the tighter one."""
        if value >= getattr(self, name):
            return self
        ends = {one: getattr(self, one) for one in UNITS} | {name: value}
        return Caps(**ends, names={**self.names, name: by})

    def without(self, name: str) -> "Caps":
        """These caps but one."""
        ends = {one: getattr(self, one) for one in UNITS} | {name: inf}
        return Caps(**ends, names=self.names)

    def binding(self, log_params: float, log_tokens: float) -> tuple[str, ...]:
        """What set the caps that a run of ln N and ln D meets."""
        values = (log_params, log_tokens, log(FLOPS_PER_PARAM_TOKEN) + log_params + log_tokens)
        return tuple(
            self.name_of(name)
            for name, value in zip(UNITS, values, strict=True)
            if value > getattr(self, name) - _AT
        )

    def name_of(self, name: str) -> str:
        """What set a cap; its own name where nobody said."""
        return self.names.get(name, f"the cap of {UNITS[name]}")

    @property
    def words(self) -> str:
        """The caps for people: "at most 2e10 parameters (max_token_s), ..."; empty without any."""
        return ", ".join(
            f"at most {exp(getattr(self, name)):.3g} {unit} ({self.name_of(name)})"
            for name, unit in UNITS.items()
            if getattr(self, name) < inf
        )


NO_CAPS = Caps()
