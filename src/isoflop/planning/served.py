"""What serving a token costs at every size: a curve of USD from replicas that could be rented.

What to use when: `serving_curve` once for a wish, then `Demand(tokens=..., curve=...)`;
`largest_served` for the cap alone; `replica` for one decoder.
"""

from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import gcd, inf, log

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

SMALLEST, LARGEST = 1e6, 4e12
"""Parameters between which sizes are priced."""

POINTS = 32
HALVINGS = 12
"""The largest size that can be served is found to (spacing of the points) / 2^12 in ln N, or to
the next decoder of the family."""

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

    def architecture(self, log_n: float) -> Architecture:
        """The decoder that is served near a size."""
        return _decoder(self.wish, float(np.exp(log_n)), self.convention)


@lru_cache(maxsize=32)
def serving_curve(wish: ServingWish, convention: str) -> ServingCurve:
    """The curve of a wish over decoders of its family.

    Args:
        wish: requests, devices, limits.
        convention: what the law's N counts; "unknown" as `non_embedding_with_head`.

    Raises:
        InputError: no size can be served, no rent is known, or a number cannot be.
    """
    asked = np.geomspace(SMALLEST, LARGEST, POINTS)
    tried = [_priced(wish, size, convention) for size in asked]
    if all(one is None for one in tried):
        # Says what binds for the smallest.
        inference_cost(wish.serving(_decoder(wish, SMALLEST, convention)))
        raise InputError(_too_slow(wish))
    last = max(k for k, one in enumerate(tried) if one is not None)
    found = {one[0]: one[1] for one in tried if one is not None}
    binding = None
    if last + 1 < POINTS:
        edge, cost, binding = _largest(wish, convention, asked[last], asked[last + 1])
        found[edge] = cost
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
    serving = wish.serving(architecture)
    best = inference_cost(serving)
    limit = wish.max_first_token_s
    if limit is None or best.first_token_s.median <= limit:
        return best
    # The cheapest reads too slowly: more devices may not.
    counts = [] if wish.n_devices else [n for n in (2, 4, 8) if n > best.n_devices]
    more = [_with_devices(serving, n) for n in counts if architecture.n_heads % n == 0]
    kept = [one for one in more if one is not None and one.first_token_s.median <= limit]
    if not kept:
        raise InputError(_too_slow(wish))
    return min(kept, key=lambda one: one.device_seconds.blended)


def _curve(
    wish: ServingWish, convention: str, found: dict[float, InferenceCost], binding: str | None
) -> ServingCurve:
    sizes = sorted(found)
    share = wish.input_tokens / (wish.input_tokens + wish.output_tokens)
    usd = [found[size].usd_per_million() for size in sizes]
    any_ = found[sizes[0]]
    return ServingCurve(
        wish=wish,
        convention=convention,
        log_params=np.log(sizes),
        log_input=_levelled(np.log([share * float(one.input) / 1e6 for one in usd])),
        log_output=_levelled(np.log([(1 - share) * float(one.output) / 1e6 for one in usd])),
        input_spread=log(any_.input_tokens_per_s.factor),
        output_spread=log(any_.output_tokens_per_s.factor),
        log_price_range=log(float(any_.price(1.0)) / float(any_.price(0.0))),
        binding=binding,
    )


def _levelled(log_usd: Array) -> Array:
    """No size costs more than a larger one: what does is a poor shape, which nobody would take."""
    return np.asarray(np.minimum.accumulate(log_usd[::-1])[::-1])


def _largest(
    wish: ServingWish, convention: str, low: float, high: float
) -> tuple[float, InferenceCost, str]:
    """The largest size between one that is served and one that is not; its cost; what binds."""
    for _ in range(HALVINGS):
        middle = (low * high) ** 0.5
        served = _priced(wish, middle, convention) is not None
        low, high = (middle, high) if served else (low, middle)
    found = _priced(wish, low, convention)
    assert found is not None
    return *found, _binding(wish, high, convention)


def _binding(wish: ServingWish, size: float, convention: str) -> str:
    """Which limit keeps a size from being served: lifting which one helps."""
    free = replace(wish, max_token_s=None, max_first_token_s=None)
    if _priced(free, size, convention) is None:
        return "memory"
    alone = replace(free, max_token_s=wish.max_token_s)
    return "max_token_s" if _priced(alone, size, convention) is None else "max_first_token_s"


def _priced(wish: ServingWish, size: float, convention: str) -> tuple[float, InferenceCost] | None:
    """N of the decoder near a size and what its replica costs; None where none can be."""
    decoder = _decoder(wish, size, convention)
    try:
        return float(size_under(decoder, convention)), replica(wish, decoder)
    except InputError:
        return None


def _decoder(wish: ServingWish, size: float, convention: str) -> Architecture:
    """The decoder near a size whose heads split over most devices, and of these the nearest."""
    wanted = wish.n_devices or 8
    near = wish.rule.between(size * np.exp(-_ROOM), size * np.exp(_ROOM), convention)
    if not near:
        return wish.rule.nearest(size, convention)
    return max(
        near,
        key=lambda one: (
            gcd(one.n_heads, wanted),
            -abs(log(size_under(one, convention) / size)),
        ),
    )


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
