"""What MLflow's database, its file store and its server say alike: states, params and tags."""

import math
import sys
from collections.abc import Mapping
from typing import Any

from isoflop.runs.readers.gathering import parse_json

TOOL = "mlflow"

STATES = {"RUNNING": "running", "FINISHED": "done", "FAILED": "failed", "KILLED": "failed"}
_WORDS = {"True": True, "False": False, "None": None}


def settings(params: Mapping[str, str], tags: Mapping[str, str], experiment: str) -> dict[str, Any]:
    """Settings from params, the user's own tags, and the experiment's name."""
    config = {key: plain(value) for key, value in params.items()}
    for key, value in tags.items():
        if not key.startswith("mlflow."):
            config[f"tags.{key}"] = plain(value)
    if experiment:
        config["mlflow.experiment"] = experiment
    return config


def plain(value: str) -> Any:
    """The number, truth or null that MLflow turned into text; other texts as they are."""
    if value in _WORDS:
        return _WORDS[value]
    try:
        data = parse_json(value)
    except ValueError:
        return value
    if isinstance(data, int) or (isinstance(data, float) and math.isfinite(data)):
        return data
    return value


def unclamped(value: float) -> float:
    """An infinity that MLflow keeps as the largest float64."""
    return value if abs(value) < sys.float_info.max else value * 2
