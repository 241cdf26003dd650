"""Published constants as estimates, at the fullest precision their source gives.

A published law is an `Estimate` with a single draw unless its authors gave standard errors:
its intervals show the stated run noise only, and its problems say what else is not in them.
"""

import numpy as np

from isoflop._types import Problem
from isoflop.laws._law import find_in
from isoflop.laws._published import PF_DAY, ROUNDED, Published, published
from isoflop.laws.chinchilla import CHINCHILLA, CHINCHILLA_TIED
from isoflop.laws.farseer import FARSEER
from isoflop.laws.kaplan import KAPLAN_JOINT, KAPLAN_STEPS
from isoflop.laws.power import POWER
from isoflop.laws.published_curves import CURVES
from isoflop.laws.published_downstream import DOWNSTREAM
from isoflop.laws.published_hyperparameters import HYPERPARAMETERS
from isoflop.laws.published_optima import OPTIMA
from isoflop.laws.published_schedules import SCHEDULES
from isoflop.laws.repeated import REPEATED

_HOFFMANN_RANGE = {
    "n_params": (4.4e7, 1.6183e10),
    "n_tokens": (5e9, 5e11),
    "n_params*n_tokens": (1e18, 5e20),
}
_KAPLAN_RANGE = {"n_params": (768.0, 1.5e9), "n_tokens": (2.2e7, 2.3e10)}


def _gadre(name: str, title: str, *, entropy: float, eta: float, a: float, b: float) -> Published:
    # L = E + (a M^eta + b M^-eta) C^-eta with C = 6 N D and M = D/N is the tied additive law.
    six = 6.0**-eta
    return published(
        name,
        title,
        CHINCHILLA_TIED,
        (entropy, a * six, 2 * eta, b * six),
        "Gadre et al. 2024, arXiv:2403.08540, released code; C4 evaluation loss",
        "Implies an optimum of 3 to 7 tokens per parameter: do not use it for allocation.",
        ranges={"n_params": (1.1e7, 4.11e8)},
        problems=(
            Problem(
                code="rounded_constants",
                severity="disqualifying",
                text="Four digits, six runs: the implied optimum (3-7 tokens per parameter) is "
                "not credible.",
                remedy="Use it for losses at a given (N, D) only.",
                affects=("allocation",),
            ),
        ),
    )


