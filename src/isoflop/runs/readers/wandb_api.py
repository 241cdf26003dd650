"""Weights & Biases on line: its GraphQL API, for `wandb:ENTITY/PROJECT` or one run of it.

Histories are fetched whole, never sampled, one metric at a time: a query for two metrics gives only
the rows that hold both. Pages are cached, so that a fetch that was cut off goes on, and a living
run costs no more than its new rows. Source: wandb/apis/public/{runs,history}.py.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from isoflop._errors import RunError
from isoflop.runs.foreign import ForeignRun
from isoflop.runs.readers.gathering import Gatherer, as_number, flat, numbers, parse_json, shown
from isoflop.runs.readers.pages import Page, PageStore
from isoflop.runs.readers.server import Server, basic, netrc_password

TOOL = "wandb"
CLOUD = "https://api.wandb.ai"
_RUNS_A_PAGE = 50
_SAMPLES = 1000
"""Rows asked for at once, as W&B's own client does. So many steps hold no more rows than that; of a
wider window that holds more, every second row comes or every third: more than half of the samples.
"""
_AIM = 250
"""Rows that a wider window should hold."""

_STATES = {
    "running": "running", "finished": "done", "failed": "failed", "crashed": "failed",
    "killed": "failed", "preempted": "failed",
}  # fmt: skip

_FIELDS = "name displayName state config group summaryMetrics historyKeys"
_RUNS = (
    "query Runs($entity: String!, $project: String!, $cursor: String, $perPage: Int) {"
    " project(name: $project, entityName: $entity) {"
    ' runs(after: $cursor, first: $perPage, order: "+created_at") {'
    f" edges {{ node {{ {_FIELDS} }} cursor }} pageInfo {{ hasNextPage }} }} }} }}"
)
_RUN = (
    "query Run($entity: String!, $project: String!, $run: String!) {"
    f" project(name: $project, entityName: $entity) {{ run(name: $run) {{ {_FIELDS} }} }} }}"
)
_HISTORY = (
    "query History($entity: String!, $project: String!, $run: String!, $spec: JSONString!) {"
    " project(name: $project, entityName: $entity) {"
    " run(name: $run) { sampledHistory(specs: [$spec]) } } }"
)


def read_wandb(
    source: str,
    cache: Path,
    wanted: Callable[[str], bool],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[ForeignRun]:
    """Runs of `ENTITY/PROJECT` or the run `ENTITY/PROJECT/RUN`, fetched through the cache.

    Of metrics only the `wanted` are fetched: a run often logs hundreds, and each costs requests.
    The server is WANDB_BASE_URL or the cloud; the key is WANDB_API_KEY or that of ~/.netrc.

    Raises:
        RunError: no such place, no right to it, or a server that stays out of reach.
    """
    names = source.strip("/").split("/")
    if len(names) not in (2, 3) or not all(names):
        raise RunError(f"wandb:{source}: give wandb:ENTITY/PROJECT or wandb:ENTITY/PROJECT/RUN.")
    address = os.environ.get("WANDB_BASE_URL", CLOUD).rstrip("/")
    key = os.environ.get("WANDB_API_KEY", "") or netrc_password(address)
    server = Server(address=address, authorisation=basic("api", key) if key else "", sleep=sleep)
    project = _Project(server, names[0], names[1], cache, wanted)
    nodes = project.runs() if len(names) == 2 else iter([project.run(names[2])])
    for node in nodes:
        yield project.fetched(node)


class _Project:
    """One project on a server."""

    def __init__(
        self, server: Server, entity: str, name: str, cache: Path, wanted: Callable[[str], bool]
    ) -> None:
        self.server = server
        self.wanted = wanted
        self.names = {"entity": entity, "project": name}
        self.place = f"wandb:{entity}/{name}"
        self.cache = cache

    def _ask(self, query: str, **variables: Any) -> dict[str, Any]:
        """The project in the answer."""
        body = {"query": query, "variables": self.names | variables}
        answer = self.server.post("/graphql", body)
        errors = answer.get("errors") if isinstance(answer, dict) else None
        if errors:
            first = errors[0] if isinstance(errors, list) else errors
            said = first.get("message") if isinstance(first, dict) else first
            raise RunError(
                f"{self.place}: W&B says {shown(str(said))}. Check the names and rights."
            )
        data = answer.get("data") if isinstance(answer, dict) else None
        project = data.get("project") if isinstance(data, dict) else None
        if not isinstance(project, dict):
            raise RunError(
                f"{self.place}: not found on {self.server.address}. Check the names; for a private "
                "project set WANDB_API_KEY."
            )
        return project

    def run(self, name: str) -> dict[str, Any]:
        """What is known of one run, without its history."""
        node = self._ask(_RUN, run=name).get("run")
        if not isinstance(node, dict):
            raise RunError(f"{self.place}/{name}: no such run. Give the id at the end of its page.")
        return node

    def runs(self) -> Iterator[dict[str, Any]]:
        """The same of every run, the oldest first."""
        cursor: str | None = None
        while True:
            runs = self._ask(_RUNS, cursor=cursor, perPage=_RUNS_A_PAGE).get("runs")
            edges = runs.get("edges") if isinstance(runs, dict) else None
            if not isinstance(runs, dict) or not isinstance(edges, list) or not _are_edges(edges):
                raise RunError(f"{self.place}: W&B's answer has no runs. Try again later.")
            for edge in edges:
                yield edge["node"]
            following = edges[-1].get("cursor") if edges else None
            if not (runs.get("pageInfo") or {}).get("hasNextPage") or following in (None, cursor):
                return
            cursor = following

    def fetched(self, node: Mapping[str, Any]) -> ForeignRun:
        """A run with its whole history."""
        run_id = str(node.get("name"))
        gathered = Gatherer()
        self._gather(run_id, _mapping(node.get("historyKeys")), gathered)
        series = gathered.series()
        summary = numbers(flat(_mapping(node.get("summaryMetrics"))))
        return ForeignRun(
            tool=TOOL,
            place=f"{self.place}/{run_id}",
            run_id=run_id,
            name=str(node.get("displayName") or ""),
            group=run_id,
            state=_STATES.get(str(node.get("state")), "unknown"),
            config=_config(node),
            series=series,
            summary={k: v for k, v in summary.items() if k[:1] != "_" and k not in series},
            problems=gathered.problems(),
        )

    def _gather(self, run_id: str, known: Mapping[str, Any], gathered: Gatherer) -> None:
        last = known.get("lastStep")
        keys = known.get("keys")
        if not isinstance(keys, dict):
            return
        if not isinstance(last, int) or not -1 <= last < 1 << 53:
            gathered.problem("W&B does not say how many steps the run has: its history is left out")
            return
        end = last + 1
        times: dict[int, float] = {}
        count = _number_count(keys.get("_timestamp"))
        for step, value in self._points(run_id, "_timestamp", end, count):
            times[step] = as_number(value) or float("nan")
        for key, about in keys.items():
            if key.startswith("_") or not self.wanted(key):
                continue
            count = _number_count(about)
            if count == 0:
                gathered.no_number(key)
                continue
            found = 0
            for step, value in self._points(run_id, key, end, count):
                gathered.add_any(key, step, value, times.get(step, float("nan")))
                found += 1
            if count is not None and found < count:
                gathered.problem(f"{shown(key)}: W&B counts {count} values, but {found} came")

    def _points(self, run_id: str, key: str, end: int, count: int | None) -> Iterator[list[Any]]:
        """Points of one metric before the step `end`; what is cached is not asked for."""
        names = self.names["entity"], self.names["project"], run_id, key
        store = PageStore.of(self.cache, self.server.address, *names)
        pages = store.read()
        if pages and pages[-1].end > end:  # the run was rewound: its past is another
            pages = []
        width = max(_SAMPLES, _AIM * end // count if count else 0)
        begin = pages[-1].end if pages else 0
        while begin < end:
            page = self._page(run_id, key, begin, min(begin + width, end))
            if page is None:
                width = max(min(width, end - begin) // 2, _SAMPLES)
                continue
            store.append(page, len(pages))
            pages.append(page)
            begin = page.end
        for page in pages:
            yield from page.points

    def _page(self, run_id: str, key: str, begin: int, end: int) -> Page | None:
        """All points of a window, or None where it holds more than come at once."""
        spec = {"keys": ["_step", key], "minStep": begin, "maxStep": end, "samples": _SAMPLES}
        run = self._ask(_HISTORY, run=run_id, spec=json.dumps(spec)).get("run")
        lists = run.get("sampledHistory") if isinstance(run, dict) else None
        if not isinstance(lists, list) or not lists or not isinstance(lists[0], list):
            raise RunError(f"{self.place}/{run_id}: W&B's answer has no history. Try again later.")
        rows = [row for row in lists[0] if isinstance(row, dict)]
        if len(rows) > _SAMPLES // 2 and end - begin > _SAMPLES:
            return None
        points = [[row.get("_step"), row.get(key)] for row in rows]
        return Page(
            begin, end, [p for p in points if isinstance(p[0], int) and begin <= p[0] < end]
        )


def _are_edges(edges: list[Any]) -> bool:
    return all(isinstance(edge, dict) and isinstance(edge.get("node"), dict) for edge in edges)


def _mapping(value: Any) -> dict[str, Any]:
    """A mapping, which the API gives as such or as JSON text."""
    if isinstance(value, str):
        try:
            value = parse_json(value)
        except ValueError:
            value = None
    return value if isinstance(value, dict) else {}


def _config(node: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without W&B's own; each stands under `value` beside its description."""
    plain = {
        key: entry["value"] if isinstance(entry, dict) and "value" in entry else entry
        for key, entry in _mapping(node.get("config")).items()
        if not key.startswith("_")
    }
    config = flat(plain)
    if node.get("group"):
        config["wandb.group"] = node["group"]
    return config


def _number_count(about: Any) -> int | None:
    """How many numbers W&B counts under a key; None where it does not say."""
    types = about.get("typeCounts") if isinstance(about, dict) else None
    if not isinstance(types, list):
        return None
    counts = [entry.get("count") for entry in types if isinstance(entry, dict)]
    kinds = [entry.get("type") for entry in types if isinstance(entry, dict)]
    # NaN and infinities come as texts, and are counted so.
    if "number" not in kinds:
        return 0
    pairs = zip(kinds, counts, strict=True)
    return sum(c for kind, c in pairs if kind == "number" and isinstance(c, int))
