"""The arms of a study: other data recipes on the same ladder, compared on the same held-out text.

`fits/arms.json` holds the comparison; `fits/proposal.json` the mixture that `[data.propose]` asked
for, written before the run that tests it.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from isoflop import __version__
from isoflop._errors import DataError, RunError, StudyError
from isoflop._types import Problem, Table
from isoflop.data import arm_folder, prepare_arm, read_card
from isoflop.fitting import MixtureProposal, compare_arms, propose_mixture
from isoflop.fitting.as_json import read_problem
from isoflop.ladders import Job, Ladder
from isoflop.ladders.design import TOKEN_RESERVE, CorpusFacts, design_ladder, one_cell
from isoflop.runs import RunFolder, read_runs
from isoflop.runs.folder import read_json, write_json_atomically
from isoflop.specs import BASE_ARM, ArmSection, DataSection, ProposeSection, arm_section
from isoflop.study.folder import StudyFolder
from isoflop.study.progress import Stage, silent
from isoflop.study.tuning import read_tuning

PROPOSED = "proposed"
_VERSION = 1
TrainOn = Callable[[Sequence[Job], str, Path], None]
"""Trains jobs, under a title, on the corpus in a folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyArm:
    """One arm: the recipe it amounts to, its corpus, and its ladder."""

    name: str
    section: DataSection
    corpus: Path
    ladder: Ladder


@dataclass(frozen=True, slots=True, kw_only=True)
class Tested:
    """A proposed mixture and what its run came to; None until it has been trained."""

    proposal: MixtureProposal
    measured: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings."""
        return {"proposal": self.proposal.to_json(), "measured": self.measured}


def prepare_arms(study: StudyFolder, *, stage: Stage = silent) -> None:
    """Prepare the corpus of every arm that has documents of its own.

    Raises:
        DataError: a source, or a file of the corpus, is at fault; or a filter empties a domain.
    """
    config = study.config
    for number, arm in enumerate(config.data.arms):
        own = arm_section(config.data, arm)
        folder = arm_folder(study.data, arm.name, config.data, own)
        if folder == study.data:
            continue

        def tell(label: str, share: float, name: str = arm.name, number: int = number) -> None:
            stage((number + share) / len(config.data.arms), f"{name}: {label}")

        with study.named_in_errors():
            prepare_arm(own, study.data, folder, base=study.base, seed=config.seed, progress=tell)


def arms_of(study: StudyFolder) -> tuple[StudyArm, ...]:
    """Every arm of the study with its ladder: the pilots' grid, on the arm's corpus.

    Raises:
        StudyError: an arm has too few tokens for the ladder and does not repeat; names it.
    """
    return tuple(_arm(study, arm) for arm in study.config.data.arms)


def _arm(study: StudyFolder, arm: ArmSection) -> StudyArm:
    own = arm_section(study.config.data, arm)
    corpus = arm_folder(study.data, arm.name, study.config.data, own)
    ladder = _ladder(study, own, corpus, f"data.arms {arm.name!r}")
    return StudyArm(name=arm.name, section=own, corpus=corpus, ladder=ladder)


def _ladder(study: StudyFolder, section: DataSection, corpus: Path, key: str) -> Ladder:
    """The pilots' grid on another recipe, at the rates of the base: data alone differ."""
    plain = replace(section, arms=(), propose=None)
    config = replace(study.config, data=plain, holdout=None, tune=None)
    tuning = read_tuning(study)
    try:
        facts = CorpusFacts.of(read_card(corpus))
    except DataError:  # before anything is prepared no token budget is too large
        facts = CorpusFacts.unknown(config)
    try:
        return design_ladder(config, facts, None if tuning is None else tuning.law)
    except StudyError as error:
        raise StudyError(f"{key}: {error}") from error