PUBLISHED: tuple[Published, ...] = (
    published(
        "hoffmann",
        "Chinchilla, approach 3, unrounded",
        CHINCHILLA,
        (
            float(np.exp(0.5267228)),
            float(np.exp(6.0073404)),
            0.33917084,
            float(np.exp(6.0179186)),
            0.2849083,
        ),
        "Hoffmann et al. 2022, arXiv:2203.15556, TeX source of eq. 10",
        "Not the minimum of the stated objective: the optimiser stopped early "
        "(Besiroglu et al. 2024).",
        ranges=_HOFFMANN_RANGE,
    ),
    published(
        "hoffmann_printed",
        "Chinchilla, approach 3, as printed",
        CHINCHILLA,
        (1.69, 406.4, 0.34, 410.7, 0.28),
        "Hoffmann et al. 2022, arXiv:2203.15556, eq. 10",
        "Printed rounding moves the optimum by 60 % in tokens per parameter.",
        ranges=_HOFFMANN_RANGE,
        problems=(ROUNDED,),
    ),
    published(
        "devries",
        "Chinchilla, approach 3, as de Vries and Sardana use it",
        CHINCHILLA,
        (1.69, 406.4, 0.336, 410.7, 0.283),
        "de Vries 2023, Go smol or go home; Sardana et al. 2024, arXiv:2401.00448, released code",
        "Between the printed and the unrounded constants.",
        ranges=_HOFFMANN_RANGE,
        problems=(ROUNDED,),
    ),
    published(
        "besiroglu",
        "Chinchilla refit",
        CHINCHILLA,
        (
            float(np.exp(0.59711196)),
            float(np.exp(6.17795598)),
            0.34781303,
            float(np.exp(7.64273236)),
            0.36585412,
        ),
        "Besiroglu et al. 2024, arXiv:2404.10102, notebook cell 25",
        "Fitted on 240 points digitised from a figure (loss to about 0.01).",
        ranges=_HOFFMANN_RANGE,
    ),
    published(
        "muennighoff",
        "C4 base law (tied exponents)",
        CHINCHILLA_TIED,
        (float(np.exp(0.6254804)), float(np.exp(6.255414)), 0.3526596, float(np.exp(7.3049974))),
        "Muennighoff et al. 2023, arXiv:2305.16264, released code",
        "Its authors do not mean the losses literally; fitted on 54 digitised points.",
        ranges={"n_params": (7e6, 9e9), "n_tokens": (1e8, 9e11)},
    ),
    published(
        "muennighoff_untied",
        "C4 base law (free exponents)",
        CHINCHILLA,
        (float(np.exp(0.6303)), float(np.exp(5.9577)), 0.3348, float(np.exp(7.9145)), 0.3829),
        "Muennighoff et al. 2023, arXiv:2305.16264, released code",
        "Its authors use the tied one; 99 B parameters at Gopher's compute against 70 B.",
        ranges={"n_params": (7e6, 9e9), "n_tokens": (1e8, 9e11)},
        problems=(ROUNDED,),
    ),
    published(
        "muennighoff_repeated",
        "C4 with repeated data",
        REPEATED,
        (
            float(np.exp(0.6254804)),
            float(np.exp(6.255414)),
            0.3526596,
            float(np.exp(7.3049974)),
            15.387756,
            5.309743,
        ),
        "Muennighoff et al. 2023, arXiv:2305.16264, released code",
        "Its authors do not mean the losses literally; R_D and R_N were fitted to 182 runs with "
        "the other constants fixed.",
        "Measured at the usual weight decay: a larger one lets data be repeated more often.",
        ranges={"n_params": (7e6, 9e9), "n_tokens": (1e8, 9e11)},
    ),
    published(
        "kaplan",
        "Kaplan's joint law",
        KAPLAN_JOINT,
        (6.4e13, 1.8e13, 0.076, 0.103),
        "Kaplan et al. 2020, arXiv:2001.08361, eq. 1.5, Table 2",
        "N is non-embedding; schedules were not matched to the horizon.",
        ranges=_KAPLAN_RANGE,
        convention="non_embedding",
        problems=(ROUNDED,),
    ),
    published(
        "kaplan_n_params",
        "Kaplan's L(N), converged",
        POWER,
        (8.8e13, 0.076),
        "Kaplan et al. 2020, arXiv:2001.08361, eq. 1.1, Table 5",
        "x is the number of non-embedding parameters.",
        ranges={"x": (768.0, 1.5e9)},
        convention="non_embedding",
        problems=(ROUNDED,),
    ),
    published(
        "kaplan_n_tokens",
        "Kaplan's L(D), large model, early stopping",
        POWER,
        (5.4e13, 0.095),
        "Kaplan et al. 2020, arXiv:2001.08361, eq. 1.2, Table 5",
        "x is the number of tokens.",
        ranges={"x": (2.2e7, 2.3e10)},
        convention="non_embedding",
        problems=(ROUNDED,),
    ),
    published(
        "kaplan_flops",
        "Kaplan's L(C_min)",
        POWER,
        (3.1e8 * PF_DAY, 0.050),
        "Kaplan et al. 2020, arXiv:2001.08361, eq. 1.3, Table 5",
        "x is compute [FLOPs] at a batch far below the critical one.",
        convention="non_embedding",
        problems=(ROUNDED,),
    ),
    published(
        "kaplan_flops_naive",
        "Kaplan's L(C) at a fixed batch",
        POWER,
        (1.6e7 * PF_DAY, 0.057),
        "Kaplan et al. 2020, arXiv:2001.08361, eq. 3.3, Table 5",
        "x is compute [FLOPs]; its authors predict with kaplan_flops instead.",
        convention="non_embedding",
        problems=(ROUNDED,),
    ),
    published(
        "kaplan_steps",
        "Kaplan's L(N, S_min), endless data",
        KAPLAN_STEPS,
        (6.5e13, 2.1e3, 0.077, 0.76),
        "Kaplan et al. 2020, arXiv:2001.08361, eq. 1.6, Table 3",
        "N is non-embedding; steps are S/(1 + B_crit/B).",
        ranges={"n_params": _KAPLAN_RANGE["n_params"]},
        convention="non_embedding",
        problems=(ROUNDED,),
    ),
    published(
        "farseer_refit",
        "Farseer, refitted to its released runs",
        FARSEER,
        (
            *(-0.84824329, 0.048019142, 1.48905393),
            *(111.222779, -0.143639349, -1.00811575),
            *(-3.48459064, 0.0257376071, 4.72546245),
        ),
        "Farseer, arXiv:2506.10972: least squares in logs on 404 of the 411 released runs",
        "Not the printed constants: rounded, these lie 2.4 % below the runs, 5.1 % at 25.1 B.",
        "The loss is per byte, not per token; +1.0 % at the 25.1 B run that was held out.",
        ranges={"n_params": (1e8, 2.51e10), "n_tokens": (1e9, 5.1e11)},
        convention="unknown",
        sigma=0.002,
    ),
    *CURVES,
    _gadre("gadre_c4", "Over-training, C4", entropy=1.508, eta=0.1212, a=141.3, b=189.5),
    _gadre(
        "gadre_redpajama", "Over-training, RedPajama", entropy=1.837, eta=0.1364, a=212.2, b=366.7
    ),
    _gadre(
        "gadre_refinedweb", "Over-training, RefinedWeb", entropy=1.734, eta=0.1272, a=157.1, b=246.2
    ),
    *OPTIMA,
    *HYPERPARAMETERS,
    *DOWNSTREAM,
    *SCHEDULES,
)


def find_published(name: str) -> Published:
    """The published law of that name.

    Raises:
        InputError: no such published law; the text lists those there are.
    """
    known = {one.name: one for one in PUBLISHED}
    find_in(name, known, "published law")
    return known[name]
