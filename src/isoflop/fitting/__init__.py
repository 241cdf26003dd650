"""Fitting: tables of runs -> laws with honest intervals. Knows no files.

What to use when:
- `fit`: one target, laws weighed by back-test (`law="auto"`), intervals by trunk.
- `fit_curves`: whole loss curves with their learning rate -> a law along a run, for few pilots.
- `Fit.profile`: how far one parameter may move while the others make up for it.
- `analyse`: a whole ladder: three approaches to allocation, frontier, ceilings, caveats.
- `sensitivity`: how the key answers move with outliers, objective, law and counting.
- `check_collapse`: loss curves of a ladder -> the rung that is not tuned as the others.
- `compare`: two recipes' tables -> the effective compute multiplier of one over the other.
- `compare_arms`: several recipes' tables -> each one's law and its multiplier over the base.
- `propose_mixture`: runs of several mixtures -> the shares held best, hashed before they are run.
- `next_runs`: a fit, a target, a budget -> the runs that teach most about the target.
- `law_card`: a fit or an analysis -> all that a paper's appendix must say of it.
- `make_forecast`: the hashed forecast of a run that has not started.
- `fit_lr_batch`: a sweep -> the best learning rate and batch for any (N, D); `expected_regret`: the
  cost of others.
- `best_mixture`: fits of losses on mixture shares -> the best shares. `fit_boosted`: trees.
- `fit_task`, `chain`: accuracy of a task by way of its loss. `pass_rate_target`: GPT-4's target.
"""

from isoflop.fitting.analyse import analyse
from isoflop.fitting.analysis import (
    Agreement,
    Allocation,
    Analysis,
    Ceiling,
    IsoflopProfile,
    NaivePower,
    Variant,
)
from isoflop.fitting.best_mixture import BestMixture, best_mixture
from isoflop.fitting.boosted import BoostedFit, fit_boosted
from isoflop.fitting.certificate import Basin, Certificate
from isoflop.fitting.collapse import Collapse, RungShape, check_collapse, collapse_problems
from isoflop.fitting.compare import compare
from isoflop.fitting.compare_arms import ArmComparison, ArmOutcome, compare_arms
from isoflop.fitting.comparison import Comparison, Multiplier, TokensToLoss
from isoflop.fitting.curve_fit import CurveFit
from isoflop.fitting.curves import fit_curves
from isoflop.fitting.design import Design, NextRun, OneMore
from isoflop.fitting.downstream import Chain, chain, fit_task, pass_rate_target
from isoflop.fitting.fit import fit
from isoflop.fitting.fit_result import Fit, LawScore
from isoflop.fitting.forecast import Forecast, make_forecast
from isoflop.fitting.law_card import LawCard, law_card
from isoflop.fitting.lr_batch import LrBatchFit, fit_lr_batch
from isoflop.fitting.lr_regret import expected_regret
from isoflop.fitting.lr_score import LrBatchScore, score_lr_batch
from isoflop.fitting.next_runs import next_runs
from isoflop.fitting.prior import Prior
from isoflop.fitting.profile import Profile
from isoflop.fitting.propose import MixtureProposal, propose_mixture
from isoflop.fitting.sensitivity import sensitivity
from isoflop.fitting.sensitivity_result import Answer, Sensitivity

__all__ = [
    "Agreement",
    "Allocation",
    "Analysis",
    "Answer",
    "ArmComparison",
    "ArmOutcome",
    "Basin",
    "BestMixture",
    "BoostedFit",
    "Ceiling",
    "Certificate",
    "Chain",
    "Collapse",
    "Comparison",
    "CurveFit",
    "Design",
    "Fit",
    "Forecast",
    "IsoflopProfile",
    "LawCard",
    "LawScore",
    "LrBatchFit",
    "LrBatchScore",
    "MixtureProposal",
    "Multiplier",
    "NaivePower",
    "NextRun",
    "OneMore",
    "Prior",
    "Profile",
    "RungShape",
    "Sensitivity",
    "TokensToLoss",
    "Variant",
    "analyse",
    "best_mixture",
    "chain",
    "check_collapse",
    "collapse_problems",
    "compare",
    "compare_arms",
    "expected_regret",
    "fit",
    "fit_boosted",
    "fit_curves",
    "fit_lr_batch",
    "fit_task",
    "law_card",
    "make_forecast",
    "next_runs",
    "pass_rate_target",
    "propose_mixture",
    "score_lr_batch",
    "sensitivity",
]
