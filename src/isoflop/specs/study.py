"""`StudyConfig`: the serialised form of a whole study, one dataclass a section.

Every field with a default may be left out of `study.toml`. Units: tokens, FLOPs, nats per token,
US dollars, days. Invariants are checked here, so that Python users and files meet the same words.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from isoflop._errors import StudyError
from isoflop.specs.launch import RaySection, SlurmSection
from isoflop.specs.parametrisation import OBEYED, Kind
from isoflop.specs.shape import PRESETS, Mlp, Norm, Positions, Preset
from isoflop.specs.trainer import TrainerSection

# Far above anything sensible: within them no count, rate or time overflows.
_MAX_TOKENS = 10**18
_MAX_WIDTH = 10**6
_MAX_LAYERS = 10**4
_MAX_PROCESSES = 1024


def _require(condition: bool, key: str, value: object, rule: str, remedy: str) -> None:
    if not condition:
        raise StudyError(f"{key} = {value!r}: `{rule}` must hold. {remedy}")


def _require_within(section: str, owner: object, key: str, low: float, high: float) -> None:
    """A number, or every number of a list, lies between two bounds; None passes."""
    value = getattr(owner, key)
    numbers: Iterable[float] = value if isinstance(value, tuple) else (value,)
    _require(
        value is None or all(low <= number <= high for number in numbers),
        f"{section}.{key}",
        value,
        f"{low:g} <= {key} <= {high:g}",
        "Give a value in this range.",
    )


def _require_positive(section: str, owner: object, *keys: str) -> None:
    """Numbers that are given are above zero."""
    for key in keys:
        value = getattr(owner, key)
        _require(
            value is None or value > 0,
            f"{section}.{key}",
            value,
            f"{key} > 0",
            "Give a positive number, or leave the key out.",
        )


class _Section:
    """Read by pydantic without tolerance for unknown keys, NaN or infinity."""

    __slots__ = ()
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "allow_inf_nan": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSection(_Section):
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
        _require(
            bool(self.name) and self.name.replace("_", "").isalnum(),
            "data.domains.name",
            self.name,
            "letters, digits and _",
            "Rename the domain.",
        )
        _require(
            self.source.startswith(("package:", "path:")),
            "data.domains.source",
            self.source,
            "package:NAME or path:FOLDER",
            "Say where the documents come from.",
        )
        _require(
            self.weight > 0,
            "data.domains.weight",
            self.weight,
            "weight > 0",
            "Give a positive share or leave the domain out.",
        )
        _require_positive("data.domains", self, "max_mb")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSection(_Section):
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
        _require(
            len(self.domains) > 0,
            "data.domains",
            self.domains,
            "at least one domain",
            "Add a [[data.domains]] table.",
        )
        names = [domain.name for domain in self.domains]
        _require(
            len(set(names)) == len(names),
            "data.domains.name",
            names,
            "distinct names",
            "Rename one domain.",
        )
        _require(
            257 <= self.vocab_size <= 65_536,
            "data.vocab_size",
            self.vocab_size,
            "257 <= vocab_size <= 65536",
            "Byte-level BPE starts at 256 bytes and one end mark.",
        )
        _require(
            0 < self.jaccard <= 1,
            "data.jaccard",
            self.jaccard,
            "0 < jaccard <= 1",
            "Use 0.8 unless you know better.",
        )
        _require_within("data", self, "validation_tokens", 1, _MAX_TOKENS)
        _require_within("data", self, "min_chars", 0, 10**9)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSection(_Section):
    """What all models of the ladder share; the width alone grows (see `shape_confounded`)."""

    preset: Preset | None = None
    """A published family, which sets every key below that is left out; see docs/model.md."""
    depth: int = 2
    n_heads: int = 4
    n_kv_heads: int | None = None
    """Heads of keys and values, each shared by n_heads/n_kv_heads queries; default n_heads."""
    context: int = 128
    ff_ratio: float | None = None
    """ff_width = ff_ratio · width, of each expert; default 4, `llama` 8/3."""
    ff_multiple: int | None = None
    """ff_width is rounded up to a multiple of this; default 1 (rounded to the nearest), `llama`
    16."""
    mlp: Mlp | None = None
    """Default `relu2`."""
    positions: Positions | None = None
    """Default `rope`."""
    qk_norm: bool | None = None
    """Default true; no preset has it."""
    token_shift: bool | None = None
    """Learned one-token shift before attention: default true; no preset has it."""
    tied_head: bool | None = None
    """Default false; `gpt2` ties."""
    norm: Norm | None = None
    """Default `rms`."""
    norm_eps: float | None = None
    """Default the machine epsilon; presets 1e-5."""
    bias: bool | None = None
    """Biases in attention, MLP and layer norms; default false."""
    rope_base: float | None = None
    """Default 10000."""
    embedding_norm: bool | None = None
    """RMS norm right after the embedding: default true; no preset has it."""
    n_experts: int = 0
    """Routed experts a layer, a mixture of experts; 0: a dense MLP."""
    n_active_experts: int = 2
    """Routed experts that a token passes through."""
    n_shared_experts: int = 0
    """Experts that every token passes through."""
    balance_coefficient: float = 0.01
    """Weight of the load-balancing loss, which is in no reported loss."""

    def __post_init__(self) -> None:
        _require_within("model", self, "depth", 1, _MAX_LAYERS)
        _require_within("model", self, "n_heads", 1, _MAX_WIDTH)
        _require_within("model", self, "n_kv_heads", 1, _MAX_WIDTH)
        _require_within("model", self, "ff_ratio", 0.01, 1000)
        _require_within("model", self, "ff_multiple", 1, _MAX_WIDTH)
        _require_within("model", self, "context", 1, 10**7)
        _require_within("model", self, "norm_eps", 1e-12, 0.1)
        _require_within("model", self, "rope_base", 1.01, 1e9)
        _require_within("model", self, "n_experts", 0, 10**4)
        _require_within("model", self, "n_active_experts", 1, 10**4)
        _require_within("model", self, "n_shared_experts", 0, 100)
        _require_within("model", self, "balance_coefficient", 0, 10)

    def ff_width(self, width: int) -> int:
        """Hidden width of the MLP of a model of this width."""
        llama = self.preset == "llama"
        ratio = self.ff_ratio if self.ff_ratio is not None else 8 / 3 if llama else 4.0
        multiple = self.ff_multiple if self.ff_multiple is not None else 16 if llama else 1
        plain = round(ratio * width)
        return plain if multiple == 1 else -(-plain // multiple) * multiple

    def kind(self) -> dict[str, Any]:
        """Fields of `ModelShape` other than sizes: what is given, else the preset's."""
        given = {name: getattr(self, name) for name in _KIND}
        preset = PRESETS[self.preset] if self.preset is not None else {}
        return {**preset, **{name: value for name, value in given.items() if value is not None}}


