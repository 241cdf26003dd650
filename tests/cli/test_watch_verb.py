"""`isoflop watch`: freezes once, follows to the end, and its exit codes are the verdict's."""

import io
import json
import shutil
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from isoflop import find_published
from isoflop.cli.entry import run
from isoflop.cli.output import Output
from isoflop.cli.watching import HEIGHT, WIDTH, chart, follow, view
from isoflop.monitoring import (
    curve_of_folder,
    judge,
    published_band,
    read_frozen,
    watched,
)

STUDY = Path(__file__).parents[2] / "examples" / "results" / "cpu-study"
RUN = "fc7a5c893a22"
TRUNK = "12c73a6a9112"


def running(study, share, *, scale=1.0):
    """Cut the held-out run back to a share of its tokens; points of its last half times `scale`."""
    place = study / "runs" / TRUNK / "metrics.jsonl"
    points = [json.loads(line) for line in place.read_text().splitlines()]
    points = [point for point in points if point["n_tokens"] <= share * 11_499_520]
    for point in points:
        if point["n_tokens"] > 0.2 * 11_499_520:
            point["loss"] *= scale
    place.write_text("".join(json.dumps(point) + "\n" for point in points))
    (study / "runs" / RUN / "metrics.jsonl").unlink()
    (study / "runs" / RUN / "status.json").unlink()
    (study / "runs" / TRUNK / "status.json").unlink()
    return study / "runs" / RUN


@pytest.fixture(scope="module")
def frozen(tmp_path_factory):
    """A study whose held-out run was watched from its beginning."""
    study = tmp_path_factory.mktemp("watched") / "study"
    shutil.copytree(STUDY, study)
    place = running(study, 0.05)
    assert run(["watch", str(place), "--once"]) == 0
    return study


@pytest.fixture
def study(frozen, tmp_path):
    """The same at 60 % of its tokens, with its forecast frozen before."""
    made = tmp_path / "study"
    shutil.copytree(STUDY, made)
    shutil.copy(frozen / "runs" / RUN / "watch.json", made / "runs" / RUN)
    return made


def result(capsys):
    return json.loads(capsys.readouterr().out)["result"]


def test_the_forecast_is_frozen_before_most_of_the_run(frozen):
    found = read_frozen(frozen / "runs" / RUN)
    assert 0 < found.begun_tokens < 0.05 * found.band.end
    assert found.band.end == 11_499_520
    assert not found.band.n_params < 358_400, "the watched size was never trained"


def test_a_healthy_run_exits_with_0_and_says_where_it_will_end(study, capsys):
    place = running(study, 0.6)
    assert run(["watch", str(place), "--once", "--json"]) == 0
    found = result(capsys)
    assert found["state"] in ("on_track", "plateau_by_schedule")
    assert found["final"]["low"] < 2.1989 < found["final"]["high"]
    width = [found[name]["high"] - found[name]["low"] for name in ("final", "final_frozen")]
    assert width[0] < 0.7 * width[1]
    ahead = found["going_on"]
    assert ahead["loss"]["value"] == pytest.approx(found["final"]["value"] - ahead["gain"]["value"])
    assert 0 <= ahead["odds"] <= 1
    assert ahead["new_n_params"] * ahead["new_n_tokens"] * 6 == pytest.approx(ahead["flops"])


def test_a_run_that_left_its_law_exits_with_4(study, capsys):
    assert run(["watch", str(running(study, 0.8, scale=1.06)), "--once", "--json"]) == 4
    assert result(capsys)["rung_at"] is not None


def test_a_diverged_run_exits_with_5(study):
    place = running(study, 0.6)
    (place / "status.json").write_text(json.dumps({"state": "diverged", "reason": "nan"}))
    assert run(["watch", str(place), "--once"]) == 5


def test_a_silent_run_exits_with_6(study):
    place = running(study, 0.6)
    (place / "status.json").write_text(json.dumps({"state": "running", "heartbeat": 1.0}))
    assert run(["watch", str(place), "--once"]) == 6


def test_another_level_than_the_frozen_one_is_refused(study, capsys):
    assert run(["watch", str(running(study, 0.6)), "--once", "--level", "0.2"]) == 2
    assert "frozen with level 0.05" in capsys.readouterr().err


def test_a_changed_forecast_is_refused_and_kept(study, capsys):
    path = study / "runs" / RUN / "watch.json"
    data = json.loads(path.read_text())
    data["forecast"]["log_loss"][-1] += 0.1
    path.write_text(json.dumps(data))
    assert run(["watch", str(study / "runs" / RUN), "--once"]) == 2
    assert "was changed after it was frozen" in capsys.readouterr().err
    assert json.loads(path.read_text()) == data


