"""One small study with every part of a report, and hostile names in it."""

from dataclasses import replace

import numpy as np
import pytest

from isoflop._types import Array, Interval, Problem
from isoflop.fitting import (
    Allocation,
    Analysis,
    Ceiling,
    Certificate,
    Fit,
    Forecast,
    IsoflopProfile,
    LawScore,
    NaivePower,
)
from isoflop.fitting.noise import Noise
from isoflop.fitting.record import Record
from isoflop.laws import Component, Estimate, find_law
from isoflop.planning import plan
from isoflop.reports import Curve, Report
from isoflop.reports.sections import render
from isoflop.specs import DataSection, DomainSection, LadderSection, StudyConfig

HOSTILE = "run</script><script>alert('1')</script>\"&"
SIZES = np.array([32e3, 131.5e3, 524e3])
TOKENS = np.array([1e6, 4e6, 16e6])
THETA = np.array([1.2, 40.0, 0.33, 60.0, 0.3])


def problem(code: str, severity: str = "warning", text: str = "") -> Problem:
    return Problem(
        code=code, severity=severity, text=text or f"About {code}.", remedy=f"Mend {code}."
    )


def interval(value: float, width: float = 0.05) -> Interval:
    return Interval(value=value, low=value * (1 - width), high=value * (1 + width))


def make_fit(name: str, theta: Array, problems: tuple[Problem, ...]) -> Fit:
    law = find_law(name)
    draws = theta * np.exp(np.random.default_rng(0).normal(0, 0.01, (64, theta.size)))
    estimate = Estimate(
        components=(Component(law=law, theta=theta, draws=draws),),
        problems=problems,
        source="test",
        n_params_convention="non_embedding_with_head",
        flops_convention="6nd",
        sigma=0.003,
        spread=0.01,
    )
    return Fit(
        law=law,
        theta={param.name: interval(t) for param, t in zip(law.params, theta, strict=True)},
        estimate=estimate,
        certificate=Certificate(
            objective=1e-3,
            gradient_norm=1e-8,
            starts=500,
            share_reached=0.4,
            at_bound=(),
            condition_number=88.0,
            iterations=40,
            converged=True,
        ),
        problems=problems,
        scores=(LawScore(law=name, backtest=float("nan"), in_sample=0.004, weight=1.0),),
        n_runs=9,
        n_trunks=3,
        target="loss",
        record=Record(
            data_sha256="ab" * 32,
            objective="robust",
            seed=0,
            n_draws=64,
            prior=(),
            noise=Noise(shared=0.002, own=0.002, freedom_shared=3.0, freedom_own=6.0),
        ),
    )


def make_profile(status: str = "ok") -> IsoflopProfile:
    centre = float(np.exp(np.log(SIZES).mean()))
    return IsoflopProfile(
        flops=3e12,
        n_params=SIZES,
        loss=np.array([2.9, 2.7, 2.8]),
        n_tokens=3e12 / 6 / SIZES,
        coefficients=(2.7, 0.0, 0.05),
        vertex=centre,
        n_opt=centre,
        d_opt=3e12 / 6 / centre,
        loss_opt=2.7,
        status=status,
    )


def make_analysis() -> Analysis:
    chinchilla = make_fit("chinchilla", THETA, (problem("ill_conditioned"),))
    flops = np.geomspace(1e12, 1e14, 8)
    names = ("envelope", "isoflop", "parametric")
    allocations = tuple(
        Allocation(
            approach=name,
            a=interval(0.49),
            b=interval(0.51),
            sum_ab=1.0,
            flops=flops,
            n_opt=0.1 * flops**0.49,
            d_opt=1.6 * flops**0.51,
            profiles=(make_profile(), make_profile("no_minimum")) if name == "isoflop" else (),
            problems=(problem("edge_minimum", "disqualifying"),) if name == "isoflop" else (),
        )
        for name in names
    )
    return Analysis(
        fit=chinchilla,
        chinchilla=chinchilla,
        frontier=make_fit("power_floor", np.array([1.2, 1e12, 0.2]), (problem("few_runs"),)),
        kaplan=make_fit("kaplan_joint", np.array([1e5, 1e6, 0.1, 0.1]), (problem("outliers"),)),
        allocations=allocations,
        ceilings=tuple(
            Ceiling(
                n_params=float(n),
                ceiling=interval(1.2 + 40 / n**0.33),
                best_loss=1.2 + 40 / n**0.33 + 0.4,
                reducible_by_data=0.4,
            )
            for n in SIZES
        ),
        entropy=interval(1.2),
        naive=NaivePower(intercept=3.0, slope=-0.07),
        problems=(problem("pre_asymptotic", text="The slope <steepens> & bends."),),
        frontier_flops=flops,
        frontier_loss=3 * (flops / 1e12) ** -0.05,
        n_runs=9,
        target="loss",
    )


def make_curves() -> tuple[Curve, ...]:
    d = np.geomspace(1e4, 16e6, 600)
    loss = 1.5 + 60 / d**0.3
    kinds = ("trunk", "branch", "holdout")
    return tuple(
        Curve(
            run=HOSTILE, label=rf"{HOSTILE} $\no{kind}$", n_tokens=d, loss=loss + i / 10, kind=kind
        )
        for i, kind in enumerate(kinds)
    )


def make_table() -> dict[str, np.ndarray]:
    n, d = (grid.ravel() for grid in np.meshgrid(SIZES, TOKENS))
    loss = 1.2 + 40 / n**0.33 + 60 / d**0.3
    return {
        "run": np.array([HOSTILE, *(f"run{i}" for i in range(1, n.size))]),
        "n_params": n,
        "n_tokens": d,
        "flops": 6 * n * d,
        "loss": loss,
        "loss_code": loss - 0.1,
    }


@pytest.fixture(scope="session")
def report() -> Report:
    analysis = make_analysis()
    study = StudyConfig(
        data=DataSection(domains=(DomainSection(name="prose", source="path:texts"),)),
        ladder=LadderSection(widths=(32, 64), tokens=(1_000_000,)),
    )
    card = {
        "version": 1,
        "recipe_hash": "ab" * 32,
        "vocab_size": 512,
        "domains": [{"name": "prose", "licence": f"MIT {HOSTILE}", "documents": 12_345}],
    }
    forecast = Forecast(
        n_params=1.05e6,
        n_tokens=6e7,
        flops=3.8e14,
        loss=Interval(value=2.2, low=2.15, high=2.25),
        naive_loss=2.05,
        problems=(problem("extrapolation", "note"),),
        law="1.00 chinchilla",
        inputs_hash="0" * 64,
        sha256="1" * 64,
    )
    return Report(
        title=f"Study {HOSTILE}",
        study=study,
        card=card,
        table=make_table(),
        curves=make_curves(),
        analysis=analysis,
        forecast=forecast,
        actual=2.18,
        plan=plan(analysis.fit, flops=1e16),
        problems=(problem("diverged_runs", text=f"Run {HOSTILE}"), problem("repeated_data")),
        version="0.1.0",
    )


@pytest.fixture(scope="session")
def page(report: Report) -> str:
    return render(report)


@pytest.fixture(scope="session")
def bare(report: Report) -> Report:
    """The same study before anything was fitted."""
    return replace(
        report, card=None, curves=(), analysis=None, forecast=None, actual=None, plan=None, table={}
    )
