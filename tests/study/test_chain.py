"""The whole chain on a small real ladder: end to end, killed, resumed, extended, spoilt."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from isoflop._errors import InputError, MissingExtraError, StudyError
from isoflop.data import check_corpus
from isoflop.ladders.lock import exclusive
from isoflop.planning import plan
from isoflop.reports import read_law_card
from isoflop.runs import RunFolder, read_runs
from isoflop.study import (
    Outcome,
    StudyFolder,
    demo_line,
    dry_run,
    extend_run,
    open_study,
    plan_study,
    run_study,
    study_status,
    write_study_report,
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
def first(tmp_path_factory: pytest.TempPathFactory, tiny_text: Path) -> tuple[StudyFolder, Outcome]:
    """A study that was run once, and what it came to."""
    study = _open(tmp_path_factory.mktemp("study"), tiny_text)
    return study, run_study(study)


@pytest.fixture
def finished(first: tuple[StudyFolder, Outcome]) -> StudyFolder:
    return first[0]


@pytest.fixture
def outcome(first: tuple[StudyFolder, Outcome]) -> Outcome:
    return first[1]


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


def test_the_fit_never_sees_the_holdout(finished: StudyFolder, outcome: Outcome) -> None:
    assert outcome.analysis.fit.n_runs == 9
    assert len(read_runs(finished.runs)["loss"]) == 10


def test_the_forecast_is_older_than_the_holdout_and_hashed(
    finished: StudyFolder, outcome: Outcome
) -> None:
    assert demo_line(outcome).startswith("ok pilots=9 decades=")
    (forecast,) = finished.fits.glob("forecast-*.json")
    holdout = next(row for row in study_status(finished) if row.kind == "held-out trunk")
    first_point = finished.runs / holdout.run_id / "config.json"
    assert forecast.stat().st_mtime_ns <= first_point.stat().st_mtime_ns
    before = forecast.read_bytes()
    tampered = json.loads(before)
    tampered["loss"]["value"] *= 0.99
    forecast.write_text(json.dumps(tampered))
    with pytest.raises(InputError, match="sha256"):
        run_study(finished)
    forecast.write_bytes(before)


def test_a_second_run_trains_nothing_and_an_impossible_plan_costs_no_report(
    finished: StudyFolder,
) -> None:
    def times() -> dict[Path, int]:
        kept = (*finished.runs.glob("*/metrics.jsonl"), *finished.fits.glob("forecast-*.json"))
        return {path: path.stat().st_mtime_ns for path in kept}

    before = times()
    # No loss can lie below the floor of the law: the planner refuses it.
    wish = replace(finished.config.plan, flops=None, loss=0.01)
    study = replace(finished, config=replace(finished.config, plan=wish))
    study.report.unlink()
    outcome = run_study(study)
    assert outcome.plan is None
    (problem,) = (p for p in outcome.problems if p.code == "plan_impossible")
    assert problem.severity == "warning"
    assert "loss" in problem.text
    assert "plan_impossible" in outcome.report.read_text()
    assert times() == before
    study.report.unlink()
    assert "plan_impossible" in write_study_report(study).read_text()


@pytest.mark.parametrize(
    ("module", "extra"),
    [("torch", "train"), ("matplotlib", "plot"), ("daft", "data"), ("tokenizers", "data")],
)
def test_a_missing_extra_is_named_before_anything_starts(
    tmp_path: Path, tiny_text: Path, monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    study = _open(tmp_path / "new", tiny_text)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"'{module}'.*pip install 'isoflop\[{extra}\]'"):
        run_study(study)
    assert sorted(path.name for path in study.path.iterdir()) == ["study.toml"]


def test_a_second_driver_is_refused(finished: StudyFolder) -> None:
    with exclusive(finished.path), pytest.raises(StudyError, match="is working on this study"):
        run_study(finished)


def test_kill_minus_nine_loses_nothing(
    finished: StudyFolder, tmp_path: Path, tiny_text: Path
) -> None:
    study = _open(tmp_path / "killed", tiny_text)
    command = [sys.executable, "-m", "isoflop", "run", str(study.path)]
    kills = []
    for n_done in (0, 4):
        process = subprocess.Popen(
            command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + 120
        while len(_done(study)) < n_done or not _cut(study):
            assert process.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline, "nothing was trained"
            time.sleep(0.005)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        while any(row.state == "running" for row in study_status(study)):
            assert time.monotonic() < deadline, "a killed run is said to run"
            time.sleep(0.01)
        kills.append((_done(study), _cut(study), _starts(study)))
    ended = subprocess.run(command, check=False, capture_output=True)
    assert ended.returncode in (0, 3), ended.stderr
    assert _records(study) == _records(finished)
    starts = _starts(study)
    for done, cut, before in kills:
        for run in done:  # is not begun again
            assert starts[run] == before[run]
        for run, step in cut.items():  # goes on from its last checkpoint
            assert starts[run][len(before[run])] == step > 0
    assert kills[1][0]
    assert kills[0][1] or kills[1][1]


def _done(study: StudyFolder) -> list[str]:
    """Runs that have ended, by their status."""
    return [folder.run_id for folder in _folders(study) if folder.status().state == "done"]


def _cut(study: StudyFolder) -> dict[str, int]:
    """Runs that have begun, have something left to train and a checkpoint: its step."""
    steps = {}
    for folder in _folders(study):
        saved = [int(path.stem.split("_")[1]) for path in folder.checkpoints.glob("*.pt")]
        holds = len(list(folder.checkpoints.glob("hold_*.pt")))
        branches = sum(f.config().trunk == folder.run_id for f in _folders(study))
        whole = branches > 0 and holds == branches
        if folder.status().state == "running" and saved and not whole and not folder.final():
            steps[folder.run_id] = max(saved)
    return steps


def _starts(study: StudyFolder) -> dict[str, list[int]]:
    """The step from which every process that trained a run went on, by run."""
    starts: dict[str, list[int]] = {folder.run_id: [] for folder in _folders(study)}
    for path in study.runs.glob("*/log.txt"):
        for run, step in re.findall(r"run (\w+): from step (\d+) to", path.read_text()):
            starts[run].append(int(step))
    return starts


def _folders(study: StudyFolder) -> list[RunFolder]:
    return [RunFolder(path.parent) for path in sorted(study.runs.glob("*/config.json"))]


def test_extension_goes_on_from_before_the_cooldown(
    finished: StudyFolder,
) -> None:
    row = [r for r in study_status(finished) if r.kind == "pilot"][-1]
    outcome = extend_run(finished, row.run_id, 48_000)
    table = read_runs(finished.runs)
    longer = RunFolder(finished.runs / row.run_id).config()
    chosen = (table["trunk"] == longer.trunk) & (table["n_tokens"] == 48_000)
    assert chosen.sum() == 1
    assert outcome.analysis.fit.n_runs == 9
    with pytest.raises(StudyError, match="trunk"):
        extend_run(finished, str(longer.trunk), 48_000)
    for path in finished.runs.iterdir():
        if path.name == str(table["run"][chosen][0]):
            assert RunFolder(path).status().state == "done"


def test_plan_takes_what_it_is_asked(finished: StudyFolder) -> None:
    plan = plan_study(finished, n_params=1e4)
    assert plan.n_params.value == pytest.approx(1e4)
    assert (finished.plans / "plan.json").exists()


def test_the_law_card_plans_as_the_study_does(finished: StudyFolder) -> None:
    made = plan_study(finished, flops=1e12)
    card = read_law_card(finished.law_card)
    assert finished.law_card.with_suffix(".md").exists()
    assert card.n_params_convention == "non_embedding_with_head"
    again = plan(card, flops=1e12, level=made.level)
    assert again.n_params.value == made.n_params.value
    assert again.data_sha256 == made.data_sha256


def test_dry_run_needs_no_corpus_and_starts_nothing(tmp_path: Path, tiny_text: Path) -> None:
    study = _open(tmp_path / "dry", tiny_text)
    assert len(dry_run(study).runs) == 3 * 4 + 2
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
    check_corpus(finished.data)
    assert {row.state for row in study_status(finished)} == {"done"}


def test_another_study_does_not_overwrite_one_with_runs(
    finished: StudyFolder, tmp_path: Path
) -> None:
    other = tmp_path / "other.toml"
    other.write_text((finished.path / "study.toml").read_text() + "\n# changed\n")
    with pytest.raises(StudyError, match="another study file"):
        open_study(other, finished.path)
