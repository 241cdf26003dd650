"""`StudyConfig`: the serialised form of a whole study, one dataclass a section.

Every field with a default may be left out of `study.toml`. Units: tokens, FLOPs, nats per token,
US dollars, days. Invariants are checked here, so that Python users and files meet the same words.
"""

from dataclasses import dataclass, field
from typing import Literal

from isoflop.specs.ladder import LadderSection
from isoflop.specs.section import (
    MAX_LAYERS,
    MAX_PROCESSES,
    MAX_TOKENS,
    MAX_WIDTH,
    Section,
    require,
    require_positive,
    require_within,
)
from isoflop.specs.tune import TuneSection


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSection(Section):
    """One domain of the corpus: where its documents come from."""

    name: str
    source: str
    """`package:NAME` (a recipe that a pip package provides, see `isoflop data --recipes`) or
    `path:FOLDER_OR_FILE` (text, Markdown, source files, JSONL), relative to the study file."""
    weight: float = 1.0
    """Share of training tokens, relative to the other domains'."""
    max_mb: float | None = None
    """Keep at most this many megabytes of text (documents chosen by hash, not by order)."""
    licence: str = "unknown"

    def __post_init__(self) -> None:
        require(
            bool(self.name) and self.name.replace("_", "").isalnum(),
            "data.domains.name",
            self.name,
            "letters, digits and _",
            "Rename the domain.",
        )
        require(
            self.source.startswith(("package:", "path:")),
            "data.domains.source",
            self.source,
            "package:NAME or path:FOLDER",
            "Say where the documents come from.",
        )
        require(
            self.weight > 0,
            "data.domains.weight",
            self.weight,
            "weight > 0",
            "Give a positive share or leave the domain out.",
        )
        require_positive("data.domains", self, "max_mb")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSection(Section):
    """The corpus: domains, duplicates, split and tokeniser."""

    domains: tuple[DomainSection, ...]
    vocab_size: int = 512
    validation_tokens: int = 100_000
    """Held-out tokens per domain, whole duplicate clusters."""
    jaccard: float = 0.8
    """Two documents are near-duplicates from this Jaccard similarity of 5-word shingles on."""
    min_chars: int = 200
    repeat: bool = False
    """Let a training read the corpus more than once."""

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
        require(
            257 <= self.vocab_size <= 65_536,
            "data.vocab_size",
            self.vocab_size,
            "257 <= vocab_size <= 65536",
            "Byte-level BPE starts at 256 bytes and one end mark.",
        )
        require(
            0 < self.jaccard <= 1,
            "data.jaccard",
            self.jaccard,
            "0 < jaccard <= 1",
            "Use 0.8 unless you know better.",
        )
        require_within("data", self, "validation_tokens", 1, MAX_TOKENS)
        require_within("data", self, "min_chars", 0, 10**9)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSection(Section):
    """What all models of the ladder share; the width alone grows (see `shape_confounded`)."""

    depth: int = 2
    n_heads: int = 4
    ff_ratio: float = 4.0
    """ff_width = ff_ratio · width."""
    context: int = 128
    mlp: Literal["gelu", "relu2", "swiglu"] = "relu2"
    positions: Literal["rope", "learned"] = "rope"
    qk_norm: bool = True
    token_shift: bool = True
    tied_head: bool = False

    def __post_init__(self) -> None:
        require_within("model", self, "depth", 1, MAX_LAYERS)
        require_within("model", self, "n_heads", 1, MAX_WIDTH)
        require_within("model", self, "ff_ratio", 0.01, 1000)
        require_within("model", self, "context", 1, 10**7)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSection(Section):
    """How every rung is trained: lr = base_lr · (width/base_width)^lr_width_exponent."""

    batch_tokens: int = 1024
    base_lr: float = 5e-3
    base_width: int = 64
    lr_width_exponent: float = -0.5
    lr_decay_exponent: float = 0.0
    """The trunk's rate falls as (lr_decay_from_tokens/t)^exponent: 0 is constant; the best rate
    falls with tokens, and a constant one makes short runs look worse than they are."""
    lr_decay_from_tokens: int = 100_000
    embedding_lr_factor: float = 1.0
    weight_decay: float = 0.1
    beta2: float = 0.95
    warmup_tokens: int | None = None
    """Default: min(N, 10 % of the ladder's shortest horizon), the held-out run included."""
    cooldown_fraction: float = 0.2

    def __post_init__(self) -> None:
        require_within("train", self, "base_lr", 1e-12, 100)
        require(
            0 <= self.lr_decay_exponent <= 1,
            "train.lr_decay_exponent",
            self.lr_decay_exponent,
            "0 <= lr_decay_exponent <= 1",
            "Use 0 for a constant rate, 0.3 to 0.5 to follow the best rate down.",
        )
        require(
            0 <= self.beta2 < 1,
            "train.beta2",
            self.beta2,
            "0 <= beta2 < 1",
            "0.95 is usual; 0.99 for small batches.",
        )
        require_within("train", self, "batch_tokens", 1, MAX_TOKENS)
        require_within("train", self, "base_width", 1, MAX_WIDTH)
        require_within("train", self, "lr_width_exponent", -2, 2)
        require_within("train", self, "lr_decay_from_tokens", 1, MAX_TOKENS)
        require_within("train", self, "embedding_lr_factor", 1e-6, 1e6)
        require_within("train", self, "weight_decay", 0, 100)
        require_within("train", self, "warmup_tokens", 0, MAX_TOKENS)
        require(
            0 < self.cooldown_fraction < 1,
            "train.cooldown_fraction",
            self.cooldown_fraction,
            "0 < cooldown_fraction < 1",
            "0.2 is the field's habit.",
        )


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
    """The run to plan: exactly one of flops, loss, n_params, n_tokens; then where it runs."""

    flops: float | None = None
    loss: float | None = None
    n_params: float | None = None
    n_tokens: float | None = None
    hardware: str = "H100-SXM"
    n_devices: int = 8
    mfu: float = 0.4

    def __post_init__(self) -> None:
        goals = ("flops", "loss", "n_params", "n_tokens")
        require_positive("plan", self, *goals)
        given = [key for key in goals if getattr(self, key) is not None]
        require(
            len(given) <= 1,
            "plan",
            given,
            "at most one of flops, loss, n_params, n_tokens",
            "Keep one of them.",
        )
        require(0 < self.mfu <= 1, "plan.mfu", self.mfu, "0 < mfu <= 1", "0.4 is usual.")
        require_within("plan", self, "n_devices", 1, 10**7)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSection(Section):
    """Where trainings run: `slots` processes at once, `threads` each (0: chosen by cores)."""

    launcher: Literal["local"] = "local"
    slots: int = 0
    threads: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    checkpoint_seconds: float = 60.0
    micro_batch_tokens: int = 0
    """Tokens of a batch that are in memory at once, a multiple of model.context that divides
    train.batch_tokens; 0: the whole batch."""

    def __post_init__(self) -> None:
        require_within("launch", self, "slots", 0, MAX_PROCESSES)
        require_within("launch", self, "threads", 0, MAX_PROCESSES)
        require_within("launch", self, "micro_batch_tokens", 0, MAX_TOKENS)
        require_positive("launch", self, "checkpoint_seconds")


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
        micro = self.launch.micro_batch_tokens
        require(
            micro == 0
            or (micro % self.model.context == 0 and self.train.batch_tokens % micro == 0),
            "launch.micro_batch_tokens",
            micro,
            f"a multiple of model.context = {self.model.context} that divides "
            f"train.batch_tokens = {self.train.batch_tokens}",
            "Use 0 for the whole batch at once.",
        )
