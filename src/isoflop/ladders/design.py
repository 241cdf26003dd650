"""Resolving a study to complete trainings: rules of thumb end here, the trainer only obeys."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from isoflop._errors import InputError, StudyError
from isoflop.accounting import count_params
from isoflop.data import DataCard
from isoflop.ladders.rates import Rate, RateRule, TunedLaw, train_rule
from isoflop.ladders.rungs import Rung, resolve_rungs, shortest_horizon
from isoflop.ladders.scaling import parametrisation_of
from isoflop.ladders.shapes import study_shape
from isoflop.ladders.sweep_rounds import SweepRound
from isoflop.ladders.sweeps import bracket_rates, choose_corners, swept_rates, whole_horizons
from isoflop.specs import (
    DataSpec,
    ModelShape,
    Optimiser,
    RunConfig,
    Schedule,
    StudyConfig,
)

TOKEN_RESERVE = 0.98
"""Share of a domain's tokens that a training counts on: windows are whole, and domains
interleave, not divide, exactly."""


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
    """The pilots, what tunes them, and the held-out larger run if the study has one."""

    pilots: tuple[Job, ...]
    holdout: Job | None
    sweeps: tuple[Job, ...] = ()
    """Trainings of `[tune]`, before the pilots."""
    bracket: tuple[Job, ...] = ()
    """The largest pilot's shortest branch at its own rate, a lower and a higher one."""
    arms: tuple[tuple[str, Job], ...] = ()
    """Trainings of other data recipes, each with the arm's name; no fit of the pilots sees them."""
    tuned: bool = False
    """Whether the rates are those of a fitted law; else of the rule of [train]."""

    @property
    def jobs(self) -> tuple[tuple[str, Job], ...]:
        """Every job with what it is for, in the order of training."""
        return (
            *(("sweep", job) for job in self.sweeps),
            *(("bracket", job) for job in self.bracket[1:]),
            *(("pilot", job) for job in self.pilots),
            *((("held-out", self.holdout),) if self.holdout else ()),
            *((f"arm {name}", job) for name, job in self.arms),
        )

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
    def of(card: DataCard) -> "CorpusFacts":
        """Facts of a prepared corpus."""
        tokens = {domain.name: domain.train_tokens for domain in card.domains}
        return CorpusFacts(corpus_hash=card.corpus_hash, train_tokens=tokens)

    @staticmethod
    def unknown(config: StudyConfig) -> "CorpusFacts":
        """Facts of a corpus that is not prepared yet: no token budget is too large for it."""
        names = [domain.name for domain in config.data.domains]
        return CorpusFacts(corpus_hash="unknown", train_tokens=dict.fromkeys(names, 2**62))


def design_ladder(
    config: StudyConfig,
    corpus: CorpusFacts,
    law: TunedLaw | None = None,
    rounds: Sequence[SweepRound] = (),
) -> Ladder:
    """Every training of a study; tokens are rounded to whole batches.

    Args:
        config: the study.
        corpus: what it trains on.
        law: what the sweeps of `[tune]` came to; without, rates are those of `[train]`.
        rounds: the sweeps' further rounds, rates by the N of their corner.

    Raises:
        StudyError: an impossible shape, too short or two equal runs, more tokens than the corpus
            has without repetition, a held-out run that is no larger than the pilots or shares
            a training with one, or a further round at another corner; names the key.
    """
    rungs = resolve_rungs(config)
    plain = train_rule(config)
    maker = _Maker(
        config=config,
        corpus=corpus,
        shortest=shortest_horizon(config, rungs),
        rule=plain if law is None else law.rule(config),
    )
    pilots = [job for rung in rungs for job in maker.jobs(rung.shape, rung.horizons, key=maker.key)]
    holdout = _holdout(maker, pilots) if config.holdout else None
    ladder = Ladder(pilots=tuple(pilots), holdout=holdout, tuned=law is not None)
    if config.tune is None:
        return ladder
    sweeps = _sweeps(replace(maker, rule=plain), rungs, rounds)
    return replace(ladder, sweeps=sweeps, bracket=_bracket(maker, rungs))


