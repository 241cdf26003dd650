"""`Caps`: what a plan may not exceed, in logs, and which wish set each."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf


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


NO_CAPS = Caps()