def arm_jobs(study: StudyFolder) -> tuple[tuple[str, Job], ...]:
    """Every training of the arms with the arm's name, and that of a proposed mixture."""
    found = [(arm.name, job) for arm in arms_of(study) for job in arm.ladder.pilots]
    tested = proposal_outcome(study)
    if tested is not None:
        found.append((PROPOSED, _proposed_job(study, tested.proposal)))
    return tuple(found)


def train_arms(study: StudyFolder, train: TrainOn) -> None:
    """Train the ladder of every arm, then the mixture that they propose."""
    for arm in arms_of(study):
        train(arm.ladder.pilots, f"arm {arm.name}", arm.corpus)
    if study.config.data.propose is not None:
        made = propose(study)
        train([_proposed_job(study, made)], "proposed mixture", study.data)


def arm_tables(study: StudyFolder) -> dict[str, Table]:
    """The finished runs of every arm by its name, all points; `base` first.

    Arms of which no run has finished are left out.

    Raises:
        RunError: no run of the base has finished.
    """
    rows = read_runs(study.runs, kind="any")
    ladders = {BASE_ARM: _base_ladder(study), **{arm.name: arm.ladder for arm in arms_of(study)}}
    tables: dict[str, Table] = {}
    for name, ladder in ladders.items():
        trunks = [job.trunk.run_id for job in ladder.pilots]
        chosen = np.isin(rows["run"], [*sorted(ladder.pilot_ids), *trunks])
        if (rows["kind"][chosen] == "final").any():
            tables[name] = {column: values[chosen] for column, values in rows.items()}
    if BASE_ARM not in tables:
        raise RunError(f"{study.runs}: no pilot has finished. Run `isoflop run {study.path}`.")
    return tables


def compare_study_arms(
    study: StudyFolder, *, against: str = BASE_ARM, stage: Stage = silent
) -> dict[str, Any]:
    """Compare the study's arms by the common validation loss and by that of every domain.

    What `ArmComparison.to_json` says. That with the base is kept in `fits/arms.json`, and read
    from there while the runs are the same.

    Raises:
        RunError: no run of the base, or none of any arm, has finished.
        InputError: `against` is no arm with finished runs.
    """
    tables = arm_tables(study)
    if len(tables) < 2:
        raise RunError(f"{study.path}: no arm has been trained. Run `isoflop run {study.path}`.")
    domains = [domain.name for domain in study.config.data.domains]
    targets = ["loss", *(f"loss_{name}" for name in domains if len(domains) > 1)]
    path = study.fits / "arms.json"
    inputs = _inputs_hash(study, tables, targets)
    kept = _kept(path, inputs) if against == BASE_ARM else None
    if kept is not None:
        return kept
    made = compare_arms(
        tables,
        base=against,
        targets=targets,
        level=study.config.fit.level,
        n_draws=study.config.fit.n_draws,
        seed=study.config.seed,
        progress=stage,
    )
    plain = {"version": _VERSION, "inputs_hash": inputs, **made.to_json()}
    if against == BASE_ARM:
        study.fits.mkdir(exist_ok=True)
        write_json_atomically(path, plain)
    return plain


def arm_problems(made: Mapping[str, Any]) -> tuple[Problem, ...]:
    """The problems of what `compare_study_arms` gave."""
    return tuple(map(read_problem, made["problems"]))


def _inputs_hash(study: StudyFolder, tables: Mapping[str, Table], targets: Sequence[str]) -> str:
    """Of the rows that are compared and of how."""
    section = study.config.fit
    total = hashlib.sha256(
        repr((section.level, section.n_draws, study.config.seed, __version__, targets)).encode()
    )
    for name, table in tables.items():
        for column in sorted(table):
            values = np.asarray(table[column])
            total.update(f"{name} {column} {values.tolist()}".encode())
    return total.hexdigest()


