"""A plan in words: label and text of each line, for terminal and report alike."""

from collections.abc import Callable
from dataclasses import replace
from math import isfinite

from isoflop._types import Interval
from isoflop.planning.lifetime import Lifetime
from isoflop.planning.plan import Plan
from isoflop.planning.risk import Risk
from isoflop.planning.words import count

# (days from which on the unit is used, days in the unit, its name)
_UNITS = (
    (1.0, 1.0, "days"),
    (1 / 24, 1 / 24, "hours"),
    (1 / 1440, 1 / 1440, "minutes"),
    (0.0, 1 / 86_400, "seconds"),
)


def summary_lines(plan: Plan) -> list[tuple[str, str]]:
    """(label, text) of every line; each number with its interval and level, or "given"."""
    # Then nothing in the FLOPs is uncertain.
    priced = ("flops" in plan.given and plan.lifetime is None) or not plan.optimal
    lines = [
        (
            "Model size",
            f"{_range(plan.n_params, count, 'n_params' in plan.given)} parameters"
            f" [{plan.n_params_convention}]",
        ),
        ("Tokens", f"{_range(plan.n_tokens, count, 'n_tokens' in plan.given)} tokens"),
        ("Tokens per parameter", _range(plan.tokens_per_param, _plain, not plan.optimal)),
        ("Training compute", f"{_range(plan.flops, _power, priced, _why_flops(plan))} FLOPs"),
        *_lifetime_lines(plan),
        *_limited_lines(plan),
        *_near_lines(plan),
        *_score_lines(plan),
        (_loss_label(plan), _range(plan.loss, _loss, False) + _target(plan)),
        *_build_lines(plan),
        *_paid_lines(plan),
        *_held_lines(plan),
        *_risk_lines(plan.risk),
        ("Beyond the runs", _beyond(plan)),
        ("Law", plan.source or "not named"),
    ]
    if not plan.usable:
        state = "forced, although it must not be used" if plan.forced else "must not be used"
        lines.append(("Status", f"{state}: see the problems"))
    return lines


def _score_lines(plan: Plan) -> list[tuple[str, str]]:
    """The accuracy behind a target loss."""
    if "score" not in plan.given:
        return []
    taken = f"{plan.given['score']:g}: a loss of {_loss(plan.given['loss'])}"
    return [("Accuracy asked for", taken)]


def _near_lines(plan: Plan) -> list[tuple[str, str]]:
    return [
        (
            f"Within {100 * one.share:g} % of the best loss",
            f"{count(one.n_low)} to {count(one.n_high)} parameters on the same compute",
        )
        for one in plan.near_optimal
    ]


def _paid_lines(plan: Plan) -> list[tuple[str, str]]:
    """Time and money, and what they rest on."""
    rent = f"no price known for {plan.hardware}"
    if plan.usd is not None:
        rent = f"{_range(plan.usd, _money, _exact(plan.usd), 'at these prices')} USD"
        if plan.risk.reserve_usd is not None and not _exact(plan.usd):
            rent += f"; {_money(plan.risk.reserve_usd)} suffice in {100 * plan.risk.sure:g} %"
    words = "stated" if plan.mfu_stated else f"{plan.mfu.low:.2g} to {plan.mfu.high:.2g}"
    return [
        ("Time", f"{_time(plan)} on {plan.n_devices} × {plan.hardware}"),
        ("Device-hours", _range(plan.device_hours, count, _exact(plan.device_hours), _AT_MFU)),
        ("MFU", f"{plan.mfu.value:.3g} ({words}) of {_power(plan.exact_flops.value)} exact FLOPs"),
        ("Rent", rent),
    ]


