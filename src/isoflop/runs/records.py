"""`Status` and `Point`: the records of a run folder, checked when they are read."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

State = Literal["queued", "running", "done", "diverged", "failed", "preempted"]
STATES: tuple[State, ...] = get_args(State)
_BY_DOMAIN = ("loss", "acc", "task_loss")
_PLAIN = (
    "step", "n_tokens", "flops", "loss", "lr", "kind", "bpb", "wall_s", "grad_norm", "n_skipped",
    "n_spikes",
)  # fmt: skip
_LATER = ("grad_norm", "n_skipped", "n_spikes", "n_unique_tokens")
"""Keys of a point that older ones lack."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where a run stands."""

    state: State
    attempt: int = 0
    step: int = 0
    n_tokens: int = 0
    heartbeat: float = 0.0
    """Unix time of the last sign of life."""
    reason: str = ""

    @staticmethod
    def from_json(data: Any) -> "Status":
        """The status of a status.json; ValueError names the key that is wrong."""
        if not isinstance(data, dict):
            raise ValueError("not a JSON object")
        for key, value in data.items():
            if key in ("attempt", "step", "n_tokens"):
                _require(_is_count(value), key, value, "a whole number, at least 0")
            elif key == "heartbeat":
                _require(_is_number(value) and value >= 0, key, value, "a time, at least 0")
            elif key == "state":
                _require(value in STATES, key, value, f"one of {', '.join(STATES)}")
            elif key == "reason":
                _require(isinstance(value, str), key, value, "text")
            else:
                raise ValueError(f"unknown key {key!r}")
        _require("state" in data, "state", None, f"one of {', '.join(STATES)}")
        return Status(**data)


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One measurement: `loss` [nats/token] is the mean of `loss_by_domain`, equally weighted.

    `acc_by_domain`: share of multiple-choice questions answered correctly; `task_loss_by_domain`:
    bits per byte of their correct answers. `grad_norm`: largest norm of the gradient, before
    clipping, since the point before. `n_skipped` steps had a gradient that was no number and left
    the weights alone, `n_spikes` a loss far above its level; both since the first step.
    `n_unique_tokens`: distinct ones among the tokens seen; None where none was seen twice.
    """

    step: int
    n_tokens: int
    flops: float
    loss: float
    lr: float
    kind: Literal["final", "intermediate"]
    loss_by_domain: Mapping[str, float] = field(default_factory=dict)
    bpb: float | None = None
    wall_s: float = 0.0
    acc_by_domain: Mapping[str, float] = field(default_factory=dict)
    task_loss_by_domain: Mapping[str, float] = field(default_factory=dict)
    grad_norm: float | None = None
    n_skipped: int = 0
    n_spikes: int = 0
    n_unique_tokens: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The line of metrics.jsonl: domains become `loss_<domain>`, `acc_<domain>` and so on."""
        # Not `asdict`, which copies deeply: a training may append thousands a second.
        data: dict[str, Any] = {name: getattr(self, name) for name in _PLAIN}
        for prefix in _BY_DOMAIN:
            for name, value in getattr(self, f"{prefix}_by_domain").items():
                data[f"{prefix}_{name}"] = value
        if self.n_unique_tokens is not None:
            data["n_unique_tokens"] = self.n_unique_tokens
        return data

    @staticmethod
    def from_json(data: Any) -> "Point":
        """The point of a line of metrics.jsonl; ValueError names the key that is wrong."""
        if not isinstance(data, dict):
            raise ValueError("not a JSON object")
        own = ("step", "n_tokens", "flops", "loss", "lr", "kind", "bpb", "wall_s")
        for key in own:
            if key not in data:
                raise ValueError(f"the key {key!r} is missing")
        domains: dict[str, Any] = {
            f"{prefix}_by_domain": {
                key.removeprefix(f"{prefix}_"): value
                for key, value in data.items()
                if key.startswith(f"{prefix}_")
            }
            for prefix in _BY_DOMAIN
        }
        later = {key: data[key] for key in _LATER if key in data}
        for key in ("step", "n_tokens", *(key for key in later if key != "grad_norm")):
            _require(_is_count(data[key]), key, data[key], "a whole number, at least 0")
        for key in ("flops", "loss", *(k for k in data if k.startswith(("loss_", "task_loss_")))):
            good = _is_number(data[key]) and data[key] > 0
            _require(good, key, data[key], "a finite number above 0")
        for key in ("lr", "wall_s", *(k for k in data if k.startswith("acc_"))):
            good = _is_number(data[key]) and data[key] >= 0
            _require(good, key, data[key], "a finite number, at least 0")
        for key, value in (("bpb", data["bpb"]), ("grad_norm", later.get("grad_norm"))):
            good = value is None or (_is_number(value) and (value > 0 or key == "grad_norm"))
            _require(good, key, value, "null or a finite number above 0")
        good = data["kind"] in ("final", "intermediate")
        _require(good, "kind", data["kind"], "final or intermediate")
        return Point(**{k: data[k] for k in own}, **later, **domains)


def _require(condition: bool, key: str, value: object, wanted: str) -> None:
    if not condition:
        raise ValueError(f"{key} = {value!r} is not {wanted}")


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _is_number(value: object) -> bool:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) <= sys.float_info.max  # false for NaN
