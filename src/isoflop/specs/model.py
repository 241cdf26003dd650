"""`ModelSection`: what all models of a study share."""

from dataclasses import dataclass
from typing import Any

from isoflop.specs.section import (
    MAX_LAYERS,
    MAX_WIDTH,
    Section,
    require_within,
)
from isoflop.specs.shape import PRESETS, Mlp, Norm, Positions, Preset


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSection(Section):
    """What all models of the ladder share; the width alone grows (see `shape_confounded`)."""

    preset: Preset | None = None
    """A published family, which sets every key below that is left out; see docs/model.md."""
    depth: int = 2
    n_heads: int = 4
    n_kv_heads: int | None = None
    """Heads of keys and values, each shared by n_heads/n_kv_heads queries; default n_heads."""
    context: int = 128
    ff_ratio: float | None = None
    """ff_width = ff_ratio · width, of each expert; default 4, `llama` 8/3."""
    ff_multiple: int | None = None
    """ff_width is rounded up to a multiple of this; default 1 (rounded to the nearest), `llama`
    16."""
    mlp: Mlp | None = None
    """Default `relu2`."""
    positions: Positions | None = None
    """Default `rope`."""
    qk_norm: bool | None = None
    """Default true; no preset has it."""
    token_shift: bool | None = None
    """Learned one-token shift before attention: default true; no preset has it."""
    tied_head: bool | None = None
    """Default false; `gpt2` ties."""
    norm: Norm | None = None
    """Default `rms`."""
    norm_eps: float | None = None
    """Default the machine epsilon; presets 1e-5."""
    bias: bool | None = None
    """Biases in attention, MLP and layer norms; default false."""
    rope_base: float | None = None
    """Default 10000."""
    embedding_norm: bool | None = None
    """RMS norm right after the embedding: default true; no preset has it."""
    n_experts: int = 0
    """Routed experts a layer, a mixture of experts; 0: a dense MLP."""
    n_active_experts: int = 2
    """Routed experts that a token passes through."""
    n_shared_experts: int = 0
    """Experts that every token passes through."""
    balance_coefficient: float = 0.01
    """Weight of the load-balancing loss, which is in no reported loss."""

    def __post_init__(self) -> None:
        require_within("model", self, "depth", 1, MAX_LAYERS)
        require_within("model", self, "n_heads", 1, MAX_WIDTH)
        require_within("model", self, "n_kv_heads", 1, MAX_WIDTH)
        require_within("model", self, "ff_ratio", 0.01, 1000)
        require_within("model", self, "ff_multiple", 1, MAX_WIDTH)
        require_within("model", self, "context", 1, 10**7)
        require_within("model", self, "norm_eps", 1e-12, 0.1)
        require_within("model", self, "rope_base", 1.01, 1e9)
        require_within("model", self, "n_experts", 0, 10**4)
        require_within("model", self, "n_active_experts", 1, 10**4)
        require_within("model", self, "n_shared_experts", 0, 100)
        require_within("model", self, "balance_coefficient", 0, 10)

    def ff_width(self, width: int) -> int:
        """Hidden width of the MLP of a model of this width."""
        llama = self.preset == "llama"
        ratio = self.ff_ratio if self.ff_ratio is not None else 8 / 3 if llama else 4.0
        multiple = self.ff_multiple if self.ff_multiple is not None else 16 if llama else 1
        plain = round(ratio * width)
        return plain if multiple == 1 else -(-plain // multiple) * multiple

    def kind(self) -> dict[str, Any]:
        """Fields of `ModelShape` other than sizes: what is given, else the preset's."""
        given = {name: getattr(self, name) for name in _KIND}
        preset = PRESETS[self.preset] if self.preset is not None else {}
        return {**preset, **{name: value for name, value in given.items() if value is not None}}


_KIND = (
    "n_kv_heads", "mlp", "positions", "qk_norm", "token_shift", "tied_head", "norm", "norm_eps",
    "bias", "rope_base", "embedding_norm", "n_experts", "n_active_experts", "n_shared_experts",
    "balance_coefficient",
)  # fmt: skip
