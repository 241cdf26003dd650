"""Resolving a study to complete trainings: rules of thumb end here, the trainer only obeys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from isoflop._errors import InputError, StudyError
from isoflop.accounting import count_params
from isoflop.ladders.scaling import base_rate, parametrisation_of
from isoflop.specs import (
    DataSpec,
    ModelShape,
    Optimiser,
    RunConfig,
    Schedule,
    StudyConfig,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What one process trains: a trunk, then the branches that cool down from it.

    A run of its own (a cosine) has no trunk: it is the job's trunk and its only branch at once.
    """

    trunk: RunConfig
    branches: tuple[RunConfig, ...]

    @property
    def runs(self) -> tuple[RunConfig, ...]:
        """Trunk first, every run once."""
        return tuple(dict.fromkeys((self.trunk, *self.branches)))

    @property
    def n_params(self) -> int:
        """Parameters that 6·N·D counts: under the default convention, of a mixture the active."""
        return count_params(self.trunk.shape).under("active")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ladder:
    """The pilots, and the held-out larger run if the study has one."""

    pilots: tuple[Job, ...]
    holdout: Job | None

    @property
    def pilot_ids(self) -> frozenset[str]:
        """Ids of the pilot branches: the only runs that a fit may see."""
        return frozenset(run.run_id for job in self.pilots for run in job.branches)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorpusFacts:
    """What a design needs to know of the corpus."""

    corpus_hash: str
    train_tokens: Mapping[str, int]

    @staticmethod
    def unknown(config: StudyConfig) -> "CorpusFacts":
        """Facts of a corpus that is not prepared yet: no token budget is too large for it."""
        names = [domain.name for domain in config.data.domains]
        return CorpusFacts(corpus_hash="unknown", train_tokens=dict.fromkeys(names, 2**62))


def design_ladder(config: StudyConfig, corpus: CorpusFacts) -> Ladder:
    """Every training of a study; tokens are rounded to whole batches.

    Raises:
        StudyError: an impossible shape, too short or two equal runs, more tokens than the corpus
            has without repetition, or a held-out run that is no larger than the pilots or shares
            a training with one; names the key.
    """
    _check_horizons(config)
    pilots = []
    for rung, width in enumerate(config.ladder.widths):
        depth = config.ladder.depths[rung] if config.ladder.depths else config.model.depth
        heads = config.ladder.heads[rung] if config.ladder.heads else config.model.n_heads
        shape = _shape(config, width, depth, heads, key="ladder.widths")
        horizons = _horizons(config, shape)
        if horizons:
            pilots += _jobs(config, corpus, shape, horizons, key="ladder.tokens")
    if not pilots:
        raise StudyError(
            f"ladder.max_flops = {config.ladder.max_flops!r}: leaves no run. Raise or remove it."
        )
    holdout = _holdout(config, corpus, pilots) if config.holdout else None
    return Ladder(pilots=tuple(pilots), holdout=holdout)


def shape_of(config: StudyConfig, *, width: int, depth: int, heads: int) -> ModelShape:
    """The model of one rung."""
    model = config.model
    return ModelShape(
        vocab_size=config.data.vocab_size,
        width=width,
        depth=depth,
        n_heads=heads,
        ff_width=model.ff_width(width),
        context=model.context,
        **model.kind(),
    )


def extend_job(branch: RunConfig, n_tokens: int, corpus: CorpusFacts) -> Job:
    """The job that carries a finished branch on, from its trunk, to more tokens."""
    old, batch = branch.schedule, branch.optimiser.batch_tokens
    if _whole(n_tokens, batch) <= branch.n_tokens:
        raise StudyError(
            f"--tokens {n_tokens}: the run has seen {branch.n_tokens} already, in batches of "
            f"{batch}. Ask for more."
        )
    share = old.cooldown_tokens / branch.n_tokens
    schedule = _cooldown(old, n_tokens, share, batch)
    longer = replace(branch, schedule=schedule)
    _check_tokens(longer.data, longer.n_tokens, corpus, key="--tokens")
    return Job(trunk=branch.as_trunk(), branches=(longer,))


def _shape(config: StudyConfig, width: int, depth: int, heads: int, *, key: str) -> ModelShape:
    if config.model.ff_width(width) < 1:
        raise StudyError(
            f"model.ff_ratio = {config.model.ff_ratio!r}: `ff_ratio * width >= 1` must hold, but "
            f"{key} has {width}. Raise one of the two."
        )
    try:
        return shape_of(config, width=width, depth=depth, heads=heads)
    except InputError as error:
        raise StudyError(f"{key} = {width}: {error}") from error


def _check_horizons(config: StudyConfig) -> None:
    """Two horizons of the same number of batches would be one and the same run."""
    batch = config.train.batch_tokens
    horizons = sorted(config.ladder.tokens)
    for short, long in pairwise(horizons):
        if _whole(short, batch) == _whole(long, batch):
            raise StudyError(
                f"ladder.tokens = {list(horizons)}: {short} and {long} are both "
                f"{short // batch} batches of train.batch_tokens = {batch}. Leave one out or set "
                "them further apart."
            )


