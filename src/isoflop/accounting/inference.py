"""`InferenceCost`: latency, throughput and money of serving a model, each with its spread."""

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from isoflop._errors import InputError
from isoflop._types import LEVEL, Array
from isoflop.accounting.serving import (
    Serving,
    decode_seconds,
    largest_batch,
    prefill_seconds,
    prompts_at_once,
)

# How far measurements lie from such formulas, 1 sigma. Source: reference of the planner, "Gates".
_PREFILL_FACTOR = 1.20
_DECODE_FACTOR = 1.15
_THROUGHPUT_FACTOR = 1.25

_N_DRAWS = 4000
_Z90 = NormalDist().inv_cdf((1 + LEVEL) / 2)
"""Standard normal quantile at the ends of an interval."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """A positive quantity known to a factor: log-normal with this median and 1-sigma factor."""

    median: float
    factor: float

    def at(self, z: float | Array) -> float | Array:
        """median·factor^z for standard normal draws z."""
        return self.median * self.factor**z

    @property
    def low(self) -> float:
        """Lower end of the 90 % interval."""
        return float(self.at(-_Z90))

    @property
    def high(self) -> float:
        """Upper end of the 90 % interval."""
        return float(self.at(_Z90))


@dataclass(frozen=True, slots=True, kw_only=True)
class PerToken:
    """A cost of prompts' tokens, of answers' tokens, and of both in the mix asked for."""

    input: float | Array
    output: float | Array
    blended: float | Array


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceCost:
    """What one replica does; throughputs are those of a pass that only reads or only writes."""

    serving: Serving
    n_devices: int
    """Devices of a replica."""
    batch: int
    """Requests at once: the most that fit and meet `max_token_s`."""
    batch_that_fits: int
    first_token_s: Spread
    """Time to first token of a request that need not queue [s]."""
    token_s: Spread
    """Time per output token at `batch` [s]."""
    input_tokens_per_s: Spread
    output_tokens_per_s: Spread

    def price(self, share: float | Array = 0.5) -> float | Array:
        """Rent of a device [USD/hour], log-uniform in its range: low^(1 - share)·high^share.

        Raises:
            InputError: no price of the accelerator is known.
        """
        accelerator = self.serving.accelerator
        span = self.serving.price_usd_per_hour
        if span is None:
            if accelerator.price_low is None or accelerator.price_high is None:
                raise InputError(
                    f"no rent of {accelerator.name} is known. Give `price_usd_per_hour`."
                )
            span = accelerator.price_low, accelerator.price_high
        return span[0] ** (1 - share) * span[1] ** share

    @property
    def device_seconds(self) -> PerToken:
        """Medians of device-seconds a token, devices always full [s]."""
        return self._device_seconds(0.0, 0.0)

    def usd_per_million(
        self,
        z_input: float | Array = 0.0,
        z_output: float | Array = 0.0,
        price_share: float | Array = 0.5,
    ) -> PerToken:
        """USD per million tokens = 1e6·device-seconds·price / (3600·utilisation).

        Without arguments medians; with draws (standard normal, standard normal, uniform) an array
        each. A device either reads or writes: both kinds of token pay for their own seconds.

        Raises:
            InputError: no price of the accelerator is known.
        """
        usd = 1e6 * self.price(price_share) / 3600.0 / self.serving.utilisation
        seconds = self._device_seconds(z_input, z_output)
        return PerToken(
            input=usd * seconds.input,
            output=usd * seconds.output,
            blended=usd * seconds.blended,
        )

    def _device_seconds(self, z_input: float | Array, z_output: float | Array) -> PerToken:
        request = self.serving
        share = request.input_share
        if share is None:
            share = request.input_tokens / (request.input_tokens + request.output_tokens)
        read = self.n_devices / self.input_tokens_per_s.at(z_input)
        written = self.n_devices / self.output_tokens_per_s.at(z_output)
        blended = share * read + (1 - share) * written
        return PerToken(input=read, output=written, blended=blended)

    def usd_interval(self, seed: int = 0) -> tuple[PerToken, PerToken]:
        """Lower and upper ends of 90 % intervals of `usd_per_million`, from 4,000 draws.

        Raises:
            InputError: no price of the accelerator is known.
        """
        rng = np.random.default_rng(seed)
        z = rng.standard_normal((2, _N_DRAWS))
        usd = self.usd_per_million(z[0], z[1], rng.random(_N_DRAWS))
        ends = [
            np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
            for draws in (usd.input, usd.output, usd.blended)
        ]
        low, high = (
            PerToken(input=float(a), output=float(b), blended=float(c))
            for a, b, c in zip(*ends, strict=True)
        )
        return low, high


def inference_cost(serving: Serving) -> InferenceCost:
    """Latency, batch, throughput and money of one replica of `serving`.

    Of several numbers of devices that hold the model and meet `max_token_s`, the one with the
    fewest device-seconds a token in the mix of tokens.

    Raises:
        InputError: the model fits no allowed number of devices, or `max_token_s` cannot be met;
            the text names what binds.
    """
    counts = _device_counts(serving)
    held = {n: largest_batch(serving, n) for n in counts}
    held = {n: fits for n, fits in held.items() if fits}
    if not held:
        raise InputError(_does_not_fit(serving, counts))
    batches = {n: _batch_within(serving, n, fits) for n, fits in held.items()}
    costs = [_cost(serving, n, batch, held[n]) for n, batch in batches.items() if batch]
    if not costs:
        best = min(decode_seconds(serving, n, 1) for n in held)
        raise InputError(
            f"`max_token_s` = {serving.max_token_s:g} cannot be met: one request alone takes "
            f"{best:.3g} s a token on up to {max(held)} {serving.accelerator.name}. "
            "Allow more time, fewer bytes a weight or faster devices."
        )
    return min(costs, key=lambda cost: cost.device_seconds.blended)


def _cost(serving: Serving, n_devices: int, batch: int, fits: int) -> InferenceCost:
    token_s = decode_seconds(serving, n_devices, batch)
    prompts = prompts_at_once(serving)
    reading_s = prefill_seconds(serving, n_devices, prompts)
    read = prompts * serving.input_tokens / reading_s
    return InferenceCost(
        serving=serving,
        n_devices=n_devices,
        batch=batch,
        batch_that_fits=fits,
        first_token_s=Spread(median=prefill_seconds(serving, n_devices), factor=_PREFILL_FACTOR),
        token_s=Spread(median=token_s, factor=_DECODE_FACTOR),
        input_tokens_per_s=Spread(median=read, factor=_PREFILL_FACTOR),
        output_tokens_per_s=Spread(median=batch / token_s, factor=_THROUGHPUT_FACTOR),
    )


def _device_counts(serving: Serving) -> list[int]:
    """Powers of two up to a node that divide the heads (1 without a link), or the number asked."""
    node, heads = serving.devices_per_node, serving.architecture.n_heads
    asked = serving.n_devices
    if asked is None and serving.link_gbps is None and serving.accelerator.scale_up_gbps is None:
        return [1]
    if asked is None:
        powers = [2**power for power in range(node.bit_length()) if 2**power <= node]
        return [n for n in powers if heads % n == 0]
    if asked > node:
        raise InputError(
            f"`n_devices <= devices_per_node` must hold, but got n_devices={asked}, "
            f"devices_per_node={node}. A replica stays inside a node: serve more replicas."
        )
    if heads % asked:
        raise InputError(
            f"`n_heads % n_devices == 0` must hold, but got n_heads={heads}, n_devices={asked}. "
            "Give a number of devices that divides the heads."
        )
    return [asked]


def _batch_within(serving: Serving, n_devices: int, fits: int) -> int:
    """Largest batch up to `fits` whose tokens come within `max_token_s`; 0 where none does."""
    limit = serving.max_token_s
    if limit is None or decode_seconds(serving, n_devices, fits) <= limit:
        return fits
    low, high = 0, fits  # a token's time grows with the batch
    while high - low > 1:
        middle = (low + high) // 2
        if decode_seconds(serving, n_devices, middle) <= limit:
            low = middle
        else:
            high = middle
    return low


def _does_not_fit(serving: Serving, counts: list[int]) -> str:
    device, model = serving.accelerator, serving.architecture
    where = f"{counts[0]}" if len(counts) == 1 else f"any number up to {counts[-1]}"
    length = serving.input_tokens + serving.output_tokens
    return (
        f"{model.name} with one request of {length} tokens does not fit into the memory of "
        f"{where} {device.name} ({device.memory_gb:g} GB each) at "
        f"weight_bytes={serving.weight_bytes:g}. Give larger or more devices, or fewer bytes."
    )
