"""`ShapeRule`: from a size to the decoder that has it, in round numbers that hardware likes."""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import gcd

from isoflop._errors import InputError
from isoflop.accounting.architecture import Architecture
from isoflop.accounting.checks import given, require_counts, require_positive
from isoflop.accounting.weights import count_weights

SMALL_VOCABULARY, LARGE_VOCABULARY = 32_768, 131_072
LARGE_FROM = 2e9
"""ASSUMPTION: parameters from which on a vocabulary of 2^17 is taken, as published models of 2024
and later do; below it 2^15."""

_MAX_WIDTH = 2**17
# Below each width the step of widths: heads of a wide model come in fours, or in eights.
_STEPS = ((256, 16), (1024, 64), (4096, 256), (16_384, 512))
_DEPTH_ROOM = 0.25
"""Depths of a width are tried up to this share around width / aspect: Llama 3 has 102 to 130."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeRule:
    """A family of decoders, Llama's by default: a width fixes depth, heads and MLP."""

    vocab_size: int | None = None
    """None: 32,768 below 2e9 parameters, 131,072 from there on."""
    context: int = 4096
    """Tokens of a training sequence."""
    aspect: float = 128.0
    """Width over depth. Llama 3: 128, 102, 130 at 8B, 70B, 405B."""
    head_dim: int = 128
    """Halved until a narrow model has at least four heads."""
    n_kv_heads: int | None = 8
    """Key heads (grouped queries), or as many of them as divide the heads; None: one a head."""
    ff_ratio: float = 3.5
    """Hidden width of the gated MLP over the width, rounded to 256. Llama 3: 3.5."""
    tied_head: bool = False

    def __post_init__(self) -> None:
        """Raise InputError where a number cannot be."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values.pop("tied_head")
        shares = {name: values.pop(name) for name in ("aspect", "ff_ratio")}
        require_counts(given(values))
        require_positive(shares)

    def shape(self, width: int, depth: int, vocab_size: int) -> Architecture:
        """The decoder of a width and a depth."""
        head_dim = self.head_dim
        while head_dim > 16 and width < 4 * head_dim:
            head_dim //= 2
        n_heads = max(1, width // head_dim)
        keys = n_heads if self.n_kv_heads is None else gcd(n_heads, self.n_kv_heads)
        step = 256 if width >= 1024 else 16
        return Architecture(
            name="planned model",
            n_layers=depth,
            width=width,
            n_heads=n_heads,
            n_kv_heads=keys,
            head_dim=head_dim,
            ff_width=max(step, step * round(self.ff_ratio * width / step)),
            vocab_size=vocab_size,
            tied_head=self.tied_head,
        )

    def nearest(self, n_params: float, convention: str = "non_embedding_with_head") -> Architecture:
        """The decoder whose N under `convention` is nearest to `n_params` in ln N.

        Args:
            n_params: what is wanted.
            convention: what N counts; "unknown" is taken as `non_embedding_with_head`.

        Raises:
            InputError: no decoder of the family is within a factor two of `n_params`.
        """
        vocabulary = self._vocabulary(n_params)
        found = min(
            (
                self.shape(width, depth, vocabulary)
                for width in self._widths(n_params, convention, vocabulary)
                for depth in self._depths(width)
            ),
            key=lambda one: abs_log(size_under(one, convention), n_params),
        )
        size = size_under(found, convention)
        if not n_params / 2 <= size <= 2 * n_params:
            raise InputError(
                f"no decoder of this family has N near {n_params:.4g}: the nearest, width "
                f"{found.width} and depth {found.n_layers}, has {size:.4g}. Give a smaller "
                "`vocab_size`, another `aspect` or another size."
            )
        return found

    def between(
        self, low: float, high: float, convention: str = "non_embedding_with_head"
    ) -> tuple[Architecture, ...]:
        """Every decoder with low <= N <= high, smallest first; empty where none is."""
        middle = (low * high) ** 0.5
        vocabulary, found = self._vocabulary(middle), {}
        for width in self._widths(middle, convention, vocabulary, spread=(high / low) ** 0.5):
            depths = self._depths(width)
            if size_under(self.shape(width, depths[-1], vocabulary), convention) < low:
                continue
            for depth in depths:
                shape = self.shape(width, depth, vocabulary)
                size = size_under(shape, convention)
                if size > high:
                    break  # N grows with depth
                if size >= low:
                    found[shape] = size
        return tuple(sorted(found, key=found.__getitem__))

    def _vocabulary(self, n_params: float) -> int:
        usual = LARGE_VOCABULARY if n_params >= LARGE_FROM else SMALL_VOCABULARY
        return self.vocab_size or usual

    def _widths(
        self, n_params: float, convention: str, vocabulary: int, spread: float = 1.0
    ) -> Iterator[int]:
        """Widths a few steps about that of a size."""
        middle = self._width(n_params, convention, vocabulary)
        # N grows at least as the width, so this reaches every N within `spread`.
        room = 1.15 * spread
        low, high = _rounded(middle / room), _rounded(middle * room)
        width = max(low - _step(low), _step(low))
        while width <= min(high + _step(high), _MAX_WIDTH):
            yield width
            width += _step(width)

    def _depths(self, width: int) -> range:
        """Depths about the usual one of a width."""
        usual = width / self.aspect
        first = max(1, round(usual * (1 - _DEPTH_ROOM)))
        return range(first, max(first, round(usual * (1 + _DEPTH_ROOM))) + 1)

    def _width(self, n_params: float, convention: str, vocabulary: int) -> int:
        """The width, by halving, whose usual depth gives at least N."""
        low, high = 16, _MAX_WIDTH
        while high - low > 16:
            middle = (low + high) // 32 * 16
            depth = max(1, round(middle / self.aspect))
            size = size_under(self.shape(middle, depth, vocabulary), convention)
            low, high = (low, middle) if size >= n_params else (middle, high)
        return high


def size_under(architecture: Architecture, convention: str) -> int:
    """N under a convention; "unknown" as `non_embedding_with_head`.

    Raises:
        InputError: the convention is not known.
    """
    taken = "non_embedding_with_head" if convention == "unknown" else convention
    return count_weights(architecture).under(taken)


def abs_log(found: float, wanted: float) -> float:
    """How far apart two sizes are, as a factor of at least 1."""
    return max(found / wanted, wanted / found)


def _step(width: int) -> int:
    """Widths come in steps that tensor cores and heads like."""
    return next((step for end, step in _STEPS if width < end), 1024)


def _rounded(width: float) -> int:
    step = _step(int(width))
    return max(step, step * round(width / step))
