"""Planning: an `Estimate`, one goal and limits become a `Plan` with intervals; knows no fitting.

What to use when:
- `plan(fit, flops=...)`: the compute-optimal run of a budget; `loss=`, `n_params=` or
  `n_tokens=` for the other three questions; both of the last two to price a given run;
  `device_hours=`, `days=` or `usd=` for a budget of these. `inference_tokens=` for a model that
  serves.
- `plan(..., max_days=..., max_usd=...)`: the same within limits; `plan.risk` has the odds.
- `explain(estimate, flops)`: published allocations of a budget beside ours, and why they differ;
  `revealed_demand` and `overhead_of_size`: what a trained model's size says of its use.
- `hardware_options`: which accelerators and how many: days against money.
- `loss_for_score`: the loss that an accuracy asks for, with draws.
- `summary_lines(plan)`: the plan in words, for people; `read_plan` reads what was written.
"""

from isoflop.planning.build import Build, BuildWish
from isoflop.planning.explain import Allocation, Counted, Explanation, explain
from isoflop.planning.hardware_choice import hardware_options
from isoflop.planning.hardware_option import HardwareChoice, HardwareOption
from isoflop.planning.plan import PLAN_VERSION, Plan
from isoflop.planning.plan_json import plan_from_json, read_plan
from isoflop.planning.planner import plan
from isoflop.planning.problems import WARN_BEYOND
from isoflop.planning.reasons import Reason
from isoflop.planning.request import GOALS, LIMITS
from isoflop.planning.revealed import Revealed, SizeOverhead, overhead_of_size, revealed_demand
from isoflop.planning.risk import Measurement, Regret, Risk
from isoflop.planning.score import ScoreTarget, TwoSteps, loss_for_score
from isoflop.planning.served import ServingWish
from isoflop.planning.summary import summary_lines

__all__ = [
    "GOALS",
    "LIMITS",
    "PLAN_VERSION",
    "WARN_BEYOND",
    "Allocation",
    "Build",
    "BuildWish",
    "Counted",
    "Explanation",
    "HardwareChoice",
    "HardwareOption",
    "Measurement",
    "Plan",
    "Reason",
    "Regret",
    "Revealed",
    "Risk",
    "ScoreTarget",
    "ServingWish",
    "SizeOverhead",
    "TwoSteps",
    "explain",
    "hardware_options",
    "loss_for_score",
    "overhead_of_size",
    "plan",
    "plan_from_json",
    "read_plan",
    "revealed_demand",
    "summary_lines",
]
