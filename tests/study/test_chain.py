"""The whole chain on a small real ladder: end to end, killed, resumed, extended, spoilt."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isoflop._errors import InputError, StudyError
from isoflop.runs import RunFolder, read_runs
from isoflop.study import (
    StudyFolder,
    demo_line,
    dry_run,
    extend_run,
    fit_study,
    open_study,
    plan_study,
    run_study,
    study_status,
)

STUDY = """
name = "tiny <b>&</b>"
[data]
vocab_size = 300
validation_tokens = 1500
repeat = true
[[data.domains]]
name = "prose"
source = "path:{text}/prose"
[[data.domains]]
name = "rhyme"
source = "path:{text}/rhyme"
[model]
depth = 1
n_heads = 2
context = 16
[train]
batch_tokens = 128
base_lr = 1e-2
base_width = 16
[ladder]
widths = [8, 12, 16]
tokens = [8000, 16000, 32000]
[holdout]
width = 24
tokens = 64000
[fit]
n_draws = 100
[launch]
checkpoint_seconds = 0.2
"""


def _open(folder: Path, text: Path) -> StudyFolder:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text(STUDY.format(text=text), encoding="utf-8")
    return open_study(folder)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_text: Path) -> StudyFolder:
    study = _open(tmp_path_factory.mktemp("study"), tiny_text)
    run_study(study)
    return study


def _records(study: StudyFolder) -> dict[str, list[dict[str, object]]]:
    records = {}
    for path in sorted(study.runs.iterdir()):
        points = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
        records[path.name] = [{k: v for k, v in p.items() if k != "wall_s"} for p in points]
    return records


def test_everything_is_there(finished: StudyFolder) -> None:
    assert {row.state for row in study_status(finished)} == {"done"}
    for name in ("data/card.json", "fits/analysis.json", "plans/plan.json"):
        assert (finished.path / name).exists()
    report = (finished.path / "report.html").read_text()
    assert "tiny &lt;b&gt;&amp;&lt;/b&gt;" in report
    assert "<b>&</b>" not in report


def test_the_fit_never_sees_the_holdout(finished: StudyFolder) -> None:
    analysis = fit_study(finished)
    assert analysis.fit.n_runs == 9
    assert len(read_runs(finished.runs)["loss"]) == 10


def test_the_forecast_is_older_than_the_holdout_and_frozen(finished: StudyFolder) -> None:
    (forecast,) = finished.fits.glob("forecast-*.json")
    holdout = next(row for row in study_status(finished) if row.kind == "held-out trunk")
    first_point = finished.runs / holdout.run_id / "config.json"
    assert forecast.stat().st_mtime_ns <= first_point.stat().st_mtime_ns
    before = forecast.read_bytes()
    outcome = run_study(finished)
    assert forecast.read_bytes() == before
    assert demo_line(outcome).startswith("ok pilots=9 decades=")
    tampered = json.loads(before)
    tampered["loss"]["value"] *= 0.99
    forecast.write_text(json.dumps(tampered))
    with pytest.raises(InputError, match="sha256"):
        run_study(finished)
    forecast.write_bytes(before)


def test_a_second_run_trains_nothing(finished: StudyFolder) -> None:
    before = {p: p.stat().st_mtime_ns for p in finished.runs.glob("*/metrics.jsonl")}
    run_study(finished)
    assert {p: p.stat().st_mtime_ns for p in finished.runs.glob("*/metrics.jsonl")} == before


def test_kill_minus_nine_loses_nothing(
    finished: StudyFolder, tmp_path: Path, tiny_text: Path
) -> None:
    study = _open(tmp_path / "killed", tiny_text)
    command = [sys.executable, "-m", "isoflop", "run", str(study.path)]
    wanted = _records(finished)
    for n_runs in (1, 5):
        process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            if len(list(study.runs.glob("*/metrics.jsonl"))) >= n_runs:
                break
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    subprocess.run(command, check=True, capture_output=True)
    assert _records(study) == wanted


def test_extension_goes_on_from_before_the_cooldown(
    finished: StudyFolder,
) -> None:
    row = [r for r in study_status(finished) if r.kind == "pilot"][-1]
    extend_run(finished, row.run_id, 48_000)
    table = read_runs(finished.runs)
    longer = RunFolder(finished.runs / row.run_id).config()
    chosen = (table["trunk"] == longer.trunk) & (table["n_tokens"] == 48_000)
    assert chosen.sum() == 1
    assert fit_study(finished).fit.n_runs == 9
    with pytest.raises(StudyError, match="trunk"):
        extend_run(finished, str(longer.trunk), 48_000)
    for path in finished.runs.iterdir():
        if path.name == str(table["run"][chosen][0]):
            assert RunFolder(path).status().state == "done"


def test_plan_takes_what_it_is_asked(finished: StudyFolder) -> None:
    plan = plan_study(finished, n_params=1e4)
    assert plan.n_params.value == pytest.approx(1e4)
    assert (finished.plans / "plan.json").exists()


def test_dry_run_needs_no_corpus_and_starts_nothing(tmp_path: Path, tiny_text: Path) -> None:
    study = _open(tmp_path / "dry", tiny_text)
    assert len(dry_run(study)) == 3 * 4 + 2
    assert not study.runs.exists()


def test_corrupt_files_are_named_and_nothing_is_lost(
    tmp_path: Path, finished: StudyFolder, tiny_text: Path
) -> None:
    run = sorted(finished.runs.glob("*/metrics.jsonl"))[0]
    good = run.read_bytes()
    run.write_bytes(b"garbage\n" + good)
    with pytest.raises(InputError, match=r"metrics\.jsonl, line 1"):
        run_study(finished)
    assert run.read_bytes() == b"garbage\n" + good
    run.write_bytes(good)
    shard = next(finished.data.glob("train/*.bin"))
    good = shard.read_bytes()
    shard.write_bytes(good[:-2])
    with pytest.raises(InputError, match=shard.name):
        run_study(finished)
    shard.write_bytes(good)
    run_study(finished)


def test_another_study_does_not_overwrite_one_with_runs(
    finished: StudyFolder, tmp_path: Path
) -> None:
    other = tmp_path / "other.toml"
    other.write_text((finished.path / "study.toml").read_text() + "\n# changed\n")
    with pytest.raises(StudyError, match="another study file"):
        open_study(other, finished.path)
