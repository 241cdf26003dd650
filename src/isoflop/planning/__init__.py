"""Planning: an `Estimate` and one constraint become a `Plan` with intervals; knows no fitting.

What to use when:
- `plan(fit, flops=...)`: the compute-optimal run of a budget; `loss=`, `n_params=` or
  `n_tokens=` for the other three questions; both of the last two to price a given run;
  `device_hours=`, `days=` or `usd=` for a budget of these. `inference_tokens=` for a model that
  serves.
- `explain(estimate, flops)`: published allocations of a budget beside ours, and why they differ;
  `revealed_demand` and `overhead_of_size`: what a trained model's size says of its use.
- `summary_lines(plan)`: the plan in words, for people.
"""

from isoflop.planning.budgets import BUDGETS
from isoflop.planning.explain import Allocation, Counted, Explanation, explain
from isoflop.planning.plan import PLAN_VERSION, Plan
from isoflop.planning.planner import plan
from isoflop.planning.problems import WARN_BEYOND
from isoflop.planning.reasons import Reason
from isoflop.planning.revealed import Revealed, SizeOverhead, overhead_of_size, revealed_demand
from isoflop.planning.summary import summary_lines

GOALS = ("flops", "loss", "n_params", "n_tokens", *BUDGETS)
"""What a plan can be made for."""

__all__ = [
    "GOALS",
    "PLAN_VERSION",
    "WARN_BEYOND",
    "Allocation",
    "Counted",
    "Explanation",
    "Plan",
    "Reason",
    "Revealed",
    "SizeOverhead",
    "explain",
    "overhead_of_size",
    "plan",
    "revealed_demand",
    "summary_lines",
]
