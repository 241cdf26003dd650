"""Draws of what a plan cannot know: MFU, goodput, price.

Each takes exactly n numbers from its generator, whatever it is asked about: two candidates drawn
from equal seeds meet the same luck, so their difference is not noise.
"""

import numpy as np
from numpy.typing import NDArray

from isoflop._errors import InputError
from isoflop.accounting.hardware import Accelerator
from isoflop.accounting.mfu import MFU_PRIOR, MfuPrior, RunSetting

_LARGEST_MFU = 0.9

# Quantiles of goodput: 80 % in 0.70-0.97, mean 0.87 (the median follows). Billed over running
# hours of published runs: OLMo-3 7B 0.91, Llama 3.1 405B 0.89, OLMo-3 32B 0.77, PaLM 0.66.
# ASSUMPTION: nobody goes on below one half.
_GOODPUT_LEVELS = (0.0, 0.1, 0.5, 0.9, 1.0)
_GOODPUT_QUANTILES = (0.5, 0.70, 0.94375, 0.97, 1.0)


def sample_mfu(
    rng: np.random.Generator, n: int, setting: RunSetting, prior: MfuPrior = MFU_PRIOR
) -> NDArray[np.float64]:
    """n end-to-end MFUs ~ LogNormal(median, spread) of `prior`, at most 0.9.

    Stalls and restarts are in them: never multiply by a goodput as well.
    """
    z_B = rng.standard_normal(n)
    mfu_B = prior.median(setting) * np.exp(prior.spread_of(setting) * z_B)
    return np.minimum(mfu_B, _LARGEST_MFU)


def sample_goodput(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    """n shares of the billed hours in which training runs: mean 0.87, 80 % in 0.70-0.97.

    Use with a measured rate (`hours_from_rate`), which knows nothing of restarts.
    """
    return np.interp(rng.random(n), _GOODPUT_LEVELS, _GOODPUT_QUANTILES)


def sample_price(rng: np.random.Generator, n: int, accelerator: Accelerator) -> NDArray[np.float64]:
    """n rents [USD/device-hour], log-uniform over the accelerator's dated range.

    Raises:
        InputError: no price of the accelerator is known.
    """
    u_B = rng.random(n)
    if accelerator.price_low is None or accelerator.price_high is None:
        raise InputError(
            f"no price of {accelerator.name} is known. Give price_low, price_high and price_date "
            "in a hardware file of your own."
        )
    low, high = accelerator.price_low, accelerator.price_high
    price_B: NDArray[np.float64] = low * np.power(high / low, u_B)
    return price_B
