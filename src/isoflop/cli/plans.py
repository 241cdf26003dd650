"""The `plan` verb: from options to a plan, whatever the law comes from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop._errors import InputError
from isoflop.cli.own_law import is_own, own_function
from isoflop.cli.task_steps import refuse_half, task_steps

if TYPE_CHECKING:
    from isoflop.accounting import ShapeRule
    from isoflop.planning import BuildWish, Plan, ServingWish


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """The options of `plan` as given; None is left to the study's [plan] or to the planner."""

    wishes: Mapping[str, Any]
    """What `planning.plan` takes under the same names."""
    served: Mapping[str, Any]
    """serve_on, prompt_tokens, answer_tokens, max_token_s, max_first_token_s."""
    model: Mapping[str, Any]
    """config, vocab_size, context, batch_tokens."""
    task: str | None = None
    explain: bool = False

    def given(self, rule: "ShapeRule") -> dict[str, Any]:
        """Wishes that are not None, with those on serving and on the model as the planner's.

        Args:
            rule: the family of decoders, before what is asked of it here.
        """
        found = {key: value for key, value in self.wishes.items() if value is not None}
        build = _build(self.model, rule)
        serving = _serving(self.served, build.rule)
        if serving is not None:
            found["serving"] = serving
        return found | {"build": build} | ({"explain": True} if self.explain else {})


def plan_for(source: Path | None, law: str | None, asked: Asked, *, force: bool) -> "Plan":
    """The plan from published constants, a table of runs, a law card or a study folder.

    Raises:
        InputError: published constants and a source; a law of one's own without a CSV or card; no
            goal where published constants or a CSV are used (a study has its own in [plan]).
    """
    from isoflop.cli.verbs import analysis_of, is_table

    refuse_half(asked.wishes.get("score"), asked.task)
    from_table = source is not None and is_table(source)
    own = law is not None and is_own(law)
    if own and not from_table:
        raise InputError(
            f"--law {law} needs a CSV of runs to fit, or a card made with it. Name one."
        )
    if law is not None and source is not None and not own:
        raise InputError(f"give a source or --law, but got {source} and --law {law}. Drop one.")
    if law is None and not from_table:
        return _of_study(source, asked, force=force)
    from isoflop.accounting import ShapeRule
    from isoflop.planning import GOALS, plan

    given = asked.given(ShapeRule()) | {"force": force}
    if not given.keys() & set(GOALS) and not _has_size(given):
        options = " ".join(f"--{name.replace('_', '-')}" for name in GOALS)
        raise InputError(f"nothing to plan for. Give one of {options}.")
    if asked.task is not None:
        steps = task_steps(source, law, asked.task)
        made = plan(steps.first, task=steps.second, **given)
        return replace(made, problems=made.problems + steps.problems)
    if law is not None and not own:
        from isoflop.laws import find_published

        return plan(find_published(law), **given)
    assert source is not None
    if source.suffix == ".json":
        from isoflop.reports import read_law_card

        function = own_function(law) if law is not None else None
        return plan(read_law_card(source, law=function), **given)
    return plan(analysis_of(source, [law] if law else []).fit, **given)


def _of_study(source: Path | None, asked: Asked, *, force: bool) -> "Plan":
    """A study's plan, from its own fit or for a score on one of its tasks."""
    from isoflop.study import open_study, plan_study, shape_rule

    study = open_study(source or Path("."), None, [])
    given = asked.given(shape_rule(study)) | {"force": force}
    if asked.task is None:
        return plan_study(study, **given)
    steps = task_steps(study.path, None, asked.task)
    made = plan_study(study, law=steps.first, task=steps.second, **given)
    return replace(made, problems=made.problems + steps.problems)


def _has_size(given: Mapping[str, Any]) -> bool:
    """Whether a model is given, which is a goal of its own: its compute-optimal tokens."""
    build = given.get("build")
    return build is not None and build.architecture is not None


def _build(model: Mapping[str, Any], rule: "ShapeRule") -> "BuildWish":
    asked = {key: value for key, value in model.items() if value is not None}
    from isoflop.accounting import read_architecture
    from isoflop.planning import BuildWish

    config = asked.pop("config", None)
    if config is not None and "vocab_size" in asked:
        raise InputError(
            f"--vocab-size {asked['vocab_size']} and --config {config} both give a vocabulary. "
            "Drop one."
        )
    batch = asked.pop("batch_tokens", None)
    return BuildWish(
        rule=replace(rule, **asked),
        architecture=None if config is None else read_architecture(config),
        batch_tokens=batch,
    )


def _serving(served: Mapping[str, Any], rule: "ShapeRule") -> "ServingWish | None":
    asked = {key: value for key, value in served.items() if value is not None}
    if not asked:
        return None
    needed = ("serve_on", "prompt_tokens", "answer_tokens")
    missing = [f"--{name.replace('_', '-')}" for name in needed if name not in asked]
    if missing:
        told = f"--{next(iter(asked)).replace('_', '-')}"
        raise InputError(f"{told} needs {' and '.join(missing)} too. Give them, or leave it out.")
    from isoflop.accounting import find_accelerator
    from isoflop.planning import ServingWish

    return ServingWish(
        accelerator=find_accelerator(asked["serve_on"]),
        input_tokens=asked["prompt_tokens"],
        output_tokens=asked["answer_tokens"],
        max_token_s=asked.get("max_token_s"),
        max_first_token_s=asked.get("max_first_token_s"),
        rule=rule,
    )