def _build_lines(plan: Plan) -> list[tuple[str, str]]:
    """The decoder to build, its settings, where it goes."""
    build = plan.build
    if build is None:
        return []
    a, layout = build.architecture, build.layout
    ranks = {"tp": layout.tp, "pp": layout.pp, "cp": layout.cp, "ep": layout.ep}
    split = "".join(f" · {name} {n}" for name, n in ranks.items() if n > 1)
    return [
        (
            "Shape",
            f"{a.n_layers} layers of width {a.width}, {a.n_heads} heads ({a.n_kv_heads} of keys), "
            f"MLP {a.ff_width}, vocabulary {a.vocab_size}: {build.counts.total:,} parameters in "
            f"all, {build.counts.non_embedding:,} without embeddings and head",
        ),
        (
            "Batch and peak rate",
            f"{count(build.batch_tokens.value)} tokens ({build.batch_sequences} sequences of "
            f"{build.context}; {build.advice.law}: {count(build.batch_tokens.low)} to "
            f"{count(build.batch_tokens.high)}), {_plain(build.steps.value)} steps, learning rate "
            f"{build.lr.value:.2e} ({build.lr.low:.1e} to {build.lr.high:.1e})",
        ),
        (
            "Memory",
            f"{build.memory_gb.value:.3g} GB on the fullest device ({build.memory_gb.low:.3g} to "
            f"{build.memory_gb.high:.3g}), fits with odds {100 * build.p_fits:.0f} %: dp "
            f"{layout.dp}{split}, ZeRO {layout.zero}, recompute {layout.recompute}",
        ),
    ]


def _held_lines(plan: Plan) -> list[tuple[str, str]]:
    """Limits, and which of them hold the plan back."""
    if not plan.limits:
        return []
    wishes = ", ".join(f"{name}={count(value)}" for name, value in plan.limits.items())
    held = f"; {', '.join(plan.binding)} binds" if plan.binding else "; none binds"
    return [("Limits", wishes + held)]


_SOURCES = {
    "law": "law",
    "noise": "noise and extrapolation",
    "law and noise": "law, noise and extrapolation",
    "mfu": "MFU",
    "goodput": "goodput",
    "price": "price",
}
_ANSWERS = {"loss": "Doubt of the loss", "days": "Doubt of the days", "usd": "Doubt of the rent"}
_MISSED = {
    "loss": "the loss",
    "score": "the accuracy",
    "device_hours": "the device-hours",
    "days": "the days",
    "usd": "the money",
    "memory": "the memory",
}


def _risk_lines(risk: Risk) -> list[tuple[str, str]]:
    """Odds, what the doubt consists of, what the size may have cost, what to measure."""
    lines = []
    if risk.odds:
        odds = ", ".join(f"{_MISSED[name]} {100 * p:.0f} %" for name, p in risk.odds.items())
        lines.append(("Odds of missing", odds))
    for name, label in _ANSWERS.items():
        if shares := risk.shares.get(name):
            ranked = sorted(shares.items(), key=lambda one: -one[1])
            parts = ", ".join(f"{_SOURCES[source]} {100 * part:.0f} %" for source, part in ranked)
            lines.append((label, f"{parts} of its variance"))
    if risk.regret is not None and risk.regret.flops.high > 0:
        loss, flops = risk.regret.loss, risk.regret.flops
        lines.append(
            (
                "Regret of the size",
                f"{100 * loss.value:.2g} % of loss (up to {100 * loss.high:.2g} %), as if "
                f"{100 * flops.value:.2g} % of the compute (up to {100 * flops.high:.2g} %) were "
                "lost",
            )
        )
    for one in risk.measurements[:1]:
        lines.append(("Most worth knowing", f"{one.text} Sets {_money(one.saves_usd)} USD free."))
    return lines


def _limited_lines(plan: Plan) -> list[tuple[str, str]]:
    """How often the text is read."""
    if plan.limited is None:
        return []
    words = _range(plan.limited.epochs, _plain, False)
    return [(f"Epochs of {count(plan.limited.unique_tokens)} tokens", words)]