_KIND = (
    "n_kv_heads", "mlp", "positions", "qk_norm", "token_shift", "tied_head", "norm", "norm_eps",
    "bias", "rope_base", "embedding_norm", "n_experts", "n_active_experts", "n_shared_experts",
    "balance_coefficient",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSection(_Section):
    """How every rung is trained: lr = base_lr · (width/base_width)^lr_width_exponent, or by a
    parametrisation."""

    batch_tokens: int = 1024
    base_lr: float = 5e-3
    base_width: int = 64
    lr_width_exponent: float | None = None
    """Default -0.5 under `plain`, 0 under `standard`; `mup` and `completep` scale the rate."""
    parametrisation: Kind = "plain"
    """How initial weights, rates and multipliers follow width and depth; see docs/model.md."""
    base_depth: int | None = None
    """Depth at which `completep` is `mup`; default model.depth."""
    base_head_width: int | None = None
    """Width of a head at base_width; default that of the rung, or base_width/model.n_heads."""
    depth_exponent: float | None = None
    """Residual branches times (depth/base_depth)^-depth_exponent; default 1, CompleteP."""
    init_std: float | None = None
    """Standard deviation of the weights at base_width; default 0.02."""
    embedding_multiplier: float | None = None
    attention_multiplier: float | None = None
    output_multiplier: float | None = None
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
    schedule: Literal["wsd", "cosine"] = "wsd"
    """`wsd`: the horizons of a width cool down from one trunk; `cosine`: every (width, horizon) is
    a training of its own, whose rate falls along a cosine."""
    final_factor: float = 0.1
    """Share of the peak at which a cosine ends."""

    def __post_init__(self) -> None:
        _require_within("train", self, "base_lr", 1e-12, 100)
        _require(
            0 <= self.lr_decay_exponent <= 1,
            "train.lr_decay_exponent",
            self.lr_decay_exponent,
            "0 <= lr_decay_exponent <= 1",
            "Use 0 for a constant rate, 0.3 to 0.5 to follow the best rate down.",
        )
        _require(
            0 <= self.beta2 < 1,
            "train.beta2",
            self.beta2,
            "0 <= beta2 < 1",
            "0.95 is usual; 0.99 for small batches.",
        )
        _require_within("train", self, "batch_tokens", 1, _MAX_TOKENS)
        _require_within("train", self, "base_width", 1, _MAX_WIDTH)
        _require_within("train", self, "lr_width_exponent", -2, 2)
        self._check_parametrisation()
        _require_within("train", self, "lr_decay_from_tokens", 1, _MAX_TOKENS)
        _require_within("train", self, "embedding_lr_factor", 1e-6, 1e6)
        _require_within("train", self, "weight_decay", 0, 100)
        _require_within("train", self, "warmup_tokens", 0, _MAX_TOKENS)
        _require(
            0 < self.cooldown_fraction < 1,
            "train.cooldown_fraction",
            self.cooldown_fraction,
            "0 < cooldown_fraction < 1",
            "0.2 is the field's habit.",
        )
        _require_within("train", self, "final_factor", 0, 1)
        _require(
            self.schedule == "wsd" or self.lr_decay_exponent == 0,
            "train.lr_decay_exponent",
            self.lr_decay_exponent,
            "lr_decay_exponent = 0 with schedule = 'cosine'",
            "A cosine has no other decay.",
        )

    def _check_parametrisation(self) -> None:
        kind = self.parametrisation
        _require(
            self.lr_width_exponent is None or kind in ("plain", "standard"),
            "train.lr_width_exponent",
            self.lr_width_exponent,
            f"left out under parametrisation = {kind!r}",
            "The parametrisation scales the rate with width: keep one of the two.",
        )
        _require_within("train", self, "base_depth", 1, _MAX_LAYERS)
        _require_within("train", self, "base_head_width", 1, _MAX_WIDTH)
        _require_within("train", self, "depth_exponent", 0.5, 1)
        _require_within("train", self, "init_std", 1e-9, 1e3)
        for name in PARAMETRISED:
            value = getattr(self, name)
            _require_positive("train", self, name)
            _require(
                value is None or name in OBEYED[kind],
                f"train.{name}",
                value,
                f"left out under parametrisation = {kind!r}",
                "It would change nothing there.",
            )


PARAMETRISED = (
    "base_depth", "base_head_width", "depth_exponent", "init_std", "embedding_multiplier",
    "attention_multiplier", "output_multiplier",
)  # fmt: skip
"""Keys of [train] that are fields of `Parametrisation`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderSection(_Section):
    """The pilots: every width crossed with its token horizons."""

    widths: tuple[int, ...]
    tokens: tuple[int, ...]
    """Horizons; each (width, tokens) pair within `max_flops` is a branch."""
    max_flops: float | None = None
    """Leave out pairs with 6·N·D above this."""
    depths: tuple[int, ...] | None = None
    """Depth per width; default model.depth everywhere."""
    heads: tuple[int, ...] | None = None
    """Heads per width; default model.n_heads everywhere."""

    def __post_init__(self) -> None:
        for key in ("widths", "tokens"):
            value = getattr(self, key)
            _require(
                len(value) > 0 and all(v > 0 for v in value) and len(set(value)) == len(value),
                f"ladder.{key}",
                value,
                "a list of distinct positive numbers",
                "List them.",
            )
        _require_within("ladder", self, "widths", 1, _MAX_WIDTH)
        _require_within("ladder", self, "tokens", 1, _MAX_TOKENS)
        _require_within("ladder", self, "depths", 1, _MAX_LAYERS)
        _require_within("ladder", self, "heads", 1, _MAX_WIDTH)
        _require_positive("ladder", self, "max_flops")
        for key in ("depths", "heads"):
            value = getattr(self, key)
            _require(
                value is None or len(value) == len(self.widths),
                f"ladder.{key}",
                value,
                "one entry per width",
                f"Give {len(self.widths)} entries or leave the key out.",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class HoldoutSection(_Section):
    """The larger run that checks the forecast and is never seen by the fit."""

    width: int
    tokens: int
    depth: int | None = None
    heads: int | None = None

    def __post_init__(self) -> None:
        _require_within("holdout", self, "width", 1, _MAX_WIDTH)
        _require_within("holdout", self, "tokens", 1, _MAX_TOKENS)
        _require_within("holdout", self, "depth", 1, _MAX_LAYERS)
        _require_within("holdout", self, "heads", 1, _MAX_WIDTH)


@dataclass(frozen=True, slots=True, kw_only=True)
class FitSection(_Section):
    """How laws are fitted."""

    law: str = "auto"
    """`auto`: all laws of size and tokens, weighed by back-test; or the name of one of them."""
    n_draws: int = 500
    level: float = 0.90

    def __post_init__(self) -> None:
        _require(
            0 < self.level < 1,
            "fit.level",
            self.level,
            "0 < level < 1",
            "0.90 is the habit here.",
        )
        _require(
            100 <= self.n_draws <= 1_000_000,
            "fit.n_draws",
            self.n_draws,
            "100 <= n_draws <= 1000000",
            "Intervals need at least 100 draws.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSection(_Section):
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
        _require_positive("plan", self, *goals)
        given = [key for key in goals if getattr(self, key) is not None]
        _require(
            len(given) <= 1,
            "plan",
            given,
            "at most one of flops, loss, n_params, n_tokens",
            "Keep one of them.",
        )
        _require(0 < self.mfu <= 1, "plan.mfu", self.mfu, "0 < mfu <= 1", "0.4 is usual.")
        _require_within("plan", self, "n_devices", 1, 10**7)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchSection(_Section):
    """Where trainings run: `slots` processes at once, `threads` each (0: chosen by cores)."""

    launcher: Literal["local", "slurm", "ray"] = "local"
    """Where trainings run: processes of this machine, a Slurm cluster, a Ray cluster."""
    slots: int = 0
    threads: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool | Literal["auto"] = False
    """`auto`: measured before the first step of a training that is long enough to repay it."""
    checkpoint_seconds: float = 60.0
    micro_batch_tokens: int | Literal["auto"] = 0
    """Tokens of a batch that are in memory at once, a multiple of model.context that divides
    train.batch_tokens; 0: the whole batch; `auto`: measured before the first step."""
    processes: int = 1
    """Processes that share one training, through torchrun: on GPUs one a device."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """How they share it: every process the whole model, or a shard of it (FSDP2)."""
    gpus_per_job: int = 0
    """GPUs granted to one training; 0: no GPU is asked for, and whatever is visible is used."""
    retry_preempted: int = 1000
    """Times that a job may be preempted or reach its time limit; it goes on from its checkpoint."""
    retry_lost: int = 3
    """Times that a job may vanish: killed, its node lost, unknown to the engine."""
    retry_out_of_memory: int = 4
    """Times that a job may run out of memory; half as many sequences are in memory each time."""
    retry_crashed: int = 1
    """Times that a trainer may fail otherwise. A run that diverges is marked, never tried again."""
    slurm: SlurmSection = field(default_factory=SlurmSection)
    ray: RaySection = field(default_factory=RaySection)

    def __post_init__(self) -> None:
        retries = ("preempted", "lost", "out_of_memory", "crashed")
        for key in ("gpus_per_job", *(f"retry_{name}" for name in retries)):
            _require_within("launch", self, key, 0, 10**6)
        _require_within("launch", self, "slots", 0, _MAX_PROCESSES)
        _require_within("launch", self, "threads", 0, _MAX_PROCESSES)
        if self.micro_batch_tokens != "auto":
            _require_within("launch", self, "micro_batch_tokens", 0, _MAX_TOKENS)
        _require_within("launch", self, "processes", 1, _MAX_PROCESSES)
        _require_positive("launch", self, "checkpoint_seconds")


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSection(_Section):
    """What is measured at the end of every run beside its validation loss."""

    multiple_choice: bool = False
    """Questions made of held-out documents: `acc_<domain>` and `task_loss_<domain>`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyConfig(_Section):
    """One study: corpus, ladder, held-out run, fits, plan."""

    data: DataSection
    ladder: LadderSection
    name: str = "study"
    seed: int = 0
    model: ModelSection = field(default_factory=ModelSection)
    train: TrainSection = field(default_factory=TrainSection)
    holdout: HoldoutSection | None = None
    fit: FitSection = field(default_factory=FitSection)
    plan: PlanSection = field(default_factory=PlanSection)
    launch: LaunchSection = field(default_factory=LaunchSection)
    eval: EvalSection = field(default_factory=EvalSection)
    trainer: TrainerSection | None = None

    def __post_init__(self) -> None:
        _require(
            0 <= self.seed < 2**63,
            "seed",
            self.seed,
            "0 <= seed < 2^63",
            "Give a whole number in this range.",
        )
        _require(
            self.train.batch_tokens % self.model.context == 0,
            "train.batch_tokens",
            self.train.batch_tokens,
            f"a multiple of model.context = {self.model.context}",
            "Adjust one of the two.",
        )
        _require(
            self.launch.slurm.nodes == 1 or self.trainer is not None,
            "launch.slurm.nodes",
            self.launch.slurm.nodes,
            "nodes = 1 without a [trainer]",
            "One training of isoflop's own runs on one node.",
        )
        micro = self.launch.micro_batch_tokens
        context, batch = self.model.context, self.train.batch_tokens
        _require(
            micro == "auto" or micro == 0 or (micro % context == 0 and batch % micro == 0),
            "launch.micro_batch_tokens",
            micro,
            f"a multiple of model.context = {context} that divides train.batch_tokens = {batch}",
            "Use 0 for the whole batch at once.",
        )