def test_nothing_is_written_for_a_run_that_has_ended(tmp_path, capsys):
    shutil.copytree(STUDY, tmp_path / "s")
    before = sorted(path.name for path in (tmp_path / "s" / "runs" / RUN).iterdir())
    assert run(["watch", str(tmp_path / "s" / "runs" / RUN), "--law", "luo_100m", "--once"]) in (
        0,
        4,
    )
    assert sorted(path.name for path in (tmp_path / "s" / "runs" / RUN).iterdir()) == before
    assert "not before the run" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--law", "hoffmann"], "luo_25m"),
        (["--law", "nobody"], "nobody"),
        (["--law", "luo_100m", "--study", "x"], "exclude"),
        (["--webhook", "file:///x"], "webhook"),
        (["--law", "luo_100m", "--level", "7"], "level"),
    ],
)
def test_options_that_cannot_be_are_refused_in_a_line(tmp_path, capsys, options, named):
    shutil.copytree(STUDY, tmp_path / "s")
    assert run(["watch", str(tmp_path / "s" / "runs" / RUN), "--once", *options]) == 2
    error = capsys.readouterr().err
    assert named in error
    assert "Traceback" not in error


def test_a_folder_that_is_no_run_is_named(tmp_path, capsys):
    assert run(["watch", str(tmp_path / "none"), "--once"]) == 2
    assert "none" in capsys.readouterr().err


def test_every_new_state_is_posted_once(study):
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    place = running(study, 0.6)
    known = read_frozen(place)

    def look():
        curve = curve_of_folder(place)
        return curve, judge(known.band, curve, level=known.level, sha256=known.sha256)

    states = iter([None, "torn", "diverged"])

    def sleep(_seconds):
        state = next(states)
        if state == "torn":
            (place / "status.json").write_text("{")  # told, and waited out
        elif state is not None:
            (place / "status.json").write_text(json.dumps({"state": state, "reason": "nan"}))

    try:
        out = Output("watch", as_json=True)
        url = f"http://127.0.0.1:{server.server_port}/"
        _, last = follow(out, look, known, url, once=False, sleep=sleep)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert last.state == "diverged"
    assert [one["exit_code"] for one in received] == [0, 5]
    assert received[-1]["sha256"] == known.sha256


def test_a_run_of_another_tool_is_watched_by_a_published_law(tmp_path, capsys):
    # A Trainer's folder whose losses follow Luo's law at 100M, 3 % higher, then jump by 3 % more.
    plan = tmp_path / "big.toml"
    plan.write_text(
        'source = "out"\nn_params = 1e8\nbatch_tokens = 1000\nloss = "eval_loss"\npeak_lr = 3e-4\n'
        '[schedule]\nkind = "cosine"\nwarmup_tokens = 2_160_000\nn_tokens = 24_000_000\n'
    )
    (tmp_path / "out").mkdir()
    band = published_band(
        find_published("luo_100m"), watched(plan).plan.path, 1e8, batch_tokens=1000
    )
    step = np.arange(2400, 20_000, 200)
    noise = 0.001 * np.random.default_rng(0).standard_normal(step.size)
    logs = band.mean(step * 1000.0) + 0.03 + noise

    def record(values):
        history = [
            {"step": int(s), "eval_loss": float(np.exp(v))}
            for s, v in zip(step, values, strict=True)
        ]
        state = {"global_step": 20_000, "max_steps": 24_000, "log_history": history}
        (tmp_path / "out" / "trainer_state.json").write_text(json.dumps(state))

    record(logs)
    watch = ["watch", str(plan), "--law", "luo_100m", "--once", "--json"]
    assert run(watch) == 0
    assert (tmp_path / "big.watch.json").exists()
    found = result(capsys)
    assert found["final"]["value"] == pytest.approx(np.exp(band.log_loss[-1] + 0.03), rel=0.01)
    record(logs + 0.03 * (step > 12_000))
    assert run(watch) == 4
    found = result(capsys)
    assert found["change"]["shape"] == "jump"
    assert found["change"]["since"] == pytest.approx(12.2e6, rel=0.05)
    assert found["change"]["size"] == pytest.approx(0.03, rel=0.3)


def test_the_view_fits_80_columns_and_shows_text_as_it_is(study):
    frozen = read_frozen(study / "runs" / RUN)
    curve = replace(curve_of_folder(study / "runs" / RUN), run="[red]x[/red]")
    verdict = replace(judge(frozen.band, curve), text="[bold]off[/bold]", cause="[link=x]")
    lines = chart(curve, frozen).splitlines()
    assert len(lines) == HEIGHT
    assert max(map(len, lines)) <= 80
    body = [line[8:] for line in lines]
    columns = ["".join(line[i] for line in body) for i in range(WIDTH)]
    # In every column the forecast, or the curve's point on it; as many points as can be told apart.
    assert all(set(column) & {"-", "*"} for column in columns)
    assert 8 <= sum("*" in column for column in columns) <= curve.usable(frozen.band).sum()
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(view(curve, verdict, frozen))
    shown = console.export_text()
    assert "[red]x[/red]" in shown
    assert "[bold]off[/bold]" in shown
    assert max(map(len, shown.splitlines())) <= 80
