"""Published multi-power laws, listed in `published.PUBLISHED`."""

from isoflop.laws._published import Published, published
from isoflop.laws.multi_power import MULTI_POWER

_SOURCE = "Luo et al. 2025, arXiv:2503.12811, released parameters"


def _luo(name: str, size: str, *theta: float) -> Published:
    return published(
        f"luo_{name}",
        f"Luo {size}: loss along a schedule",
        MULTI_POWER,
        theta,
        _SOURCE,
        "Rates as they are (peak 3e-4), sums over steps, warm-up included; one size each.",
    )


SCHEDULES = (
    _luo("25m", "25M", 3.04045, 0.524686, 0.507869, 363.788, 2.06561, 0.58279, 0.641423),
    _luo("100m", "100M", 2.65145, 0.601152, 0.452958, 437.946, 2.13245, 0.597852, 0.655236),
    _luo("400m", "400M", 2.37474, 0.654212, 0.428787, 523.425, 2.02462, 0.593505, 0.634725),
)
