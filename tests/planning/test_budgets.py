"""Budgets in hours, days and money."""

import pytest

from isoflop._errors import InputError
from isoflop.accounting import find_accelerator
from isoflop.laws import find_published
from isoflop.planning import plan


def test_hours_days_and_money_are_flops_at_the_stated_mfu() -> None:
    law = find_published("besiroglu")
    where = {"hardware": "H100-SXM", "n_devices": 64, "mfu": 0.4}
    flops = 1000 * 3600 * 989.5e12 * 0.4
    by_hours = plan(law, device_hours=1000, **where)  # type: ignore[arg-type]
    assert by_hours.flops.value == pytest.approx(flops, rel=1e-12)
    assert by_hours.flops.low == by_hours.flops.high
    assert by_hours.device_hours.value == pytest.approx(1000, rel=1e-12)
    by_days = plan(law, days=1000 / 24 / 64, **where)  # type: ignore[arg-type]
    assert by_days.days.value == pytest.approx(1000 / 24 / 64, rel=1e-12)
    assert by_days.n_params.value == pytest.approx(by_hours.n_params.value, rel=1e-12)
    price = find_accelerator("H100-SXM").price_high
    assert price is not None
    by_money = plan(law, usd=1000 * price, **where)  # type: ignore[arg-type]
    assert by_money.flops.value == pytest.approx(flops, rel=1e-12)
    assert by_money.cost_usd is not None
    assert by_money.cost_usd[1] == pytest.approx(1000 * price), "never more than was given"
    with pytest.raises(InputError, match=r"usd > 0"):
        plan(law, usd=-5)
    with pytest.raises(InputError, match="exactly one of"):
        plan(law, usd=5, days=3)
