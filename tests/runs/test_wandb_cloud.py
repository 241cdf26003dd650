"""W&B's API, against a server in this process: whole histories, resumed, cached, no leak."""

import base64
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_wandb import FakeWandb, Row, serving

from isoflop._errors import RunError
from isoflop.runs.foreign import ForeignRun
from isoflop.runs.readers.server import TRIES, Server
from isoflop.runs.readers.wandb_api import read_wandb

KEY = "a" * 32 + "SECRET00"


@pytest.fixture(autouse=True)
def _no_settings_of_the_user(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "http_proxy", "HTTP_PROXY", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def rows(n: int, every: int = 1, dense: int = 0) -> list[Row]:
    """Two metrics that are never in one row but at the start; NaN as the API spells it."""
    found: list[Row] = []
    for i in range(n):
        # The last `dense` rows lie side by side, so that no width of a window fits all.
        step = min(i, n - dense) * every + max(i - n + dense, 0)
        row: Row = {"_step": step, "_timestamp": 1e9 + i, "loss": 2 + math.pi / (i + 3)}
        if i % 10 == 0:
            row["eval/loss"] = 1 / (i + 7)
        if i % 100 == 50:
            row["words"] = "text"
        found.append(row)
    found[5]["loss"] = "NaN"
    return found


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeWandb]:
    runs = {"one": rows(2500), "two": rows(3000, every=1000, dense=1500), "three": rows(10)}
    with serving(FakeWandb(runs=runs)) as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.address)
        yield server


def read(source: str, cache: Path, **more: Any) -> list[ForeignRun]:
    """All runs of a source, without waits."""
    return list(read_wandb(source, cache, lambda key: True, sleep=lambda s: None, **more))


def check(run: ForeignRun, logged: list[Row]) -> None:
    """Every value of every metric, at its step."""
    for key in ("loss", "eval/loss"):
        points = [
            (row["_step"], float(row[key]), row["_timestamp"]) for row in logged if key in row
        ]
        steps, values, walls = zip(*points, strict=True)
        np.testing.assert_array_equal(run.series[key].step, steps)
        np.testing.assert_array_equal(run.series[key].value, values)
        np.testing.assert_array_equal(run.series[key].wall_s, walls)


def test_whole_histories_come_though_the_server_thins_them_out(
    fake: FakeWandb, tmp_path: Path
) -> None:
    runs = read("ent/proj", tmp_path)
    assert [run.run_id for run in runs] == ["one", "two", "three"]
    for run in runs:
        check(run, fake.runs[run.run_id])
        assert run.config == {"lr": 0.1}
        assert run.summary == {"best": 0.1 + 0.2}
        assert (run.state, run.group) == ("done", run.run_id)
        assert run.name == f"name of {run.run_id} <b>"
    assert runs[0].problems == ("no numbers in some rows of 'words': left out there",)
    assert read("ent/proj/two", tmp_path)[0].run_id == "two"


def test_what_was_fetched_is_not_asked_for_again(fake: FakeWandb, tmp_path: Path) -> None:
    first = read("ent/proj/one", tmp_path)
    asked = len(fake.windows)
    assert asked < 20
    again = read("ent/proj/one", tmp_path)
    assert len(fake.windows) == asked
    check(first[0], fake.runs["one"])
    check(again[0], fake.runs["one"])


