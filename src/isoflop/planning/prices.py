"""Prices of training and of serving, side by side in every draw."""

from dataclasses import dataclass

import numpy as np

from isoflop._types import Array
from isoflop.planning.rates import Rates
from isoflop.planning.served import ServingCurve

_SEED = 20_261_130


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """Of B draws, each (B, 1): what `Demand.log_cost` needs beside a size."""

    log_usd_per_flop: Array
    """ln USD of a FLOP of training, as 6·N·D counts them."""
    input_shift: Array
    """How far ln USD of reading a served token lies from its median."""
    output_shift: Array
    """The same of writing."""

    def __len__(self) -> int:
        return len(self.log_usd_per_flop)

    @property
    def alike(self) -> bool:
        """Whether all draws have the same prices."""
        shifts = (self.log_usd_per_flop, self.input_shift, self.output_shift)
        return all(bool(np.ptp(one) == 0) for one in shifts)

    def rows(self, start: int, stop: int) -> "Prices":
        """Some of the draws."""
        return Prices(
            log_usd_per_flop=self.log_usd_per_flop[start:stop],
            input_shift=self.input_shift[start:stop],
            output_shift=self.output_shift[start:stop],
        )


def median_prices(cost: Rates | None) -> Prices:
    """The prices of the plan itself; without money a FLOP counts as one."""
    usd = 1.0 if cost is None else cost.per_flop("usd")
    nothing = np.zeros((1, 1))
    return Prices(
        log_usd_per_flop=np.full((1, 1), np.log(usd)), input_shift=nothing, output_shift=nothing
    )


def drawn_prices(cost: Rates | None, curve: ServingCurve | None, size: int) -> Prices:
    """Prices of `size` draws; draw i pays draw i of the rates, over and over.

    Serving on the accelerator that trains meets the same market: its rent deviates as that of
    training does.
    """
    usd, rent = np.zeros(size), np.zeros(size)
    if cost is not None:
        usd = np.resize(cost.log_draws("usd"), size)
    reading, writing = rent, rent
    if curve is not None:
        rng = np.random.default_rng(_SEED)
        z, share = rng.standard_normal((2, size)), rng.random(size)
        rent = (share - 0.5) * curve.log_price_range
        if cost is not None and cost.device == curve.wish.accelerator.name:
            market = cost.deviations["price"]
            # A rent that was agreed on for one of both says nothing of the other's.
            rent = np.resize(market, size) if market.any() and rent.any() else rent
        # A higher throughput makes a token cheaper: the sign of z does not matter.
        reading = rent + curve.input_spread * z[0]
        writing = rent + curve.output_spread * z[1]
    return Prices(
        log_usd_per_flop=usd[:, None],
        input_shift=reading[:, None],
        output_shift=writing[:, None],
    )
