"""`Forecast`: a prediction of one run, hashed before the run starts so that it cannot move."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isoflop._errors import InputError
from isoflop._types import Interval, Problem
from isoflop.fitting.analysis import Analysis
from isoflop.fitting.as_json import read_problem, to_plain


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """The loss forecast for one (N, D) run; `sha256` covers every other field."""

    n_params: float
    n_tokens: float
    flops: float
    loss: Interval
    naive_loss: float
    problems: tuple[Problem, ...]
    law: str
    inputs_hash: str
    """SHA-256 of the analysis that the forecast was made from."""
    sha256: str

    def to_json(self) -> dict[str, Any]:
        """Plain numbers and strings; `from_json` reads them back."""
        plain: dict[str, Any] = to_plain(self)
        return plain

    @staticmethod
    def from_json(record: Mapping[str, Any]) -> "Forecast":
        """Read a forecast back and check its hash.

        Raises:
            InputError: a field is missing, or the record was changed after it was hashed.
        """
        try:
            forecast = Forecast(
                n_params=float(record["n_params"]),
                n_tokens=float(record["n_tokens"]),
                flops=float(record["flops"]),
                loss=Interval(**record["loss"]),
                naive_loss=float(record["naive_loss"]),
                problems=tuple(map(read_problem, record["problems"])),
                law=str(record["law"]),
                inputs_hash=str(record["inputs_hash"]),
                sha256=str(record["sha256"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"A forecast must have all its fields, but {error} is wrong. Make it again."
            ) from error
        expected = _digest({k: v for k, v in forecast.to_json().items() if k != "sha256"})
        if expected != forecast.sha256:
            raise InputError(
                f"`sha256` of the forecast must be {expected}, but got {forecast.sha256}. "
                f"The file was changed after it was written: make the forecast again."
            )
        return forecast


def make_forecast(
    analysis: Analysis,
    n_params: float,
    n_tokens: float,
    flops: float,
    *,
    n_unique_tokens: float | None = None,
    problems: tuple[Problem, ...] = (),
) -> Forecast:
    """Forecast the loss of one new run of size N [parameters] on D [tokens], and hash it.

    `n_unique_tokens`: distinct ones among the D; without, all are new. `problems` are caveats that
    the table cannot show, such as another depth than the pilots'.

    Raises:
        InputError: a size, token count or compute is not positive.
    """
    unique = n_tokens if n_unique_tokens is None else n_unique_tokens
    inputs = {"n_params": [n_params], "n_tokens": [n_tokens], "n_unique_tokens": [unique]}
    prediction = analysis.fit.predict(inputs)
    if not flops > 0:
        raise InputError(f"`flops > 0` must hold, but got flops={flops}. Give 6 N D.")
    scores = [score for score in analysis.fit.scores if score.weight > 0.005]
    body: dict[str, Any] = {
        "n_params": float(n_params),
        "n_tokens": float(n_tokens),
        "flops": float(flops),
        "loss": Interval(
            value=float(prediction.mean[0]),
            low=float(prediction.low[0]),
            high=float(prediction.high[0]),
            level=prediction.level,
        ),
        "naive_loss": float(analysis.naive.predict(flops)[0]),
        "problems": tuple(dict.fromkeys((*prediction.problems, *problems))),
        "law": " + ".join(f"{score.weight:.2f} {score.label}" for score in scores),
        "inputs_hash": _digest(analysis.to_json()),
    }
    return Forecast(**body, sha256=_digest(to_plain(body)))


def _digest(record: dict[str, Any]) -> str:
    """SHA-256 of the canonical JSON: sorted keys, no spaces, shortest exact floats."""
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