def test_a_fetch_that_was_cut_off_goes_on_where_it_was(fake: FakeWandb, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    read("ent/proj/one", whole)
    needed = len(fake.windows)
    for answered in range(needed):
        fake.windows.clear()
        cache = tmp_path / str(answered)
        fake.break_after = answered
        with pytest.raises(RunError, match=r"no answer after .* goes on from there"):
            read("ent/proj/one", cache)
        # A page that was being written when the machine died is as if never fetched.
        for file in cache.rglob("*.jsonl"):
            with file.open("ab") as stream:
                stream.write(b"[500, 100")
        fake.break_after = -1
        (run,) = read("ent/proj/one", cache)
        check(run, fake.runs["one"])
        assert len(fake.windows) == needed
        check(read("ent/proj/one", cache)[0], fake.runs["one"])
        assert len(fake.windows) == needed


def test_of_a_living_run_only_new_rows_are_fetched(fake: FakeWandb, tmp_path: Path) -> None:
    fake.states["one"] = "running"
    logged = fake.runs["one"]
    fake.runs["one"] = logged[:1200]
    (run,) = read("ent/proj/one", tmp_path)
    assert run.state == "running"
    check(run, logged[:1200])
    fake.windows.clear()
    fake.runs["one"] = logged
    check(read("ent/proj/one", tmp_path)[0], logged)
    assert min(begin for _, _, begin, _ in fake.windows) == 1200
    # Rewound, its past is another: nothing old is kept.
    fake.runs["one"] = [{**row, "loss": 1.0} for row in logged[:700]]
    check(read("ent/proj/one", tmp_path)[0], fake.runs["one"])


def test_a_busy_server_is_asked_again_after_the_wait_it_names(
    fake: FakeWandb, tmp_path: Path
) -> None:
    fake.failures = [(429, {"Retry-After": "7"}), (503, {}), (429, {"Retry-After": "1e9"})]
    waits: list[float] = []
    list(read_wandb("ent/proj/three", tmp_path, lambda key: True, sleep=waits.append))
    assert waits == [7.0, 2.0, 60.0]
    fake.failures = [(500, {})] * TRIES
    with pytest.raises(RunError, match=f"after {TRIES} tries .HTTP 500"):
        read("ent/proj", tmp_path)


def test_the_key_goes_to_the_server_and_nowhere_else(
    fake: FakeWandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    cache = tmp_path / "cache"
    read("ent/proj/three", cache)
    assert fake.keys_seen == {header()}
    for file in cache.rglob("*"):
        assert file.is_dir() or b"SECRET" not in file.read_bytes()
    fake.failures = [(401, {})]
    with pytest.raises(RunError, match=r"HTTP 401.*Set the key") as error:
        read("ent/proj", cache)
    assert "SECRET" not in repr(error.value)
    fake.failures = [(302, {"Location": "http://127.0.0.1:9/elsewhere"})]
    with pytest.raises(RunError, match=r"HTTP 302.*sends elsewhere"):
        read("ent/proj", cache)
    assert "SECRET" not in repr(Server(address=fake.address, authorisation=KEY))
    monkeypatch.setenv("WANDB_BASE_URL", "http://example.com")
    with pytest.raises(RunError, match="a key is sent over https only"):
        read("ent/proj", cache)


def header() -> str:
    """What the header must be."""
    return "Basic " + base64.b64encode(f"api:{KEY}".encode()).decode()


def test_the_key_is_found_in_netrc(
    fake: FakeWandb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = fake.address.removeprefix("http://")
    (tmp_path / ".netrc").write_text(f"machine {host} login user password {KEY}\n")
    (tmp_path / ".netrc").chmod(0o600)
    read("ent/proj/three", tmp_path / "cache")
    assert fake.keys_seen == {header()}


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("ent", "give wandb:ENTITY/PROJECT"),
        ("a/b/c/d", "give wandb:ENTITY/PROJECT"),
        ("ent/other", "wandb:ent/other: not found"),
        ("ent/proj/none", "no such run"),
    ],
)
def test_a_wrong_name_is_refused(fake: FakeWandb, tmp_path: Path, source: str, said: str) -> None:
    with pytest.raises(RunError, match=said):
        read(source, tmp_path)


def test_only_wanted_metrics_are_fetched(fake: FakeWandb, tmp_path: Path) -> None:
    (run,) = read_wandb("ent/proj/one", tmp_path, lambda key: key == "eval/loss")
    assert set(run.series) == {"eval/loss"}
    assert {key for _, key, _, _ in fake.windows} == {"_timestamp", "eval/loss"}
