"""What serving a token costs at every size: a curve of USD from replicas that could be rented.

What to use when: `serving_curve` once for a wish, then `Demand(tokens=..., curve=...)`;
`largest_served` for the cap alone; `replica` for one decoder.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import gcd, inf, lcm, log

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array
from isoflop.accounting import (
    Accelerator,
    Architecture,
    InferenceCost,
    Serving,
    ShapeRule,
    inference_cost,
    size_under,
)
from isoflop.accounting.shape_rule import LARGE_FROM, LARGE_VOCABULARY, SMALL_VOCABULARY

_WIDTHS = (128, 40_960)
_RATIO = 1.07
"""From one width that is priced to the next, at least."""
_NODE = 8
"""Devices of a node, over which heads should split."""
_ROOM = 0.1
"""Around a size, in ln N, the decoder is chosen whose heads split over most devices."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingWish:
    """What a model will be asked and on what; which model is the plan's to find."""

    accelerator: Accelerator
    input_tokens: int
    """Tokens of a request's prompt."""
    output_tokens: int
    """Tokens of its answer."""
    max_token_s: float | None = None
    """Longest median time for each next token [s]; None: any."""
    max_first_token_s: float | None = None
    """Longest median time to the first token of a request that need not queue [s]; None: any."""
    n_devices: int | None = None
    """Of a replica; None: whichever power of two up to a node makes a token cheapest."""
    weight_bytes: float = 2.0
    kv_value_bytes: float = 2.0
    utilisation: float = 0.5
    """Share of the paid hours' full throughput that is used, over day and night."""
    price_usd_per_hour: tuple[float, float] | None = None
    """Lowest and highest rent of a device; None: the accelerator's."""
    rule: ShapeRule = field(default_factory=ShapeRule)
    """The family of decoders."""

    def __post_init__(self) -> None:
        limit = self.max_first_token_s
        if limit is not None and not 0 < limit < inf:
            raise InputError(
                f"`max_first_token_s > 0` must hold, but got max_first_token_s={limit}. "
                "Leave it out where any wait will do."
            )

    @property
    def split(self) -> int:
        """What heads should be a multiple of: devices of a node and of a replica."""
        return lcm(_NODE, self.n_devices or 1)

    def serving(self, architecture: Architecture) -> Serving:
        """A decoder that is served as wished.

        Raises:
            InputError: a number of the wish cannot be.
        """
        return Serving(
            architecture=architecture,
            accelerator=self.accelerator,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            n_devices=self.n_devices,
            max_token_s=self.max_token_s,
            weight_bytes=self.weight_bytes,
            kv_value_bytes=self.kv_value_bytes,
            utilisation=self.utilisation,
            price_usd_per_hour=self.price_usd_per_hour,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCurve:
    """USD a served token against size, at median prices and speeds; K sizes."""

    wish: ServingWish
    convention: str
    """What N counts."""
    log_params: Array
    """(K,) ln N, increasing: nothing is known, and infinite, outside."""
    log_input: Array
    """(K,) ln USD that reading takes of a token of the mix."""
    log_output: Array
    """(K,) ln USD that writing takes of it."""
    input_spread: float
    output_spread: float
    """1 sigma of ln USD."""
    log_price_range: float
    """ln of the highest over the lowest rent."""
    largest: Architecture
    """The largest decoder that is served."""
    binding: str | None
    """What keeps larger sizes from being served: `memory`, `max_token_s`, `max_first_token_s`, or
    None where the largest size of the family still is."""

    def log_usd(self, log_n: Array, input_shift: Array, output_shift: Array) -> Array:
        """ln USD a token (B, G) at ln N (B, G), linear in ln N between sizes; inf outside.

        Args:
            log_n: where.
            input_shift: (B, 1) how far ln USD of reading lies from its median.
            output_shift: the same of writing.
        """
        read = np.interp(log_n, self.log_params, self.log_input) + input_shift
        written = np.interp(log_n, self.log_params, self.log_output) + output_shift
        known = (log_n >= self.log_params[0]) & (log_n <= self.log_params[-1])
        return np.where(known, np.logaddexp(read, written), np.inf)

    def replica(self, log_n: float) -> InferenceCost:
        """The replica of a decoder near a size, in round numbers, that keeps the limits."""
        size, rule = float(np.exp(log_n)), self.wish.rule
        near = [
            (size_under(one, self.convention), one)
            for one in rule.between(size * np.exp(-_ROOM), size * np.exp(_ROOM), self.convention)
        ]
        # Heads that split over most devices first, then the nearest; the largest is served.
        split = self.wish.split
        near.sort(key=lambda one: (-gcd(one[1].n_heads, split), abs(log(one[0] / size))))
        for _, decoder in [*near, (0, self.largest)]:
            found = _priced(self.wish, decoder)
            if found is not None:
                return found
        raise AssertionError("the largest decoder that is served must be")


@lru_cache(maxsize=32)
def serving_curve(wish: ServingWish, convention: str) -> ServingCurve:
    """The curve of a wish over some 30 decoders of its family, and the largest that is served.

    Args:
        wish: requests, devices, limits.
        convention: what the law's N counts; "unknown" as `non_embedding_with_head`.

    Raises:
        InputError: no size can be served, no rent is known, or a number cannot be.
    """
    ladder = _decoders(wish, convention)
    costs = [_priced(wish, one) for one in ladder]
    found = [(one, cost) for one, cost in zip(ladder, costs, strict=True) if cost is not None]
    if not found:
        replica(wish, ladder[0])  # raises, and says what binds
    binding, last = None, ladder.index(found[-1][0])
    if last + 1 < len(ladder):
        largest, above = _edge(wish, convention, ladder[last], ladder[last + 1])
        cost = _priced(wish, largest)
        assert cost is not None
        found.append((largest, cost))
        binding = _binding(wish, above)
    return _curve(wish, convention, found, binding)


def largest_served(wish: ServingWish, convention: str) -> float:
    """ln of the largest N that a replica holds and serves within the wish's limits.

    Raises:
        InputError: as `serving_curve`.
    """
    return float(serving_curve(wish, convention).log_params[-1])


def replica(wish: ServingWish, architecture: Architecture) -> InferenceCost:
    """The cheapest replica of a decoder that keeps both limits on time.

    Raises:
        InputError: none does; the text names what binds.
    """
    return _replica(wish, wish.serving(architecture))


def _replica(wish: ServingWish, serving: Serving) -> InferenceCost:
    best = inference_cost(serving)
    limit = wish.max_first_token_s
    if limit is None or best.first_token_s.median <= limit:
        return best
    # The cheapest reads too slowly: more devices may not.
    counts = [] if wish.n_devices else [n for n in (2, 4, 8) if n > best.n_devices]
    heads = serving.architecture.n_heads
    more = [_with_devices(serving, n) for n in counts if heads % n == 0]
    kept = [one for one in more if one is not None and one.first_token_s.median <= limit]
    if not kept:
        raise InputError(_too_slow(wish))
    return min(kept, key=lambda one: one.device_seconds.blended)


def _curve(
    wish: ServingWish,
    convention: str,
    found: list[tuple[Architecture, InferenceCost]],
    binding: str | None,
) -> ServingCurve:
    by_size = {size_under(one, convention): cost for one, cost in found}
    share = wish.input_tokens / (wish.input_tokens + wish.output_tokens)
    usd = [cost.usd_per_million() for cost in by_size.values()]
    any_ = found[0][1]
    return ServingCurve(
        wish=wish,
        convention=convention,
        log_params=np.log(list(by_size)),
        log_input=_levelled(np.log([share * float(one.input) / 1e6 for one in usd])),
        log_output=_levelled(np.log([(1 - share) * float(one.output) / 1e6 for one in usd])),
        input_spread=log(any_.input_tokens_per_s.factor),
        output_spread=log(any_.output_tokens_per_s.factor),
        log_price_range=log(float(any_.price(1.0)) / float(any_.price(0.0))),
        largest=found[-1][0],
        binding=binding,
    )


def _levelled(log_usd: Array) -> Array:
    """No size costs more than a larger one: what does is a poor shape, which nobody would take."""
    return np.asarray(np.minimum.accumulate(log_usd[::-1])[::-1])


def _decoders(wish: ServingWish, convention: str) -> list[Architecture]:
    """Decoders of the family from small to large, of one aspect and as many key heads each.

    Widths are multiples of heads that split over devices, and halves of these below: what a
    token costs then grows evenly, and the curve between them is smooth.
    """
    rule = wish.rule
    unit = wish.split * rule.head_dim
    halves = [unit // 2**power for power in range(10) if unit // 2**power >= _WIDTHS[0]]
    widths = sorted(halves) or [unit]
    for width in range(2 * unit, _WIDTHS[1] + 1, unit):
        if width >= _RATIO * widths[-1]:
            widths.append(width)
    depths = [max(1, round(width / rule.aspect)) for width in widths]
    found = [_of_shape(rule, *shape, convention) for shape in zip(widths, depths, strict=True)]
    return sorted(found, key=lambda one: size_under(one, convention))


def _of_shape(rule: ShapeRule, width: int, depth: int, convention: str) -> Architecture:
    """A decoder with the vocabulary of its size."""
    small = rule.shape(width, depth, rule.vocab_size or SMALL_VOCABULARY)
    if rule.vocab_size is not None or size_under(small, convention) < LARGE_FROM:
        return small
    return rule.shape(width, depth, LARGE_VOCABULARY)


def _edge(
    wish: ServingWish, convention: str, low: Architecture, high: Architecture
) -> tuple[Architecture, Architecture]:
    """The largest decoder that is served between one that is and one that is not; the next one."""
    sizes = size_under(low, convention), size_under(high, convention)
    split = min(gcd(one.n_heads, wish.split) for one in (low, high))
    between = wish.rule.between(sizes[0] + 1, sizes[1] - 1, convention)
    row = [low, *(one for one in between if gcd(one.n_heads, wish.split) >= split), high]
    first, last = 0, len(row) - 1
    while last - first > 1:
        middle = (first + last) // 2
        served = _priced(wish, row[middle]) is not None
        first, last = (middle, last) if served else (first, middle)
    return row[first], row[last]


def _binding(wish: ServingWish, decoder: Architecture) -> str:
    """Which limit keeps a decoder from being served: lifting which one helps."""
    free = replace(wish, max_token_s=None, max_first_token_s=None)
    if _priced(free, decoder) is None:
        return "memory"
    alone = replace(free, max_token_s=wish.max_token_s)
    return "max_token_s" if _priced(alone, decoder) is None else "max_first_token_s"


def _priced(wish: ServingWish, decoder: Architecture) -> InferenceCost | None:
    """What a decoder's replica costs; None where none can be."""
    serving = wish.serving(decoder)  # a wish that cannot be is no decoder that cannot
    try:
        return _replica(wish, serving)
    except InputError:
        return None


def _with_devices(serving: Serving, n_devices: int) -> InferenceCost | None:
    try:
        return inference_cost(replace(serving, n_devices=n_devices))
    except InputError:
        return None


def _too_slow(wish: ServingWish) -> str:
    return (
        f"`max_first_token_s` = {wish.max_first_token_s} cannot be met with prompts of "
        f"{wish.input_tokens} tokens on {wish.accelerator.name}. Allow more time, shorter prompts "
        "or faster devices."
    )
