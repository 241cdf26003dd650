"""Planning: an `Estimate` and one constraint become a `Plan` with intervals; knows no fitting.

What to use when:
- `plan(fit, flops=...)`: the compute-optimal run of a budget; `loss=`, `n_params=` or
  `n_tokens=` for the other three questions; both of the last two to price a given run;
  `device_hours=`, `days=` or `usd=` for a budget of these. `inference_tokens=` for a model that
  serves.
- `plan(..., max_days=..., max_usd=...)`: the same within limits; `plan.risk` has the odds.
- `loss_for_score(law_of_score, 0.7, n)`: the loss that a target accuracy needs, and its draws.
- `hardware_options(flops, model, ...)`: which accelerators, and how many: days against money.
- `summary_lines(plan)`: the plan in words, for people; `read_plan` reads what was written.
"""

from isoflop.planning.hardware_choice import hardware_options
from isoflop.planning.hardware_option import HardwareChoice, HardwareOption
from isoflop.planning.plan import PLAN_VERSION, Plan
from isoflop.planning.plan_json import plan_from_json, read_plan
from isoflop.planning.planner import plan
from isoflop.planning.problems import WARN_BEYOND
from isoflop.planning.request import GOALS, LIMITS
from isoflop.planning.risk import Measurement, Regret, Risk
from isoflop.planning.score import ScoreTarget, loss_for_score
from isoflop.planning.summary import summary_lines

__all__ = [
    "GOALS",
    "LIMITS",
    "PLAN_VERSION",
    "WARN_BEYOND",
    "HardwareChoice",
    "HardwareOption",
    "Measurement",
    "Plan",
    "Regret",
    "Risk",
    "ScoreTarget",
    "hardware_options",
    "loss_for_score",
    "plan",
    "plan_from_json",
    "read_plan",
    "summary_lines",
]
