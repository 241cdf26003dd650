"""`TrainSection`: how every rung of a study is trained."""

from dataclasses import dataclass
from typing import Literal

from isoflop.specs.parametrisation import OBEYED, Kind
from isoflop.specs.section import (
    MAX_LAYERS,
    MAX_TOKENS,
    MAX_WIDTH,
    Section,
    require,
    require_positive,
    require_within,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSection(Section):
    """How every rung is trained: lr = base_lr · (width/base_width)^lr_width_exponent, or by a
    parametrisation."""

    batch_tokens: int = 1024
    base_lr: float = 5e-3
    base_width: int = 64
    lr_width_exponent: float | None = None
    """Default -0.5 under `plain`, 0 under `standard`; `mup` and `completep` scale the rate."""
    parametrisation: Kind = "plain"
    """How initial weights, rates and multipliers follow width and depth; see docs/model.md."""
    base_depth: int | None = None
    """Depth at which `completep` is `mup`; default model.depth."""
    base_head_width: int | None = None
    """Width of a head at base_width; default that of the rung, or base_width/model.n_heads."""
    depth_exponent: float | None = None
    """Residual branches times (depth/base_depth)^-depth_exponent; default 1, CompleteP."""
    init_std: float | None = None
    """Standard deviation of the weights at base_width; default 0.02."""
    embedding_multiplier: float | None = None
    attention_multiplier: float | None = None
    output_multiplier: float | None = None
    lr_decay_exponent: float = 0.0
    """The trunk's rate falls as (lr_decay_from_tokens/t)^exponent: 0 is constant; the best rate
    falls with tokens, and a constant one makes short runs look worse than they are."""
    lr_decay_from_tokens: int = 100_000
    embedding_lr_factor: float = 1.0
    weight_decay: float = 0.1
    beta2: float = 0.95
    warmup_tokens: int | None = None
    """Default: min(N, 10 % of the ladder's shortest horizon), the held-out run included."""
    cooldown_fraction: float = 0.2
    schedule: Literal["wsd", "cosine"] = "wsd"
    """`wsd`: the horizons of a width cool down from one trunk; `cosine`: every (width, horizon) is
    a training of its own, whose rate falls along a cosine."""
    final_factor: float = 0.1
    """Share of the peak at which a cosine ends."""

    def __post_init__(self) -> None:
        require_within("train", self, "base_lr", 1e-12, 100)
        require(
            0 <= self.lr_decay_exponent <= 1,
            "train.lr_decay_exponent",
            self.lr_decay_exponent,
            "0 <= lr_decay_exponent <= 1",
            "Use 0 for a constant rate, 0.3 to 0.5 to follow the best rate down.",
        )
        require(
            0 <= self.beta2 < 1,
            "train.beta2",
            self.beta2,
            "0 <= beta2 < 1",
            "0.95 is usual; 0.99 for small batches.",
        )
        require_within("train", self, "batch_tokens", 1, MAX_TOKENS)
        require_within("train", self, "base_width", 1, MAX_WIDTH)
        require_within("train", self, "lr_width_exponent", -2, 2)
        self._check_parametrisation()
        require_within("train", self, "lr_decay_from_tokens", 1, MAX_TOKENS)
        require_within("train", self, "embedding_lr_factor", 1e-6, 1e6)
        require_within("train", self, "weight_decay", 0, 100)
        require_within("train", self, "warmup_tokens", 0, MAX_TOKENS)
        require(
            0 < self.cooldown_fraction < 1,
            "train.cooldown_fraction",
            self.cooldown_fraction,
            "0 < cooldown_fraction < 1",
            "0.2 is the field's habit.",
        )
        require_within("train", self, "final_factor", 0, 1)
        require(
            self.schedule == "wsd" or self.lr_decay_exponent == 0,
            "train.lr_decay_exponent",
            self.lr_decay_exponent,
            "lr_decay_exponent = 0 with schedule = 'cosine'",
            "A cosine has no other decay.",
        )

    def _check_parametrisation(self) -> None:
        kind = self.parametrisation
        require(
            self.lr_width_exponent is None or kind in ("plain", "standard"),
            "train.lr_width_exponent",
            self.lr_width_exponent,
            f"left out under parametrisation = {kind!r}",
            "The parametrisation scales the rate with width: keep one of the two.",
        )
        require_within("train", self, "base_depth", 1, MAX_LAYERS)
        require_within("train", self, "base_head_width", 1, MAX_WIDTH)
        require_within("train", self, "depth_exponent", 0.5, 1)
        require_within("train", self, "init_std", 1e-9, 1e3)
        for name in PARAMETRISED:
            value = getattr(self, name)
            require_positive("train", self, name)
            require(
                value is None or name in OBEYED[kind],
                f"train.{name}",
                value,
                f"left out under parametrisation = {kind!r}",
                "It would change nothing there.",
            )


PARAMETRISED = (
    "base_depth", "base_head_width", "depth_exponent", "init_std", "embedding_multiplier",
    "attention_multiplier", "output_multiplier",
)  # fmt: skip
"""Keys of [train] that are fields of `Parametrisation`."""
