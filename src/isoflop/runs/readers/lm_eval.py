"""Results of lm-evaluation-harness (and of lighteval): `results_*.json`, one file an evaluation.

Source: lm_eval/evaluator.py and lm_eval/loggers/evaluation_tracker.py of 0.4.13. A metric is
`name,filter` there; the filter `none` is left out of names here, as older releases did.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from isoflop._errors import RunError
from isoflop.runs.foreign import ForeignRun
from isoflop.runs.readers.gathering import (
    as_number,
    files_below,
    flat,
    printable,
    read_each,
    read_json_object,
)

TOOL = "lm_eval"
_CONFIGS = ("config", "config_general")
_PER_TASK = {"n-shot": "n_shot", "versions": "version", "n-samples": "n_samples"}


def sniff(path: Path) -> bool:
    """Whether this is such a file, or a folder with some."""
    return any(_is_results(file) for file in files_below(path, _wanted))


def read(path: Path) -> Iterator[ForeignRun]:
    """One run a file: `task/metric` and `task/metric_stderr` in its summary.

    Raises:
        RunError: a file without results, or a folder without any.
    """
    places = [file for file in files_below(path, _wanted) if file == path or _is_results(file)]
    yield from read_each(TOOL, path, places, lambda file: [_read_file(file)])


def _wanted(name: str) -> bool:
    return name.startswith("results") and name.endswith(".json")


def _is_results(file: Path) -> bool:
    if file.suffix != ".json":
        return False
    try:
        data = read_json_object(file)
    except RunError:
        # Torn where an evaluation was saved; other files of this name are JSON of another kind.
        return _wanted(file.name) and file.name.startswith("results_")
    return _has_results(data)


def _has_results(data: Mapping[str, Any]) -> bool:
    return isinstance(data.get("results"), dict) and any(key in data for key in _CONFIGS)


def _read_file(path: Path) -> ForeignRun:
    data = read_json_object(path)
    if not _has_results(data):
        raise RunError(
            f"{printable(path)}: "
            "has no `results` with their `config`. Name a results_*.json of lm-eval."
        )
    config: dict[str, Any] = {}
    for key in _CONFIGS:
        config |= flat(_mapping(data, key))
    config |= _model_args(config.get("model_args"))
    for key, name in _PER_TASK.items():
        config |= flat({name: _mapping(data, key)})
    for key in ("model_name", "git_hash", "lm_eval_version"):
        if isinstance(data.get(key), str):
            config[key] = data[key]
    return ForeignRun(
        tool=TOOL,
        place=printable(path),
        run_id=printable(path),
        name=str(data.get("model_name") or config.get("model_name") or printable(path.parent.name)),
        state="done",
        config=config,
        summary=_summary(data["results"]),
    )


def _mapping(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _summary(results: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of each task and group; a standard error that is not known is left out."""
    summary: dict[str, float] = {}
    for task, metrics in results.items():
        for key, value in metrics.items() if isinstance(metrics, dict) else ():
            number = as_number(value)
            if number is not None:
                summary[f"{task}/{key.removesuffix(',none')}"] = number
    return summary


def _model_args(value: Any) -> dict[str, Any]:
    """Arguments of the model: `a=b,c=d` in some releases, a mapping in others."""
    if not isinstance(value, str):
        return {}
    pairs = (pair.partition("=") for pair in value.split(",") if "=" in pair)
    return {f"model_args.{key.strip()}": argument for key, _, argument in pairs}
