"""`Caps`: what a plan may not exceed, in logs, and which wish set each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import exp, inf, log

from isoflop.accounting import FLOPS_PER_PARAM_TOKEN

_AT = 1e-4
"""A cap binds where a searched plan lies this close below it, in logs."""

UNITS = {
    "log_params": "parameters",
    "log_tokens": "tokens",
    "log_flops": "FLOPs of training",
}
"""What each cap counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """Upper ends of ln N, ln D and ln 6ND; infinite where there is none."""

    log_params: float = inf
    log_tokens: float = inf
    log_flops: float = inf
    names: Mapping[str, str] = field(default_factory=dict)
    """Which wish set each of the fields above, such as `max_days` for `log_flops`."""

    def name(self, field_name: str) -> str:
        """The wish behind a field; the field's own name where none is told."""
        return self.names.get(field_name, field_name)

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

    def met(self, log_params: float, log_tokens: float) -> tuple[str, ...]:
        """The wishes behind the caps that a searched run of ln N and ln D meets."""
        values = (log_params, log_tokens, log(FLOPS_PER_PARAM_TOKEN) + log_params + log_tokens)
        return tuple(
            self.name(name)
            for name, value in zip(UNITS, values, strict=True)
            if value > getattr(self, name) - _AT
        )

    @property
    def words(self) -> str:
        """The caps for people: "at most 2e10 parameters (max_token_s), ..."; empty without any."""
        return ", ".join(
            f"at most {exp(getattr(self, name)):.3g} {unit} ({self.name(name)})"
            for name, unit in UNITS.items()
            if getattr(self, name) < inf
        )


NO_CAPS = Caps()
