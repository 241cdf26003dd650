"""Laws: functional forms and published constants, NumPy only, one form a file.

What to use when:
- `find_law("chinchilla")`: loss from size and tokens; the default.
- `find_law("kaplan_joint")`, `kaplan_floor`: Kaplan's form, where size and tokens interact.
- `find_law("skaling")`: the additive law with coupled terms; needs a wide ladder.
- `find_law("farseer")`: its exponents move with size; needs dozens of runs.
- `find_law("kaplan_steps")`: Kaplan's law of size and optimiser steps.
- `find_law("repeated")`: data seen more than once; needs `n_unique_tokens`.
- `find_law("power_floor")`, `power`: one variable, e.g. the compute frontier.
- `find_law("m3")`, `m4`: one variable, a curve that starts or ends on a plateau;
  `bnsl_1`, `bnsl_2`: one with one or two breaks.
- `exponential_mixing`, `bimix`, `additive_mixture`, `joint_mixture`: shares of the domains.
- `sigmoid_to_one`, `sigmoid`, `error_on_loss`: accuracy or error of a task from a loss.
- `annealed`, `annealed_sizes`, `tissue`, `tissue_sizes`, `multi_power`: whole loss curves, along
  a schedule; `LrPath` makes their columns.
- `product_power`: learning rate or batch as powers of size, tokens or compute.
- `own_law`: a plain function of named arguments as a law; `fit(table, law=function)` does it.
- `best_split`: compute-optimal runs of an estimate, with intervals and near-optimal sizes.
- `optimum`: the compute-optimal size and tokens of any law of both.
- `Estimate`: weighted laws with draws, noise and problems; `find_published` gives one.
"""

from isoflop.laws._law import Inputs, Law, Param, Term, find_in
from isoflop.laws._published import PF_DAY, Published
from isoflop.laws.annealed import ANNEALED, ANNEALED_SIZES
from isoflop.laws.best_split import BestSplit, NearOptimal, best_split, mean_law, near_optimal
from isoflop.laws.broken_power import BNSL_1, BNSL_2
from isoflop.laws.chinchilla import CHINCHILLA, CHINCHILLA_TIED
from isoflop.laws.downstream import ERROR_ON_LOSS, SIGMOID, SIGMOID_TO_ONE
from isoflop.laws.estimate import Component, Estimate, check_inputs
from isoflop.laws.farseer import FARSEER
from isoflop.laws.hyperparameter import product_power
from isoflop.laws.kaplan import KAPLAN_FLOOR, KAPLAN_JOINT, KAPLAN_STEPS
from isoflop.laws.lr_path import LrPath
from isoflop.laws.mixture import bimix, exponential_mixing
from isoflop.laws.mixture_scaled import additive_mixture, joint_mixture
from isoflop.laws.multi_power import MULTI_POWER
from isoflop.laws.numeric_optimum import best_log_size, find_root
from isoflop.laws.optimum import CLOSED_FORM, Optimum, additive_form, frontier_exponent, optimum
from isoflop.laws.own import OWN, own_law
from isoflop.laws.power import POWER, POWER_FLOOR
from isoflop.laws.published import PUBLISHED, find_published
from isoflop.laws.repeated import REPEATED
from isoflop.laws.saturating import M3, M4
from isoflop.laws.skaling import SKALING
from isoflop.laws.tissue import TISSUE, TISSUE_SIZES

__all__ = [
    "ANNEALED",
    "ANNEALED_SIZES",
    "BNSL_1",
    "BNSL_2",
    "CHINCHILLA",
    "CHINCHILLA_TIED",
    "CLOSED_FORM",
    "CURVE_LAWS",
    "ERROR_ON_LOSS",
    "FARSEER",
    "KAPLAN_FLOOR",
    "KAPLAN_JOINT",
    "KAPLAN_STEPS",
    "LAWS",
    "M3",
    "M4",
    "MULTI_POWER",
    "OWN",
    "PF_DAY",
    "POWER",
    "POWER_FLOOR",
    "PUBLISHED",
    "REPEATED",
    "SIGMOID",
    "SIGMOID_TO_ONE",
    "SKALING",
    "TISSUE",
    "TISSUE_SIZES",
    "BestSplit",
    "Component",
    "Estimate",
    "Inputs",
    "Law",
    "LrPath",
    "NearOptimal",
    "Optimum",
    "Param",
    "Published",
    "Term",
    "additive_form",
    "additive_mixture",
    "best_log_size",
    "best_split",
    "bimix",
    "check_inputs",
    "exponential_mixing",
    "find_in",
    "find_law",
    "find_published",
    "find_root",
    "frontier_exponent",
    "joint_mixture",
    "mean_law",
    "near_optimal",
    "optimum",
    "own_law",
    "product_power",
]

LAWS: tuple[Law, ...] = (
    CHINCHILLA,
    CHINCHILLA_TIED,
    KAPLAN_JOINT,
    KAPLAN_FLOOR,
    SKALING,
    FARSEER,
    REPEATED,
    KAPLAN_STEPS,
    POWER_FLOOR,
    POWER,
    M3,
    M4,
    BNSL_1,
    BNSL_2,
    SIGMOID_TO_ONE,
    SIGMOID,
    ERROR_ON_LOSS,
)
"""Every law that a fit can be asked for."""

CURVE_LAWS: tuple[Law, ...] = (ANNEALED, ANNEALED_SIZES, TISSUE, TISSUE_SIZES, MULTI_POWER)
"""Every law along a run, for `fit_curves`."""


def find_law(name: str) -> Law:
    """The law of that name.

    Raises:
        InputError: no such law; the text lists those there are.
    """
    known = {law.name: law for law in (*LAWS, *CURVE_LAWS)}
    find_in(name, known, "law")
    return known[name]
