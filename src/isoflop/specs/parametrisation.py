"""`Parametrisation`: how initial weights, rates and multipliers follow width and depth.

With m_d = width/base_width, m_L = depth/base_depth and a = `depth_exponent` (σ is `init_std`):

| tensors | standard | mup, where it differs |
|---|---|---|
| embedding, positions | std σ, rate η, decay λ | |
| hidden matrices | std σ, rate η, decay λ | std σ/√m_d, rate η/m_d, decay λ·m_d |
| those that write to the stream | the same, std/√(2·depth) | the same, std/√(2·depth) |
| router of experts | std σ, rate η, decay λ | std σ/m_d, rate η/m_d, decay λ·m_d |
| head | std σ or 0, rate η, decay λ | logits/m_d |
| norms, biases | rate η, no decay | |
| attention logits | 1/√H | √H_base/H |

completep is mup with residual branches times m_L^-a, no √(2·depth), all rates in a layer times
m_L^(a-1), and Adam's eps ε/(m_d·m_L^a) in layers and ε/m_d elsewhere.

AdamW multiplies its decay by the rate, hence λ·m_d where the rate is η/m_d. A router maps width to
a constant, as the head does: its 1/m_d stands in its weights and rate instead of in a multiplier.

Source: Yang et al. 2022, arXiv:2203.03466, table 8 (mup); Dey et al. 2025, arXiv:2505.01618,
table 1 (completep).
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

from isoflop._errors import InputError
from isoflop.specs.shape import ModelShape

Kind = Literal["plain", "standard", "mup", "completep"]
Role = Literal[
    "embedding", "positions", "hidden", "residual", "router", "head", "vector", "final_vector"
]
"""How a parameter scales: `residual` is a hidden matrix whose product is added to the stream;
`vector` a gain, bias or shift in a layer; `final_vector` the gain and bias of the last norm."""

PLAIN_EMBEDDING_STD = 0.5
"""Of the `plain` kind. Its first RMS norm removes the scale, so it only sets how fast the
embedding turns relative to its learning rate."""


_ALL = (
    "kind", "init_std", "zero_head", "embedding_multiplier", "attention_multiplier",
    "output_multiplier",
)  # fmt: skip
OBEYED: Mapping[str, tuple[str, ...]] = {
    "plain": ("kind",),
    "standard": _ALL,
    "mup": (*_ALL, "base_width", "base_head_width"),
    "completep": (*_ALL, "base_width", "base_head_width", "base_depth", "depth_exponent"),
}
"""The fields that a kind looks at; another one that is set would change nothing."""


class Rule(NamedTuple):
    """Initial standard deviation, and factors of learning rate, weight decay and Adam's eps."""

    std: float
    lr: float
    weight_decay: float
    eps: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Parametrisation:
    """How initial weights, rates and multipliers of a training follow width and depth.

    `plain` is the pilots' own rule: fan-in weights, branches and head start at zero, one rate for
    all. At the base shape `standard` and `mup` are one and the same training.
    """

    kind: Kind = "plain"
    base_width: int = 64
    base_depth: int = 2
    base_head_width: int = 16
    depth_exponent: float = 1.0
    """a of completep: 1 is CompleteP, 0.5 depth-muP (Yang et al. 2023, arXiv:2310.02244)."""
    init_std: float = 0.02
    zero_head: bool = True
    """An untied head starts at zero: no difference between widths stems from its draw."""
    embedding_multiplier: float = 1.0
    attention_multiplier: float = 1.0
    output_multiplier: float = 1.0

    def __post_init__(self) -> None:
        counts = ("base_width", "base_depth", "base_head_width")
        multipliers = ("init_std", "embedding_multiplier", "attention_multiplier")
        for name in (*counts, *multipliers, "output_multiplier"):
            if not 0 < getattr(self, name) < 1e9:
                raise InputError(
                    f"`{name} > 0` must hold, but got {name}={getattr(self, name)}. "
                    "Give a positive number."
                )
        if not 0.5 <= self.depth_exponent <= 1:
            raise InputError(
                "`0.5 <= depth_exponent <= 1` must hold, but got "
                f"depth_exponent={self.depth_exponent}. 1 is CompleteP."
            )
        for one in fields(self):
            name = one.name
            if name not in OBEYED[self.kind] and getattr(self, name) != one.default:
                raise InputError(
                    f"{name} = {getattr(self, name)} changes nothing under "
                    f"parametrisation = {self.kind!r}. Leave it out, or choose another kind."
                )

    def rule(self, role: Role, shape: ModelShape) -> Rule:
        """How the parameters of a role start and are trained in a model of this shape."""
        if self.kind == "plain":
            return Rule(_plain_std(role, shape), 1.0, 1.0, 1.0)
        std = 0.0 if role == "head" and self.zero_head and not shape.tied_head else self.init_std
        if role == "residual" and self.kind != "completep":
            std /= (2 * shape.depth) ** 0.5
        if self.kind == "standard":
            return Rule(std, 1.0, 1.0, 1.0)
        m_d, lr, decay, eps = self.width_ratio(shape), 1.0, 1.0, 1.0
        if role in ("hidden", "residual", "router"):
            std /= m_d if role == "router" else m_d**0.5
            lr, decay = 1 / m_d, m_d
        if self.kind == "completep":
            eps = 1 / m_d
            if role not in ("embedding", "positions", "head", "final_vector"):
                lr *= self.depth_ratio(shape) ** (self.depth_exponent - 1)
                eps *= self.residual_scale(shape)
        return Rule(std, lr, decay, eps)

    def width_ratio(self, shape: ModelShape) -> float:
        """m_d = width / base_width."""
        return shape.width / self.base_width

    def depth_ratio(self, shape: ModelShape) -> float:
        """m_L = depth / base_depth."""
        return shape.depth / self.base_depth

    def residual_scale(self, shape: ModelShape) -> float:
        """Factor of every residual branch: m_L^-a under completep, else 1."""
        if self.kind != "completep":
            return 1.0
        return float(self.depth_ratio(shape) ** -self.depth_exponent)

    def attention_scale(self, shape: ModelShape) -> float:
        """Factor of q·k before the softmax.

        1/sqrt(H), or 1 with normed q and k: their gain is learned from there, sharp enough to
        copy. Under mup and completep that of the base head, times H_base/H.
        """
        head = shape.head_dim
        if self.kind in ("plain", "standard"):
            return self.attention_multiplier * (1.0 if shape.qk_norm else head**-0.5)
        base = self.base_head_width
        return self.attention_multiplier * (1.0 if shape.qk_norm else base**-0.5) * (base / head)

    def output_scale(self, shape: ModelShape) -> float:
        """Factor of the last hidden state before the head."""
        if self.kind == "plain":
            # A tied head starts random: 1/sqrt(D) keeps its first logits of order one.
            return shape.width**-0.5 / PLAIN_EMBEDDING_STD if shape.tied_head else 1.0
        if self.kind == "standard":
            return self.output_multiplier
        return self.output_multiplier / self.width_ratio(shape)


def _plain_std(role: Role, shape: ModelShape) -> float:
    if role in ("hidden", "router"):
        return float(shape.width**-0.5)
    return PLAIN_EMBEDDING_STD if role == "embedding" else 0.0