def one_cell(ladder: Ladder, width: int | None, tokens: int | None, *, key: str) -> Job:
    """The pilot of one width and horizon: left out, the largest and its longest.

    Raises:
        StudyError: no pilot of this width, or none with this horizon.
    """
    jobs = [job for job in ladder.pilots if width in (None, job.trunk.shape.width)]
    if not jobs:
        raise StudyError(
            f"{key}.width = {width}: no pilot has this width. Name one of the ladder's, or leave "
            "the key out for the largest."
        )
    size = max(job.n_params for job in jobs)
    cells = [(job, run) for job in jobs if job.n_params == size for run in job.branches]
    if tokens is not None:
        batch = cells[0][1].optimiser.batch_tokens
        cells = [(j, run) for j, run in cells if run.n_tokens == _whole(tokens, batch)]
        if not cells:
            raise StudyError(
                f"{key}.tokens = {tokens}: the pilot has no such horizon. Name one of its "
                "horizons, or leave the key out for the longest."
            )
    job, run = max(cells, key=lambda cell: cell[1].n_tokens)
    trunk = run if run.trunk is None else job.trunk
    return Job(trunk=trunk, branches=(run,))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Maker:
    """What all jobs of a study share."""

    config: StudyConfig
    corpus: CorpusFacts
    shortest: int
    """Tokens of the ladder's shortest run."""
    rule: RateRule

    @property
    def key(self) -> str:
        """How errors name the pilots' horizons."""
        kind = self.config.ladder.kind
        return "ladder.tokens" if kind == "explicit" else f"ladder.{kind} tokens"

    def jobs(
        self, shape: ModelShape, horizons: Sequence[int], *, key: str, rate: Rate | None = None
    ) -> list[Job]:
        """The trainings of one shape: a trunk with its branches, or one cosine a horizon."""
        train = self.config.train
        if train.schedule == "wsd":
            return [self._job(shape, horizons, key, rate)]
        jobs = []
        for horizon in horizons:
            (branch,) = self._job(shape, (horizon,), key, rate).branches
            schedule = replace(
                branch.schedule,
                kind="cosine",
                cooldown_tokens=0,
                final_factor=train.final_factor,
            )
            own = replace(branch, schedule=schedule, trunk=None)
            jobs.append(Job(trunk=own, branches=(own,)))
        return jobs

    def _job(self, shape: ModelShape, horizons: Sequence[int], key: str, rate: Rate | None) -> Job:
        config = self.config
        trunk = self._trunk(shape, self.rule(shape, horizons) if rate is None else rate)
        share, batch = config.train.cooldown_fraction, trunk.optimiser.batch_tokens
        branches = []
        for horizon in horizons:
            try:
                schedule = _cooldown(trunk.schedule, horizon, share, batch)
            except InputError as error:
                raise StudyError(f"{key} = {horizon}: {error}") from error
            branches.append(replace(trunk, schedule=schedule, trunk=trunk.run_id))
            _check_tokens(trunk.data, horizon, self.corpus, key=key)
        return Job(trunk=trunk, branches=tuple(branches))

    def _trunk(self, shape: ModelShape, rate: Rate) -> RunConfig:
        config, train = self.config, self.config.train
        # Porian et al. 2024 (arXiv:2406.19146): a warm-up longer than N tokens penalises small
        # models.
        warmup = train.warmup_tokens
        if warmup is None:
            warmup = min(count_params(shape).under("active"), self.shortest // 10)
        warmup = max(rate.batch_tokens, _whole(warmup, rate.batch_tokens))
        return RunConfig(
            shape=shape,
            data=_data(config, self.corpus),
            schedule=Schedule(
                kind="trunk",
                warmup_tokens=warmup,
                decay_exponent=train.lr_decay_exponent,
                decay_from_tokens=train.lr_decay_from_tokens,
            ),
            optimiser=Optimiser(
                lr=rate.lr,
                batch_tokens=rate.batch_tokens,
                embedding_lr_factor=train.embedding_lr_factor,
                weight_decay=train.weight_decay,
                beta2=train.beta2,
            ),
            seed=config.seed,
            parametrisation=parametrisation_of(config),
        )


def _sweeps(maker: _Maker, rungs: Sequence[Rung], rounds: Sequence[SweepRound]) -> tuple[Job, ...]:
    """One trunk a corner and rate; its branches end at the corners' horizons."""
    corners = choose_corners(maker.config, rungs, maker.rule)
    horizons = whole_horizons(maker.config, corners.horizons)
    shapes = {rung.n_params: rung.shape for rung in corners.rungs}
    first = {
        rung.n_params: swept_rates(maker.config, maker.rule(rung.shape, rung.horizons))
        for rung in corners.rungs
    }
    for n_params in (n for one in rounds for n in one if n not in shapes):
        raise StudyError(
            f"tune: a further round of the sweeps is at N = {n_params}, which is no corner of this "
            "ladder. Undo the change of the study, or delete fits/sweeps.json to sweep anew."
        )
    return tuple(
        job
        for one in (first, *rounds)
        for n_params, rates in one.items()
        for rate in rates
        for job in maker.jobs(shapes[n_params], horizons, key="tune: horizon", rate=rate)
    )


def _bracket(maker: _Maker, rungs: Sequence[Rung]) -> tuple[Job, ...]:
    """The largest pilot to its shortest horizon: at its own rate, then a lower and a higher."""
    top = max(rungs, key=lambda rung: rung.n_params)
    # A cosine has a rate of its own at every horizon.
    wsd = maker.config.train.schedule == "wsd"
    own = maker.rule(top.shape, top.horizons if wsd else top.horizons[:1])
    return tuple(
        job
        for rate in (own, *bracket_rates(own))
        for job in maker.jobs(top.shape, top.horizons[:1], key=maker.key, rate=rate)
    )


def _cooldown(hold: Schedule, n_tokens: int, share: float, batch: int) -> Schedule:
    total = _whole(n_tokens, batch)
    cooldown = max(batch, _whole(round(share * total), batch))
    return replace(hold, kind="wsd", n_tokens=total, cooldown_tokens=cooldown)


def _holdout(maker: _Maker, pilots: Sequence[Job]) -> Job:
    config, section = maker.config, maker.config.holdout
    assert section is not None
    depth = section.depth or config.model.depth
    heads = section.heads or config.model.n_heads
    shape = study_shape(config, section.width, depth, heads, key="holdout.width")
    (job,) = maker.jobs(shape, [section.tokens], key="holdout.tokens")
    if job.trunk.run_id in {pilot.trunk.run_id for pilot in pilots}:
        raise StudyError(
            f"holdout.width = {section.width}: a pilot has the same shape, and the held-out run "
            "would be a branch of its trunk, which the fit has seen. Use a width that no "
            "pilot has (none of ladder.widths)."
        )
    largest = max(6 * pilot.n_params * run.n_tokens for pilot in pilots for run in pilot.branches)
    ratio = 6 * job.n_params * job.branches[0].n_tokens / largest
    if ratio <= 1:
        raise StudyError(
            f"holdout: {ratio:.2f} times the largest pilot's compute checks no extrapolation. "
            "Raise holdout.width or holdout.tokens."
        )
    return job


def _data(config: StudyConfig, corpus: CorpusFacts) -> DataSpec:
    data, domains = config.data, config.data.domains
    sizes = {domain.name: domain.weight for domain in domains}
    if data.temperature is not None:
        largest = max(corpus.train_tokens[name] for name in sizes)
        power = 1 / data.temperature
        sizes = {name: (corpus.train_tokens[name] / largest) ** power for name in sizes}
    total = sum(sizes.values())
    return DataSpec(
        corpus_hash=corpus.corpus_hash,
        weights=tuple((name, size / total) for name, size in sizes.items()),
        repeat=data.repeat,
        unique_tokens=tuple((d.name, d.unique_tokens) for d in domains if d.unique_tokens),
    )


def _check_tokens(data: DataSpec, n_tokens: int, corpus: CorpusFacts, *, key: str) -> None:
    if data.repeat:
        return
    available = data.available(corpus.train_tokens)
    for name, share in data.weights:
        have = available[name]
        if share * n_tokens > TOKEN_RESERVE * have:
            raise StudyError(
                f"{key} = {n_tokens}: needs {share * n_tokens:.0f} tokens of domain {name!r}, "
                f"which has {have}. Add documents, train on fewer tokens or set "
                "data.repeat = true."
            )


def _whole(n_tokens: int, batch: int) -> int:
    return n_tokens // batch * batch
