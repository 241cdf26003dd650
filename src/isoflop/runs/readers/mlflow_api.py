"""A server of MLflow: its REST API, for `mlflow:http(s)://HOST` or one experiment, `#NAME`.

Source: mlflow.org/docs/latest/rest-api.html. Metrics of runs that have ended are cached.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from isoflop._errors import RunError
from isoflop.runs.foreign import ForeignRun
from isoflop.runs.readers.gathering import Gatherer, as_number
from isoflop.runs.readers.mlflow_words import STATES, TOOL, settings, unclamped
from isoflop.runs.readers.pages import Page, PageStore
from isoflop.runs.readers.server import Server, basic, netrc_password

_API = "/api/2.0/mlflow"
_A_PAGE = 1000
_POINTS_A_PAGE = 25_000

Point = tuple[int, float, float]
"""Step, value, seconds since the epoch."""


def read_mlflow(
    source: str,
    cache: Path,
    wanted: Callable[[str], bool],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[ForeignRun]:
    """Runs of all experiments of a server, or of the one after `#`; of metrics the `wanted`.

    Authorisation comes from MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and _PASSWORD, or
    ~/.netrc.

    Raises:
        RunError: no such server or experiment, no right to it, or a server out of reach.
    """
    address, _, experiment = source.partition("#")
    address = address.rstrip("/")
    server = Server(address=address, authorisation=_authorisation(address), sleep=sleep)
    wanted_name = unquote(experiment)
    found = False
    for experiment_id, name in _experiments(server):
        if wanted_name in ("", name):
            found = True
            for info, data in _runs(server, experiment_id):
                yield _fetched(server, info, data, name, cache, wanted)
    if not found and wanted_name:
        raise RunError(f"mlflow:{address}: no experiment {wanted_name!r}. Check its name.")


def _authorisation(address: str) -> str:
    if token := os.environ.get("MLFLOW_TRACKING_TOKEN"):
        return f"Bearer {token}"
    user = os.environ.get("MLFLOW_TRACKING_USERNAME", "")
    password = os.environ.get("MLFLOW_TRACKING_PASSWORD", "") or netrc_password(address)
    return basic(user, password) if password else ""


def _listed(
    server: Server, ask: Callable[[str | None], Any], name: str
) -> Iterator[dict[str, Any]]:
    """All entries of a list that comes in pages."""
    token: str | None = None
    while True:
        answer = ask(token)
        entries = answer.get(name, []) if isinstance(answer, dict) else None
        if not isinstance(entries, list) or not all(isinstance(each, dict) for each in entries):
            raise RunError(f"{server.address}: an answer without {name}. Is it a server of MLflow?")
        yield from entries
        last, token = token, answer.get("next_page_token")
        if not isinstance(token, str) or token in ("", last):
            return


def _experiments(server: Server) -> Iterator[tuple[str, str]]:
    def ask(token: str | None) -> Any:
        return server.post(f"{_API}/experiments/search", _body(token, max_results=_A_PAGE))

    for entry in _listed(server, ask, "experiments"):
        yield str(entry.get("experiment_id")), str(entry.get("name"))


def _runs(server: Server, experiment_id: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    def ask(token: str | None) -> Any:
        body = _body(token, experiment_ids=[experiment_id], max_results=_A_PAGE)
        return server.post(f"{_API}/runs/search", body)

    for entry in _listed(server, ask, "runs"):
        info, data = entry.get("info"), entry.get("data", {})
        if isinstance(info, dict) and isinstance(data, dict):
            yield info, data


def _body(token: str | None, **more: Any) -> dict[str, Any]:
    return more if token is None else more | {"page_token": token}


def _fetched(
    server: Server,
    info: Mapping[str, Any],
    data: Mapping[str, Any],
    experiment: str,
    cache: Path,
    wanted: Callable[[str], bool],
) -> ForeignRun:
    run_id = str(info.get("run_id"))
    state = STATES.get(str(info.get("status")), "unknown")
    gathered = Gatherer()
    for key in filter(wanted, _pairs(data, "metrics")):
        store = PageStore.of(cache, server.address, run_id, key, str(info.get("end_time")))
        kept = store.read()
        if kept:
            points = kept[0].points
        else:
            points = [
                [step, [value, wall_s]] for step, value, wall_s in _points(server, run_id, key)
            ]
            if state in ("done", "failed"):
                store.append(Page(0, 1, points), 0)
        for step, (value, wall_s) in points:
            gathered.add(key, step, value, wall_s)
    return ForeignRun(
        tool=TOOL,
        place=f"mlflow:{server.address}",
        run_id=run_id,
        name=str(info.get("run_name") or ""),
        state=state,
        config=settings(_pairs(data, "params"), _pairs(data, "tags"), experiment),
        series=gathered.series(),
        problems=gathered.problems(),
    )


def _pairs(data: Mapping[str, Any], name: str) -> dict[str, str]:
    entries = data.get(name, [])
    return {str(e["key"]): str(e.get("value", "")) for e in entries if isinstance(e, dict)}


def _points(server: Server, run_id: str, key: str) -> Iterator[Point]:
    """The whole history of one metric."""

    def ask(token: str | None) -> Any:
        arguments = {
            "run_id": run_id,
            "metric_key": key,
            "max_results": _POINTS_A_PAGE,
            "page_token": token,
        }
        return server.get(f"{_API}/metrics/get-history", arguments)

    for entry in _listed(server, ask, "metrics"):
        value = as_number(entry.get("value"))
        step, time_ms = _whole(entry.get("step", 0)), _whole(entry.get("timestamp"))
        if value is not None and step is not None:
            wall_s = float("nan") if time_ms is None else time_ms / 1000
            yield step, unclamped(value), wall_s


def _whole(value: Any) -> int | None:
    """An int64, which is a text in the JSON of protocol buffers."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return None
