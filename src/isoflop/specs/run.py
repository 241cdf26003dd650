"""`RunConfig`: one complete training, and the hash that names it."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from isoflop._errors import InputError
from isoflop.specs.parametrisation import Parametrisation
from isoflop.specs.schedule import Schedule
from isoflop.specs.shape import ModelShape

CONFIG_VERSION = 1
_LATER: Mapping[str, tuple[str, ...]] = {
    "shape": (
        "norm",
        "norm_eps",
        "bias",
        "n_kv_heads",
        "head_width",
        "rope_base",
        "embedding_norm",
        "n_experts",
        "n_active_experts",
        "n_shared_experts",
        "balance_coefficient",
    ),
    "schedule": ("final_factor",),
    "optimiser": (),
    "data": ("unique_tokens",),
}
"""Fields added to a section after the first version, by section."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpec:
    """Which tokens a training sees: a corpus by content hash and the weight of each domain."""

    corpus_hash: str
    weights: tuple[tuple[str, float], ...]
    """(domain, share of tokens), shares summing to one, in the corpus's order."""
    repeat: bool = False
    unique_tokens: tuple[tuple[str, int], ...] = ()
    """(domain, tokens): no more than the first so many of its training tokens are read."""

    def available(self, train_tokens: Mapping[str, int]) -> dict[str, int]:
        """Distinct tokens that each domain offers, of those that the corpus has."""
        limits = dict(self.unique_tokens)
        return {
            name: min(train_tokens[name], limits.get(name, train_tokens[name]))
            for name, _ in self.weights
        }

    def n_unique(self, n_tokens: int, train_tokens: Mapping[str, int]) -> int:
        """U_D: distinct tokens among the first D, the sum over domains of min(share D, U)."""
        have = self.available(train_tokens)
        return round(sum(min(share * n_tokens, have[name]) for name, share in self.weights))


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimiser:
    """AdamW: peak learning rate of the matrices, batch and regularisation."""

    lr: float
    batch_tokens: int
    embedding_lr_factor: float = 1.0
    """Learning rate of the embedding as a multiple of `lr`."""
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    eps: float = 1e-10
    grad_clip: float = 1.0

    def __post_init__(self) -> None:
        for name in ("lr", "batch_tokens", "embedding_lr_factor", "eps", "grad_clip"):
            if not getattr(self, name) > 0:
                raise InputError(
                    f"`{name} > 0` must hold, but got {name}={getattr(self, name)}. "
                    "Give a positive number."
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunConfig:
    """One complete training: everything that decides its numbers.

    A trunk has a schedule without an end; a branch has `trunk` = the id of the trunk from whose
    checkpoint at `schedule.hold_tokens` it cools down; a run of its own has neither.
    """

    shape: ModelShape
    data: DataSpec
    schedule: Schedule
    optimiser: Optimiser
    seed: int
    trunk: str | None = None
    parametrisation: Parametrisation = field(default_factory=Parametrisation)

    @property
    def run_id(self) -> str:
        """First 12 hex digits of the SHA-256 of the canonical JSON of all fields."""
        text = json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def is_trunk(self) -> bool:
        """Whether it only leads to branches and has no end of its own."""
        return self.schedule.kind == "trunk"

    @property
    def n_tokens(self) -> int:
        """Tokens of a branch, or of a run of its own, at its end."""
        assert self.schedule.n_tokens is not None
        return self.schedule.n_tokens

    def as_trunk(self) -> "RunConfig":
        """The trunk that this branch cools down from."""
        schedule = replace(self.schedule, kind="trunk", n_tokens=None, cooldown_tokens=0)
        return replace(self, schedule=schedule, trunk=None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data: what `config.json` holds.

        A field in `_LATER` is written only where it differs from its default, so that the ids of
        runs from before it stay as they were.
        """
        data = asdict(self)
        for name in ("weights", "unique_tokens"):
            data["data"][name] = [list(pair) for pair in getattr(self.data, name)]
        for section, names in _LATER.items():
            owner = getattr(self, section)
            defaults = {one.name: one.default for one in fields(owner)}
            for name in names:
                if getattr(owner, name) == defaults[name]:
                    del data[section][name]
        # Written by what differs from the default, so that it too may gain fields.
        data["parametrisation"] = {
            one.name: getattr(self.parametrisation, one.name)
            for one in fields(Parametrisation)
            if getattr(self.parametrisation, one.name) != one.default
        }
        if not data["parametrisation"]:
            del data["parametrisation"]
        return {"version": CONFIG_VERSION, **data}

    @staticmethod
    def from_json(data: Mapping[str, Any], *, place: str) -> "RunConfig":
        """The RunConfig that `to_json` wrote; raises InputError naming `place` otherwise."""
        try:
            if data["version"] != CONFIG_VERSION:
                raise InputError(
                    f"{place}: version {data['version']!r} is not known. "
                    "Read it with a newer isoflop."
                )
            spec = data["data"]
            weights = tuple((str(name), float(share)) for name, share in spec["weights"])
            limits = tuple((str(name), int(n)) for name, n in spec.get("unique_tokens", ()))
            return RunConfig(
                shape=ModelShape(**data["shape"]),
                data=DataSpec(**{**spec, "weights": weights, "unique_tokens": limits}),
                schedule=Schedule(**data["schedule"]),
                optimiser=Optimiser(**data["optimiser"]),
                seed=data["seed"],
                trunk=data["trunk"],
                parametrisation=Parametrisation(**data.get("parametrisation", {})),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(
                f"{place}: not a run configuration ({error}). Restore or delete the run folder."
            ) from error
