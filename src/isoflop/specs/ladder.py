"""`LadderSection`: the pilots of a study, listed or made by a design from a few keys."""

from dataclasses import dataclass
from typing import Literal

from isoflop.specs.section import (
    MAX_LAYERS,
    MAX_TOKENS,
    MAX_WIDTH,
    Section,
    require,
    require_positive,
    require_within,
)

Design = Literal["explicit", "grid", "isoflop", "envelope", "ray", "large_d", "large_n"]
Family = Literal["baichuan2", "chinchilla", "pythia", "cerebras_gpt", "olmo"]

_SIZES = ("min_params", "max_params")
_SHAPES = ("aspect", "head_dim")

NEEDED: dict[str, tuple[str, ...]] = {
    "explicit": ("widths", "tokens"),
    "grid": (*_SIZES, "min_tokens", "max_tokens"),
    "isoflop": ("min_flops", "max_flops"),
    "envelope": _SIZES,
    "ray": _SIZES,
    "large_d": _SIZES,
    "large_n": ("max_params", "min_tokens", "max_tokens"),
    "family": (),
}
"""Keys that a design cannot do without."""

DEFAULTS: dict[str, dict[str, float]] = {
    "explicit": {},
    "grid": {"n_sizes": 5, "n_horizons": 4},
    # Source: Hoffmann et al. 2022, arXiv:2203.15556: 20 tokens a parameter (Table 3), horizons a
    # factor 16 apart (section 3.1).
    "isoflop": {"n_budgets": 3, "n_sizes": 5, "tokens_per_param": 20, "span": 16},
    "envelope": {"n_sizes": 5, "n_horizons": 4, "tokens_per_param": 20, "span": 16},
    "ray": {"n_sizes": 5, "tokens_per_param": 20},
    # Two horizons a factor 2 apart: what the longer one still gains is what data still bind.
    "large_d": {"n_sizes": 5, "n_horizons": 2, "tokens_per_param": 200, "span": 2},
    "large_n": {"n_horizons": 5, "tokens_per_param": 2},
    "family": {},
}
"""What a design does where its other keys are left out."""

_MORE: dict[str, tuple[str, ...]] = {
    "explicit": ("max_flops", "depths", "heads"),
    "isoflop": _SHAPES,
    "large_n": (*_SHAPES, "max_flops"),
    "family": ("max_flops", "tokens_per_param"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderSection(Section):
    """The pilots: widths crossed with token horizons, or a design made from a few keys."""

    design: Design = "explicit"
    """`explicit`: `widths` x `tokens`. `grid`: sizes x common horizons. `isoflop`: several sizes a
    budget, around its expected optimum. `envelope`: each size at long horizons around its own
    optimum. `ray`: one D/N. `large_d`: far more tokens than the sizes need, for L(N). `large_n`:
    one size, far larger than its tokens need, for L(D)."""
    family: Family | None = None
    """The shapes and tokens of a published ladder, in place of a design."""
    widths: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()
    """Horizons; each (width, tokens) pair within `max_flops` is a branch."""
    max_flops: float | None = None
    """Leave out pairs with 6·N·D above this; `isoflop`: the largest budget."""
    depths: tuple[int, ...] | None = None
    """Depth per width; default model.depth everywhere."""
    heads: tuple[int, ...] | None = None
    """Heads per width; default model.n_heads everywhere."""
    min_params: float | None = None
    max_params: float | None = None
    min_tokens: float | None = None
    max_tokens: float | None = None
    min_flops: float | None = None
    """`isoflop`: the smallest budget."""
    n_sizes: int | None = None
    """Sizes, evenly spaced in ln N; `isoflop`: a budget."""
    n_horizons: int | None = None
    n_budgets: int | None = None
    tokens_per_param: float | None = None
    """D/N of the expected optimum or of the ray; `large_d`: of the largest size; `large_n`: at
    most; a family's in place of the published tokens."""
    span: float | None = None
    """Largest over smallest: sizes of a budget (`isoflop`), horizons of a size (the others)."""
    aspect: float | None = None
    """Width over depth of a design's shapes; default: model.depth everywhere."""
    head_dim: int | None = None
    """Width of a head of a design's shapes; default: model.n_heads everywhere."""

    @property
    def kind(self) -> str:
        """`family`, or the design's name."""
        return "family" if self.family is not None else self.design

    def value(self, key: str) -> float:
        """A number of the design: the key's, or else the design's default."""
        given = getattr(self, key)
        return float(DEFAULTS[self.kind][key] if given is None else given)

    def __post_init__(self) -> None:
        require(
            self.family is None or self.design == "explicit",
            "ladder.family",
            self.family,
            "family or design, not both",
            "Leave one of the two out.",
        )
        self._check_keys()
        for key in ("widths", "tokens"):
            value = getattr(self, key)
            require(
                all(v > 0 for v in value) and len(set(value)) == len(value),
                f"ladder.{key}",
                value,
                "a list of distinct positive numbers",
                "List them.",
            )
        for key in ("depths", "heads"):
            value = getattr(self, key)
            require(
                value is None or len(value) == len(self.widths),
                f"ladder.{key}",
                value,
                "one entry per width",
                f"Give {len(self.widths)} entries or leave the key out.",
            )
        self._check_ranges()

    def _check_keys(self) -> None:
        """Nothing is missing, and no key is given that this design would not obey."""
        kind = self.kind
        for key in NEEDED[kind]:
            require(
                getattr(self, key) not in (None, ()),
                f"ladder.{key}",
                getattr(self, key),
                f"the key is given for {kind}",
                "Give it, or choose another ladder.design.",
            )
        more = _MORE.get(kind, (*_SHAPES, "max_flops"))
        known = {"design", "family", *NEEDED[kind], *DEFAULTS[kind], *more}
        for key in self.__dataclass_fields__:
            value = getattr(self, key)
            require(
                key in known or value in (None, ()),
                f"ladder.{key}",
                value,
                f"one of the keys of {kind}: {', '.join(sorted(known - {'design', 'family'}))}",
                "Remove the key, or choose another ladder.design.",
            )

    def _check_ranges(self) -> None:
        require_within("ladder", self, "widths", 1, MAX_WIDTH)
        require_within("ladder", self, "tokens", 1, MAX_TOKENS)
        require_within("ladder", self, "depths", 1, MAX_LAYERS)
        require_within("ladder", self, "heads", 1, MAX_WIDTH)
        require_within("ladder", self, "head_dim", 1, MAX_WIDTH)
        for key in ("min_params", "max_params", "min_tokens", "max_tokens"):
            require_within("ladder", self, key, 1, MAX_TOKENS)
        for key in ("n_sizes", "n_horizons", "n_budgets"):
            require_within("ladder", self, key, 1, 1000)
        require_within("ladder", self, "span", 1.01, 1e6)
        require_positive("ladder", self, "max_flops", "min_flops", "tokens_per_param", "aspect")
        for what in ("params", "tokens", "flops"):
            low, high = getattr(self, f"min_{what}"), getattr(self, f"max_{what}")
            require(
                low is None or high is None or low < high,
                f"ladder.min_{what}",
                low,
                f"min_{what} < max_{what} = {high}",
                "Correct one of the two.",
            )
