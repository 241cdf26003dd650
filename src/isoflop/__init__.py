"""isoflop: from a few pilot runs to the plan for the big one.

What to use when:
- `read_runs`: study folders, run folders or CSV files -> one table.
- `fit`: a table -> laws weighed by back-test, with intervals and problems; or a law of your own,
  a plain function (`law=my_law`; `Param` gives an argument a range). `analyse`: the table ->
  everything that allocation needs (three approaches, frontier, ceilings).
- `sensitivity`: how its key answers move with outliers, objective, law and counting.
- `compare`: two recipes' tables -> how much compute one saves over the other. `next_runs`: a fit,
  a target, a budget -> which runs next. `compare_arms`: several recipes at once.
- `fit_curves`: whole loss curves of a few pilots -> a law along a run. `read_curves`: the curves
  of a study.
- `check_collapse`: curves of a ladder -> the rung that is tuned unlike the others.
- `fit_lr_batch`: a sweep -> learning rate and batch. `best_mixture`: fits -> shares of domains;
  `propose_mixture`: runs of several mixtures -> the shares held best.
  `fit_task`: a ladder -> accuracy of a task.
- `law_card`, `write_law_card`, `read_law_card`: all that an appendix must say, as a file.
- `plan`: a fit, a law card or a published law and one constraint -> size, tokens, FLOPs, days,
  money.
- `find_published`: the constants of a paper as an `Estimate`.
- `read_architecture`: a Hugging Face `config.json` -> `Architecture`; `count_weights`,
  `token_flops`: its parameters and FLOPs under every convention.
- `export_run`: a trained run as Hugging Face files.
- `measure_quality`: quality statistics of texts; `judge` applies rules of `QualitySection` to them.
- `open_study`, `run_study`: a `study.toml`, done from corpus to report.

Names load when they are first used: `import isoflop` takes milliseconds and needs no NumPy.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isoflop._errors import (
        DataError,
        FitError,
        InputError,
        IsoflopError,
        MissingExtraError,
        RunError,
        StudyError,
        WorkerError,
    )
    from isoflop._types import Interval, Prediction, Problem
    from isoflop.accounting import (
        Architecture,
        count_params,
        count_weights,
        find_accelerator,
        read_architecture,
        read_hardware,
        token_flops,
        train_flops,
    )
    from isoflop.data import judge, measure_quality
    from isoflop.fitting import (
        Analysis,
        Comparison,
        CurveFit,
        Design,
        Fit,
        Forecast,
        LawCard,
        Sensitivity,
        analyse,
        best_mixture,
        chain,
        check_collapse,
        compare,
        compare_arms,
        fit,
        fit_curves,
        fit_lr_batch,
        fit_task,
        law_card,
        make_forecast,
        next_runs,
        propose_mixture,
        sensitivity,
    )
    from isoflop.ladders import export_run
    from isoflop.laws import (
        LAWS,
        PUBLISHED,
        Estimate,
        Law,
        LrPath,
        Param,
        find_law,
        find_published,
    )
    from isoflop.planning import Plan, plan
    from isoflop.reports import read_law_card, write_law_card
    from isoflop.runs import read_curves, read_runs
    from isoflop.specs import (
        ModelShape,
        Parametrisation,
        QualitySection,
        RunConfig,
        StudyConfig,
        read_study,
    )
    from isoflop.study import open_study, run_study

__version__ = "0.1.0"

_HOMES = {
    "isoflop._errors": (
        "DataError",
        "FitError",
        "InputError",
        "IsoflopError",
        "MissingExtraError",
        "RunError",
        "StudyError",
        "WorkerError",
    ),
    "isoflop._types": ("Interval", "Prediction", "Problem"),
    "isoflop.accounting": (
        "Architecture",
        "count_params",
        "count_weights",
        "find_accelerator",
        "read_architecture",
        "read_hardware",
        "token_flops",
        "train_flops",
    ),
    "isoflop.data": ("judge", "measure_quality"),
    "isoflop.fitting": (
        "Analysis",
        "Comparison",
        "CurveFit",
        "Design",
        "Fit",
        "Forecast",
        "LawCard",
        "Sensitivity",
        "analyse",
        "compare",
        "fit",
        "make_forecast",
        "next_runs",
        "compare_arms",
        "propose_mixture",
        "best_mixture",
        "chain",
        "check_collapse",
        "fit_curves",
        "fit_lr_batch",
        "fit_task",
        "law_card",
        "sensitivity",
    ),
    "isoflop.ladders": ("export_run",),
    "isoflop.laws": (
        "LAWS",
        "PUBLISHED",
        "Estimate",
        "Law",
        "LrPath",
        "Param",
        "find_law",
        "find_published",
    ),
    "isoflop.planning": ("Plan", "plan"),
    "isoflop.reports": ("read_law_card", "write_law_card"),
    "isoflop.runs": ("read_curves", "read_runs"),
    "isoflop.specs": (
        "ModelShape",
        "Parametrisation",
        "QualitySection",
        "RunConfig",
        "StudyConfig",
        "read_study",
    ),
    "isoflop.study": ("open_study", "run_study"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "LAWS",
    "PUBLISHED",
    "Analysis",
    "Architecture",
    "Comparison",
    "CurveFit",
    "DataError",
    "Design",
    "Estimate",
    "Fit",
    "FitError",
    "Forecast",
    "InputError",
    "Interval",
    "IsoflopError",
    "Law",
    "LawCard",
    "LrPath",
    "MissingExtraError",
    "ModelShape",
    "Param",
    "Parametrisation",
    "Plan",
    "Prediction",
    "Problem",
    "QualitySection",
    "RunConfig",
    "RunError",
    "Sensitivity",
    "StudyConfig",
    "StudyError",
    "WorkerError",
    "analyse",
    "best_mixture",
    "chain",
    "check_collapse",
    "compare",
    "compare_arms",
    "count_params",
    "count_weights",
    "export_run",
    "find_accelerator",
    "find_law",
    "find_published",
    "fit",
    "fit_curves",
    "fit_lr_batch",
    "fit_task",
    "judge",
    "law_card",
    "make_forecast",
    "measure_quality",
    "next_runs",
    "open_study",
    "plan",
    "propose_mixture",
    "read_architecture",
    "read_curves",
    "read_hardware",
    "read_law_card",
    "read_runs",
    "read_study",
    "run_study",
    "sensitivity",
    "token_flops",
    "train_flops",
    "write_law_card",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'isoflop' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value  # the next use finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