def _why_flops(plan: Plan) -> str:
    """Why the compute is exact."""
    if plan.buys is not None:
        name = next(name for name in ("usd", "days", "device_hours") if name in plan.given)
        what = {"usd": "USD", "days": "days", "device_hours": "device-hours"}[name]
        return (
            f"what {count(plan.given[name])} {what} buy in {100 * plan.risk.sure:g} % of draws; "
            f"{_power(plan.buys.value)} in half, {_power(plan.buys.low)} to "
            f"{_power(plan.buys.high)} in {100 * plan.level:g} %"
        )
    return "given" if "flops" in plan.given else "6ND"


def _lifetime_lines(plan: Plan) -> list[tuple[str, str]]:
    """What serving takes beside training, and what the smaller model saves."""
    life = plan.lifetime
    if life is None:
        return []
    n, d = life.compute_optimal
    cost = "" if life.inference_flop_cost == 1 else f" at {life.inference_flop_cost:g} a FLOP"
    given = "flops" in plan.given
    return [
        (
            f"Serving {count(life.inference_tokens)} tokens",
            f"{_range(life.inference, _power, False)} FLOPs{cost}",
        ),
        ("Both", f"{_range(life.total, _power, given)} FLOPs"),
        (
            "Saved",
            f"{100 * life.saving:.1f} % of both, beside the compute-optimal run of this loss: "
            f"{count(n)} parameters on {count(d)} tokens",
        ),
        *_served_lines(life),
    ]


def _served_lines(life: Lifetime) -> list[tuple[str, str]]:
    """Money of both, and the replica that serves."""
    money, server = life.money, life.replica
    if money is None or server is None:
        return []
    same = _exact(money.total)
    return [
        (
            "Money for both",
            f"{_range(money.total, _money, same)} USD: training {_money(money.training.value)}, "
            f"serving {_money(money.serving.value)}",
        ),
        ("A million served tokens", f"{_range(money.usd_per_million, _plain, False)} USD"),
        (
            "A replica",
            f"{server.n_devices} × {server.hardware}, {server.batch} requests at once; first token "
            f"after {_range(server.first_token_s, _plain, False)} s, then one every "
            f"{_range(server.token_s, _plain, False)} s",
        ),
    ]


def _plain(value: float) -> str:
    if not isfinite(value):
        return "∞"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _power(value: float) -> str:
    return f"{value:.2e}".replace("e+", "e") if isfinite(value) else "∞"


def _loss(value: float) -> str:
    return f"{value:.4g}"


def _range(
    interval: Interval, show: Callable[[float], str], exact: bool, why: str = "given"
) -> str:
    if exact:
        return f"{show(interval.value)} ({why})"
    level = f"{100 * interval.level:g} %"
    if interval.low == interval.high:
        return f"{show(interval.value)} ({level}: not known, the law comes without draws)"
    return f"{show(interval.value)} ({level}: {show(interval.low)} to {show(interval.high)})"


def _loss_label(plan: Plan) -> str:
    return "Loss of the run" if plan.target == "loss" else f"{plan.target} of the run"


def _target(plan: Plan) -> str:
    unit = " nats/token" if plan.target.startswith("loss") else ""
    return f"{unit}, target given" if "loss" in plan.given else unit


_AT_MFU = "exact at this MFU"


def _exact(interval: Interval) -> bool:
    return interval.low == interval.high


def _time(plan: Plan) -> str:
    size, unit = next((size, unit) for start, size, unit in _UNITS if plan.days.value >= start)
    days = plan.days
    scaled = replace(days, value=days.value / size, low=days.low / size, high=days.high / size)
    return f"{_range(scaled, _plain, _exact(days), _AT_MFU)} {unit}"


def _money(value: float) -> str:
    return count(value) if value >= 0.01 else "under 0.01"


def _beyond(plan: Plan) -> str:
    if plan.extrapolation is None:
        return "not known: the law does not state its runs"
    if plan.extrapolation <= 1:
        return "within the compute of the runs"
    return f"{plan.extrapolation:.3g} × the compute of the largest run"