def _kept(path: Path, inputs: str) -> dict[str, Any] | None:
    """The comparison that was written for the same inputs; None if it must be made."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    good = isinstance(found, dict) and (found.get("version"), found.get("inputs_hash"))
    return found if good == (_VERSION, inputs) else None


def propose(study: StudyFolder) -> MixtureProposal:
    """The mixture that the finished arms propose; once made it is read back, and never moves.

    Raises:
        FitError: too few finished runs of too few mixtures.
        InputError: the file was changed.
    """
    path = proposal_path(study)
    if path.exists():
        remedy = "Delete it and the run that tested it to propose anew."
        return MixtureProposal.from_json(read_json(path, remedy=remedy))
    section = study.config.data.propose
    assert section is not None
    target = section.target
    counts = {target: 1.0} if isinstance(target, str) else target
    job = _testing_job(study, section, None)
    mixing = [arm for arm in arms_of(study) if arm.corpus == study.data and _only_mixes(arm, study)]
    ids = {run for arm in mixing for run in arm.ladder.pilot_ids}
    ids |= _base_ladder(study).pilot_ids
    rows = read_runs(study.runs)
    chosen = np.isin(rows["run"], sorted(ids))
    made = propose_mixture(
        {name: column[chosen] for name, column in rows.items()},
        target={f"loss_{name}": count for name, count in counts.items()},
        n_params=job.n_params,
        n_tokens=job.branches[0].n_tokens,
        max_shares=_affordable(study, section, job.branches[0].n_tokens),
        level=study.config.fit.level,
        seed=study.config.seed,
    )
    study.fits.mkdir(exist_ok=True)
    write_json_atomically(path, made.to_json())
    return made


def proposal_path(study: StudyFolder) -> Path:
    """Where the proposed mixture lies."""
    return study.fits / "proposal.json"


def proposal_outcome(study: StudyFolder) -> Tested | None:
    """The proposed mixture and what its run came to; None before it is made."""
    if study.config.data.propose is None or not proposal_path(study).exists():
        return None
    made = propose(study)
    folder = RunFolder(study.runs / _proposed_job(study, made).branches[0].run_id)
    point = folder.final() if folder.path.exists() else None
    measured = None
    if point is not None:
        losses = {f"loss_{name}": value for name, value in point.loss_by_domain.items()}
        measured = sum(count * losses[name] for name, count in made.target.items())
    return Tested(proposal=made, measured=measured)


def _affordable(study: StudyFolder, section: ProposeSection, n_tokens: int) -> dict[str, float]:
    """The highest share of each domain: what is asked for, and what its tokens last for."""
    limits = dict(section.max_shares or {})
    if study.config.data.repeat:
        return limits
    data = _base_ladder(study).pilots[0].trunk.data
    facts = CorpusFacts.of(read_card(study.data))
    for name, tokens in data.available(facts.train_tokens).items():
        limits[name] = min(limits.get(name, 1.0), TOKEN_RESERVE * tokens / n_tokens)
    return limits


def _only_mixes(arm: StudyArm, study: StudyFolder) -> bool:
    """Whether an arm differs from the base in its weights alone."""
    mine, base = arm.section, study.config.data
    same = {d.name: d.unique_tokens for d in base.domains}
    return mine.repeat == base.repeat and all(
        domain.unique_tokens == same[domain.name] for domain in mine.domains
    )


def _proposed_job(study: StudyFolder, made: MixtureProposal) -> Job:
    section = study.config.data.propose
    assert section is not None
    shares = {name: one.value for name, one in made.shares.items()}
    return _testing_job(study, section, shares)


def _testing_job(
    study: StudyFolder, section: ProposeSection, shares: Mapping[str, float] | None
) -> Job:
    """One pilot of the ladder, with the proposed weights or, without any, the base's."""
    ladder = _base_ladder(study, shares)
    return one_cell(ladder, section.width, section.tokens, key="data.propose")


def _base_ladder(study: StudyFolder, shares: Mapping[str, float] | None = None) -> Ladder:
    """The pilots of `[data]` itself, or of it with other weights."""
    section = study.config.data
    if shares is not None:
        section = arm_section(section, ArmSection(name=PROPOSED, weights=shares))
    return _ladder(study, section, study.data, "data.propose")
