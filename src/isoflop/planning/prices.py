"""What a FLOP of training and a served token cost in money, and how sure that is."""

from dataclasses import dataclass

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array
from isoflop.planning.served import ServingCurve

_SEED = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPrice:
    """USD per FLOP of training, as 6·N·D counts them: rent over peak and MFU."""

    usd_per_flop: float
    """Median."""
    draws: Array | None = None
    """(P,) equally likely values; None: known exactly."""
    share: Array | None = None
    """(P,) where each draw's rent lies in its range, 0 to 1: serving then meets the same market.
    None: the rent of serving is drawn on its own."""

    def __post_init__(self) -> None:
        values = [self.usd_per_flop] if self.draws is None else [self.usd_per_flop, *self.draws]
        if not (np.isfinite(values).all() and min(values) > 0):
            raise InputError(
                f"`usd_per_flop > 0` must hold, but got {min(values)}. Give rent over FLOPs an "
                "hour."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """Prices of B draws, each (B, 1): what `Demand.log_cost` needs beside a size."""

    log_usd_per_flop: Array
    input_shift: Array
    """How far ln USD of reading a served token lies from its median."""
    output_shift: Array
    """The same of writing."""

    def __len__(self) -> int:
        return len(self.log_usd_per_flop)

    def rows(self, start: int, stop: int) -> "Rates":
        """Some of the draws."""
        return Rates(
            log_usd_per_flop=self.log_usd_per_flop[start:stop],
            input_shift=self.input_shift[start:stop],
            output_shift=self.output_shift[start:stop],
        )


def median_rates(price: TrainingPrice | None) -> Rates:
    """The prices of the plan itself; without money a FLOP counts as one."""
    nothing = np.zeros((1, 1))
    usd = 1.0 if price is None else price.usd_per_flop
    return Rates(
        log_usd_per_flop=np.full((1, 1), np.log(usd)),
        input_shift=nothing,
        output_shift=nothing,
    )


def drawn_rates(price: TrainingPrice | None, curve: ServingCurve | None, size: int) -> Rates:
    """Prices of `size` draws; row i pays the price's draw i·P // size."""
    middle = median_rates(price)
    rows = np.full(size, middle.log_usd_per_flop[0, 0])
    if price is not None and price.draws is not None:
        rows = np.log(_spaced(price.draws, size))
    nothing = np.zeros(size)
    reading, writing = nothing, nothing
    if curve is not None:
        rng = np.random.default_rng(_SEED)
        z, share = rng.standard_normal((2, size)), rng.random(size)
        if price is not None and price.share is not None:
            share = _spaced(price.share, size)
        rent = (share - 0.5) * curve.log_price_range
        # A higher throughput makes a token cheaper: the sign of z does not matter.
        reading = rent + curve.input_spread * z[0]
        writing = rent + curve.output_spread * z[1]
    return Rates(
        log_usd_per_flop=rows[:, None],
        input_shift=reading[:, None],
        output_shift=writing[:, None],
    )


def _spaced(values: Array, size: int) -> Array:
    return values[np.arange(size) * len(values) // size]