def _horizons(config: StudyConfig, shape: ModelShape) -> list[int]:
    limit = config.ladder.max_flops
    n_active = count_params(shape).under("active")
    return [t for t in sorted(config.ladder.tokens) if limit is None or 6 * n_active * t <= limit]


def _jobs(
    config: StudyConfig,
    corpus: CorpusFacts,
    shape: ModelShape,
    horizons: Sequence[int],
    *,
    key: str,
) -> list[Job]:
    """The trainings of one shape: one trunk with its branches, or one cosine a horizon."""
    job = _job(config, corpus, shape, horizons, key=key)
    if config.train.schedule == "wsd":
        return [job]
    final, jobs = config.train.final_factor, []
    for branch in job.branches:
        schedule = replace(branch.schedule, kind="cosine", cooldown_tokens=0, final_factor=final)
        own = replace(branch, schedule=schedule, trunk=None)
        jobs.append(Job(trunk=own, branches=(own,)))
    return jobs


def _job(
    config: StudyConfig,
    corpus: CorpusFacts,
    shape: ModelShape,
    horizons: Sequence[int],
    *,
    key: str,
) -> Job:
    train = config.train
    n_params = count_params(shape).under("active")
    # Porian et al. 2024 (arXiv:2406.19146): a warm-up longer than N tokens penalises small models.
    warmup = train.warmup_tokens
    if warmup is None:
        warmup = min(n_params, min(config.ladder.tokens) // 10)
    warmup = max(train.batch_tokens, _whole(warmup, train.batch_tokens))
    lr = base_rate(train, shape.width)
    trunk = RunConfig(
        shape=shape,
        data=_data(config, corpus),
        schedule=Schedule(
            kind="trunk",
            warmup_tokens=warmup,
            decay_exponent=train.lr_decay_exponent,
            decay_from_tokens=train.lr_decay_from_tokens,
        ),
        optimiser=Optimiser(
            lr=lr,
            batch_tokens=train.batch_tokens,
            embedding_lr_factor=train.embedding_lr_factor,
            weight_decay=train.weight_decay,
            beta2=train.beta2,
        ),
        seed=config.seed,
        parametrisation=parametrisation_of(config),
    )
    branches = []
    for horizon in horizons:
        try:
            share, batch = train.cooldown_fraction, train.batch_tokens
            schedule = _cooldown(trunk.schedule, horizon, share, batch)
        except InputError as error:
            raise StudyError(f"{key} = {horizon}: {error}") from error
        branches.append(replace(trunk, schedule=schedule, trunk=trunk.run_id))
        _check_tokens(trunk.data, horizon, corpus, key=key)
    return Job(trunk=trunk, branches=tuple(branches))


def _cooldown(hold: Schedule, n_tokens: int, share: float, batch: int) -> Schedule:
    total = _whole(n_tokens, batch)
    cooldown = max(batch, _whole(round(share * total), batch))
    return replace(hold, kind="wsd", n_tokens=total, cooldown_tokens=cooldown)


def _holdout(config: StudyConfig, corpus: CorpusFacts, pilots: Sequence[Job]) -> Job:
    section = config.holdout
    assert section is not None
    depth = section.depth or config.model.depth
    heads = section.heads or config.model.n_heads
    shape = _shape(config, section.width, depth, heads, key="holdout.width")
    (job,) = _jobs(config, corpus, shape, [section.tokens], key="holdout.tokens")
    if job.trunk.run_id in {pilot.trunk.run_id for pilot in pilots}:
        raise StudyError(
            f"holdout.width = {section.width}: a pilot has the same shape, and the held-out run "
            "would be a branch of its trunk, which the fit has seen. Use a width that is not in "
            "ladder.widths."
        )
    largest = max(_flops(run) for pilot in pilots for run in pilot.branches)
    ratio = _flops(job.branches[0]) / largest
    if ratio <= 1:
        raise StudyError(
            f"holdout: {ratio:.2f} times the largest pilot's compute checks no extrapolation. "
            "Raise holdout.width or holdout.tokens."
        )
    return job


def _flops(run: RunConfig) -> int:
    return 6 * count_params(run.shape).under("active") * run.n_tokens


def _data(config: StudyConfig, corpus: CorpusFacts) -> DataSpec:
    total = sum(domain.weight for domain in config.data.domains)
    weights = tuple((domain.name, domain.weight / total) for domain in config.data.domains)
    return DataSpec(corpus_hash=corpus.corpus_hash, weights=weights, repeat=config.data.repeat)


def _check_tokens(data: DataSpec, n_tokens: int, corpus: CorpusFacts, *, key: str) -> None:
    if data.repeat:
        return
    for name, share in data.weights:
        have = corpus.train_tokens[name]
        # 2 % are kept in reserve: windows are whole and domains interleave, not divide, exactly.
        if share * n_tokens > 0.98 * have:
            raise StudyError(
                f"{key} = {n_tokens}: needs {share * n_tokens:.0f} tokens of domain {name!r}, "
                f"which has {have}. Add documents, train on fewer tokens or set "
                "data.repeat = true."
            )


def _whole(n_tokens: int, batch: int) -> int:
    return n_tokens // batch * batch
