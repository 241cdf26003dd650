"""`StudyConfig`: the serialised form of a whole study, one dataclass a section.

Every field with a default may be left out of `study.toml`. Units: tokens, FLOPs, nats per token,
US dollars, days. Invariants are checked here, so that Python users and files meet the same words.
"""

from dataclasses import dataclass, field
from typing import Literal

from isoflop.specs.arm import ArmSection, Duplicates, ProposeSection, arm_section
from isoflop.specs.ladder import LadderSection
from isoflop.specs.launch import LaunchSection
from isoflop.specs.model import ModelSection
from isoflop.specs.quality import QualitySection
from isoflop.specs.reading import DecontaminateSection, Format, check_reading
from isoflop.specs.section import (
    MAX_LAYERS,
    MAX_TOKENS,
    MAX_WIDTH,
    Section,
    require,
    require_positive,
    require_within,
)
from isoflop.specs.tokenizer import OWN, check_tokenizer, count_ids
from isoflop.specs.train import TrainSection
from isoflop.specs.trainer import TrainerSection
from isoflop.specs.tune import TuneSection


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSection(Section):
    """One domain of the corpus: where its documents come from."""

    name: str
    source: str
    """`package:NAME` (a recipe of texts that packages carry, see `isoflop data --recipes`),
    `path:FOLDER_OR_FILE` (see docs/data.md for what is read), relative to the study file, or
    `hf:NAME` (a data set of the Hugging Face hub, or a folder that its library loads)."""
    weight: float = 1.0
    """Share of training tokens, relative to the other domains': they need not sum to one. 0: the
    domain is not trained on, and its validation loss is measured."""
    max_mb: float | None = None
    """Keep at most this many megabytes of text (documents chosen by hash, not by order)."""
    licence: str = "unknown"
    unique_tokens: int | None = None
    """A training reads no more than this many of the domain's training tokens, again and again
    (with data.repeat): a pilot can repeat its data as often as the large run will."""
    formats: tuple[Format, ...] = ()
    """With `path:`: read files of these kinds only. Left out: text, source code and JSONL; tables
    where a folder holds none of these."""
    languages: tuple[str, ...] = ()
    """With `path:`: read source files of these languages only, told by suffix."""
    text_column: str = "text"
    """Key or column with the document in JSONL, CSV, TSV, Parquet and Arrow files."""
    split: str = ""
    """With `hf:`: the split of the data set; left out: train."""
    subset: str = ""
    """With `hf:`: the configuration of the data set, where it has several."""
    max_document_mb: float = 100.0
    """With `path:` or `hf:`: a longer document, line or field is refused."""
    quality: QualitySection | None = None

    def __post_init__(self) -> None:
        require(
            bool(self.name) and self.name.replace("_", "").isalnum(),
            "data.domains.name",
            self.name,
            "letters, digits and _",
            "Rename the domain.",
        )
        require(
            self.source.startswith(("package:", "path:", "hf:")),
            "data.domains.source",
            self.source,
            "package:NAME, path:FOLDER or hf:NAME",
            "Say where the documents come from.",
        )
        require(
            self.weight >= 0,
            "data.domains.weight",
            self.weight,
            "weight >= 0",
            "Give a share, or 0 for a domain that is only looked at.",
        )
        require_positive("data.domains", self, "max_mb")
        require_within("data.domains", self, "unique_tokens", 1, MAX_TOKENS)
        check_reading(self, kind=self.source.partition(":")[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSection(Section):
    """The corpus: domains, duplicates, split and tokeniser."""

    domains: tuple[DomainSection, ...]
    tokenizer: str = OWN
    """`own`: byte-level BPE learned from the corpus; `path:FILE`: a tokenizer.json of Hugging Face,
    relative to the study file; or `r50k_base`, `cl100k_base`, `o200k_base`, which need no file."""
    vocab_size: int | None = None
    """Left out: 512 ids for `own`, else those that the tokenizer has. Given beside a tokenizer that
    is not `own`, it must be the tokenizer's."""
    end_token: str = ""
    """With `path:`: the token that ends a document; left out: the first of `<|endoftext|>`,
    `<|end_of_text|>`, `</s>`, `<eos>`, `[SEP]` that the vocabulary has."""
    validation_tokens: int = 100_000
    """Held-out tokens per domain, whole duplicate clusters."""
    duplicates: Duplicates = "near"
    """Which go: `near` ones (exact ones too), `exact` ones alone, or none: `keep`. Held-out text
    and its near-duplicates are never trained on."""
    jaccard: float = 0.8
    """Two documents are near-duplicates from this Jaccard similarity of 5-word shingles on."""
    min_chars: int = 200
    engine: Literal["native", "ray"] = "native"
    """Where near-duplicates are looked for: in this process, or on the Ray cluster whose address
    is in the environment as RAY_ADDRESS. The same duplicates are found."""
    repeat: bool = False
    """Let a training read the corpus more than once."""
    temperature: float | None = None
    """Shares of the domains by their size instead of `weight`: proportional to (training
    tokens)^(1/temperature); 1 is as they are, larger ones even them out."""
    decontaminate: DecontaminateSection | None = None
    arms: tuple[ArmSection, ...] = ()
    propose: ProposeSection | None = None

    def __post_init__(self) -> None:
        require(
            len(self.domains) > 0,
            "data.domains",
            self.domains,
            "at least one domain",
            "Add a [[data.domains]] table.",
        )
        names = [domain.name for domain in self.domains]
        require(
            len(set(names)) == len(names),
            "data.domains.name",
            names,
            "distinct names",
            "Rename one domain.",
        )
        check_tokenizer(self)
        require(
            0 < self.jaccard <= 1,
            "data.jaccard",
            self.jaccard,
            "0 < jaccard <= 1",
            "Use 0.8 unless you know better.",
        )
        if self.temperature is not None:
            require_within("data", self, "temperature", 1e-3, 1e6)
            given = [domain.name for domain in self.domains if domain.weight != 1.0]
            require(
                not given,
                "data.temperature",
                self.temperature,
                f"no weights beside it (given for {', '.join(given)})",
                "Leave the temperature or the weights out.",
            )
        require(
            self.engine in ("native", "ray"),
            "data.engine",
            self.engine,
            "native or ray",
            "Use native on one machine.",
        )
        require(
            any(domain.weight > 0 for domain in self.domains),
            "data.domains.weight",
            0.0,
            "a weight above 0 in some domain",
            "Say which domains are trained on.",
        )
        require_within("data", self, "validation_tokens", 1, MAX_TOKENS)
        require_within("data", self, "min_chars", 0, 10**9)
        self._check_arms()

    def _check_arms(self) -> None:
        """Arms have names of their own and change something; a proposal has mixtures to go by."""
        arms = [arm.name for arm in self.arms]
        require(
            len(set(arms)) == len(arms), "data.arms.name", arms, "distinct names", "Rename one arm."
        )
        for arm in self.arms:
            arm_section(self, arm)
        if self.propose is None:
            return
        target = self.propose.target
        names = {domain.name for domain in self.domains}
        asked = {target} if isinstance(target, str) else set(target)
        asked |= set(self.propose.max_shares or {})
        require(
            asked <= names,
            "data.propose: target, max_shares",
            sorted(asked),
            f"domains among {', '.join(sorted(names))}",
            "Correct the name.",
        )
        mixtures = sum(arm.weights is not None for arm in self.arms)
        require(
            len(names) > 1 and mixtures >= len(names),
            "data.propose",
            mixtures,
            f"at least {max(len(names), 2)} arms with weights, of two domains or more",
            "Add arms with other weights: a mixture law is fitted to them.",
        )

    @property
    def n_ids(self) -> int:
        """Ids of the tokenizer: the vocabulary of every model of the study.

        Raises:
            StudyError: it is a tokenizer file's, which was not read.
        """
        return count_ids(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutSection(Section):
    """The larger run that checks the forecast and is never seen by the fit."""

    width: int
    tokens: int
    depth: int | None = None
    heads: int | None = None

    def __post_init__(self) -> None:
        require_within("holdout", self, "width", 1, MAX_WIDTH)
        require_within("holdout", self, "tokens", 1, MAX_TOKENS)
        require_within("holdout", self, "depth", 1, MAX_LAYERS)
        require_within("holdout", self, "heads", 1, MAX_WIDTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSection(Section):
    """How laws are fitted."""

    law: str = "auto"
    """`auto`: all laws of size and tokens, weighed by back-test; or the name of one of them."""
    n_draws: int = 500
    level: float = 0.90

    def __post_init__(self) -> None:
        require(
            0 < self.level < 1,
            "fit.level",
            self.level,
            "0 < level < 1",
            "0.90 is the habit here.",
        )
        require(
            100 <= self.n_draws <= 1_000_000,
            "fit.n_draws",
            self.n_draws,
            "100 <= n_draws <= 1000000",
            "Intervals need at least 100 draws.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSection(Section):
    """The run to plan: one of flops, loss, n_params, n_tokens, device_hours, days, usd (a size or
    tokens may stand beside another); limits; then where it runs."""

    flops: float | None = None
    loss: float | None = None
    n_params: float | None = None
    n_tokens: float | None = None
    device_hours: float | None = None
    days: float | None = None
    """On `n_devices` devices."""
    usd: float | None = None
    """Rent."""
    max_flops: float | None = None
    """Limits, as the five below: a budget is cut to them, a loss that takes more is refused."""
    max_device_hours: float | None = None
    max_days: float | None = None
    max_usd: float | None = None
    max_n_params: float | None = None
    max_n_tokens: float | None = None
    hardware: str = "H100-SXM"
    """A name, or "any": whichever is cheapest within the limits."""
    hardware_file: str | None = None
    """TOML with accelerators and prices of your own, relative to the study file."""
    n_devices: int | None = None
    """Left out: a node, or as many as hold the model and meet `max_days`."""
    mfu: float | None = None
    """End-to-end share of the peak; left out: drawn from what published runs reached."""
    step_mfu: float | None = None
    """That of a measured step: goodput is then drawn."""
    price: float | None = None
    """USD a device-hour; left out: drawn from the accelerator's range."""
    sure: float = 0.9
    """Share of draws in which hours, days or money suffice."""
    inference_tokens: float | None = None
    """Tokens that the model will serve: then training and serving together take least, and
    `flops` pays for both."""
    inference_flop_cost: float | None = None
    """What a FLOP of inference costs in FLOPs of training; left out: 1."""
    unique_tokens: float | None = None
    """Distinct tokens that the planned run has: beyond them it reads them again."""

    def __post_init__(self) -> None:
        goals = ("flops", "loss", "n_params", "n_tokens", "device_hours", "days", "usd")
        limits = (f"max_{name}" for name in goals if name != "loss")
        others = ("inference_tokens", "inference_flop_cost", "unique_tokens", "price")
        require_positive("plan", self, *goals, *limits, *others)
        given = [key for key in goals if getattr(self, key) is not None]
        beside = len({"n_params", "n_tokens"} & set(given))
        require(
            len(given) <= 1 or (len(given) == 2 and beside > 0),
            "plan",
            given,
            f"at most one of {', '.join(goals)}, or n_params or n_tokens beside one other",
            "Keep one of them.",
        )
        for name in ("mfu", "step_mfu"):
            share = getattr(self, name)
            require(
                share is None or 0 < share <= 1,
                f"plan.{name}",
                share,
                f"0 < {name} <= 1",
                "0.2 to 0.5 is usual.",
            )
        require(0 < self.sure < 1, "plan.sure", self.sure, "0 < sure < 1", "0.9 is usual.")
        if self.n_devices is not None:
            require_within("plan", self, "n_devices", 1, 10**7)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSection(Section):
    """What is measured at the end of every run beside its validation loss."""

    multiple_choice: bool = False
    """Questions made of held-out documents: `acc_<domain>` and `task_loss_<domain>`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyConfig(Section):
    """One study: corpus, ladder, held-out run, fits, plan."""

    data: DataSection
    ladder: LadderSection
    name: str = "study"
    seed: int = 0
    model: ModelSection = field(default_factory=ModelSection)
    train: TrainSection = field(default_factory=TrainSection)
    tune: TuneSection | None = None
    holdout: HoldoutSection | None = None
    fit: FitSection = field(default_factory=FitSection)
    plan: PlanSection = field(default_factory=PlanSection)
    launch: LaunchSection = field(default_factory=LaunchSection)
    eval: EvalSection = field(default_factory=EvalSection)
    trainer: TrainerSection | None = None

    def __post_init__(self) -> None:
        require(
            0 <= self.seed < 2**63,
            "seed",
            self.seed,
            "0 <= seed < 2^63",
            "Give a whole number in this range.",
        )
        require(
            self.train.batch_tokens % self.model.context == 0,
            "train.batch_tokens",
            self.train.batch_tokens,
            f"a multiple of model.context = {self.model.context}",
            "Adjust one of the two.",
        )
        self._check_processes()
        micro = self.launch.micro_batch_tokens
        context, batch = self.model.context, self.train.batch_tokens
        require(
            micro == "auto" or micro == 0 or (micro % context == 0 and batch % micro == 0),
            "launch.micro_batch_tokens",
            micro,
            f"a multiple of model.context = {context} that divides train.batch_tokens = {batch}",
            "Use 0 for the whole batch at once.",
        )

    def _check_processes(self) -> None:
        """Several processes share whole sequences; a trainer of one's own decides all by itself."""
        launch, sequences = self.launch, self.train.batch_tokens // self.model.context
        require(
            self.trainer is not None or sequences % launch.total_processes == 0,
            "launch.processes",
            launch.processes,
            f"{launch.total_processes} processes on {launch.nodes} nodes are a divisor of the "
            f"{sequences} sequences of a batch",
            "Change it, launch.slurm.nodes or train.batch_tokens.",
        )
        if self.trainer is None:
            return
        plain = {"processes": 1, "parallel": "ddp", "compile": False, "dtype": "auto"}
        for key, value in plain.items():
            require(
                getattr(self.launch, key) == value,
                f"launch.{key}",
                getattr(self.launch, key),
                "left out beside [trainer]",
                "Your trainer decides this: say it in trainer.command.",
            )
        require(
            not self.eval.multiple_choice and self.launch.micro_batch_tokens != "auto",
            "trainer",
            "given",
            "no eval.multiple_choice and no launch.micro_batch_tokens = 'auto' beside it",
            "Only isoflop's own trainer does these.",
        )
