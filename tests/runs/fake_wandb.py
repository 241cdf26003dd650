"""A server that answers as W&B's GraphQL API does, in this process, with its ways to fail."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Row = dict[str, Any]


@dataclass
class FakeWandb:
    """Runs by id, each with its rows; and what was asked so far."""

    runs: dict[str, list[Row]]
    states: dict[str, str] = field(default_factory=dict)
    failures: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Status and headers of the next answers."""
    break_after: int = -1
    """History queries that are answered before the server refuses all; -1: never."""
    windows: list[tuple[str, str, int, int]] = field(default_factory=list)
    """Run, key, first and last step of every history query that was answered."""
    keys_seen: set[str] = field(default_factory=set)
    address: str = ""

    def answer(self, body: dict[str, Any]) -> Any:
        """The project in the answer."""
        query, names = body["query"], body["variables"]
        if names["project"] != "proj":
            return None
        if "sampledHistory" in query:
            return {"run": {"sampledHistory": [self.sampled(names["run"], names["spec"])]}}
        if "runs(" in query:
            ids = list(self.runs)
            at = ids.index(names["cursor"]) + 1 if names["cursor"] else 0
            page = ids[at : at + 2]  # the server may give fewer than asked for
            edges = [{"node": self.node(run), "cursor": run} for run in page]
            return {"runs": {"edges": edges, "pageInfo": {"hasNextPage": at + 2 < len(ids)}}}
        return {"run": self.node(names["run"]) if names["run"] in self.runs else None}

    def node(self, run: str) -> dict[str, Any]:
        rows = self.runs[run]
        kinds: dict[str, dict[str, int]] = {}
        for row in rows:
            for key, value in row.items():
                kind = "number" if isinstance(value, int | float) else "string"
                counts = kinds.setdefault(key, {})
                counts[kind] = counts.get(kind, 0) + 1
        return {
            "name": run,
            "displayName": f"name of {run} <b>",
            "state": self.states.get(run, "finished"),
            "group": None,
            "config": json.dumps({"lr": {"value": 0.1, "desc": None}, "_wandb": {"value": {}}}),
            "summaryMetrics": json.dumps({"best": 0.1 + 0.2, "loss": 9, "_step": 5}),
            "historyKeys": {
                "lastStep": max((row["_step"] for row in rows), default=-1),
                "keys": {
                    key: {"typeCounts": [{"type": kind, "count": n} for kind, n in counts.items()]}
                    for key, counts in kinds.items()
                },
            },
        }

    def sampled(self, run: str, spec: str) -> list[Row]:
        """As the real one: rows that hold all keys, thinned out to the samples asked for."""
        asked = json.loads(spec)
        begin, end = asked["minStep"], asked["maxStep"]
        rows = [
            {key: row[key] for key in asked["keys"]}
            for row in self.runs[run]
            if begin <= row["_step"] < end and all(key in row for key in asked["keys"])
        ]
        self.windows.append((run, asked["keys"][1], begin, end))
        return rows[:: -(-len(rows) // asked["samples"]) or 1]


@contextmanager
def serving(fake: FakeWandb) -> Iterator[FakeWandb]:
    """The fake behind an address of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            fake.keys_seen.add(self.headers.get("Authorization", ""))
            if fake.failures:
                self.reply(*fake.failures.pop(0), b"<html>busy</html>")
            elif "sampledHistory" in body["query"] and fake.break_after == 0:
                self.reply(500, {}, b"")
            else:
                fake.break_after -= "sampledHistory" in body["query"]
                content = json.dumps({"data": {"project": fake.answer(body)}}).encode()
                self.reply(200, {}, content)

        def reply(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    fake.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
