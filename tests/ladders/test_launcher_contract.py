"""One contract for every launcher, on the real engines: nothing lost, nothing done twice.

Every training is a fake one that writes a line a step: a step that stands there twice was done
twice, one that is missing was lost.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from engines import Engine, ray_engine, running, slurm_engine, wait_for

from isoflop.data import prepare_corpus
from isoflop.ladders.launchers import attempts_of
from isoflop.ladders.tickets import JobRecord, read_job
from isoflop.runs import RunFolder
from isoflop.specs import DataSection, DomainSection
from isoflop.study import RunStatusRow, open_study, study_status

HERE = Path(__file__).parent
STUDY = """
[data]
vocab_size = 300
validation_tokens = 1500
repeat = true
[[data.domains]]
name = "prose"
source = "path:{text}/prose"
[model]
depth = 1
n_heads = 2
context = 16
[train]
batch_tokens = 128
[ladder]
widths = [8, 12]
tokens = [1280, 2560]
[trainer]
command = "{{python}} {fake} --out {{run_dir}} --study {{study_dir}} --width {{width}} \
--tokens {{n_tokens}} --batch {{batch_tokens}} --micro-batch {{micro_batch}} --lr {{lr:.3e}}"
[launch]
slots = 2
threads = 1
launcher = "{launcher}"
{launch}
"""
STEPS = {1280: list(range(1, 11)), 2560: list(range(1, 21))}


@pytest.fixture(
    scope="module",
    params=["local", *(pytest.param(name, marks=pytest.mark.slow) for name in ("slurm", "ray"))],
)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    if request.param == "local":
        yield Engine(name="local")
        return
    with slurm_engine() if request.param == "slurm" else ray_engine() as made:
        yield made


@pytest.fixture(scope="session")
def small_corpus(tmp_path_factory: pytest.TempPathFactory, tiny_text: Path) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    section = DataSection(
        domains=(DomainSection(name="prose", source="path:prose"),),
        vocab_size=300,
        validation_tokens=1500,
    )
    prepare_corpus(section, folder, base=tiny_text, seed=0, progress=lambda _label, _share: None)
    return folder


@dataclass(slots=True)
class Case:
    """A study of two jobs of two runs each, and its drivers."""

    engine: Engine
    place: Path
    _drivers: list["subprocess.Popen[str]"] = field(default_factory=list)

    def start(self) -> "subprocess.Popen[str]":
        """A driver, in a process group of its own."""
        words = [sys.executable, str(HERE / "contract_driver.py"), str(self.place)]
        environment = {**os.environ, **self.engine.environment}
        driver = subprocess.Popen(
            words, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
        )
        self._drivers.append(driver)
        return driver

    def finish(self, driver: "subprocess.Popen[str]", code: int = 0) -> str:
        """Wait for a driver's end; what it said."""

        def ended() -> bool:
            self.engine.hurry()
            return driver.poll() is not None

        wait_for(ended, lambda: self.rows())
        assert driver.stderr is not None
        said = driver.stderr.read()
        driver.stderr.close()
        assert driver.returncode == code, said
        return said

    def close(self) -> None:
        for driver in self._drivers:
            if driver.poll() is None:
                driver.send_signal(signal.SIGINT)
                driver.wait(timeout=60)
            if driver.stderr is not None:
                driver.stderr.close()

    def pace(self, seconds: float) -> None:
        """Seconds that a step takes of a training that starts from now on."""
        (self.place / "pace.txt").write_text(str(seconds))

    def fault(self, *faults: dict[str, Any]) -> None:
        (self.place / "faults.json").write_text(json.dumps(faults))

    def jobs(self) -> dict[int, Path]:
        """The trunk's folder of every job that has begun, by width."""
        found = {}
        for path in sorted((self.place / "runs").glob("*/config.json")):
            config = RunFolder(path.parent).config()
            if config.trunk is None:
                found[config.shape.width] = path.parent
        return found

    def record(self, width: int) -> JobRecord:
        return read_job(self.jobs()[width])

    def endings(self, width: int) -> list[str]:
        return [past.ending for past in self.record(width).history]

    def rows(self, width: int | None = None) -> list[RunStatusRow]:
        """What `isoflop status` says of the branches."""
        with pytest.MonkeyPatch.context() as patch:
            for key, value in self.engine.environment.items():
                patch.setenv(key, value)
            rows = study_status(open_study(self.place))
        runs = {row.run_id: RunFolder(self.place / "runs" / row.run_id) for row in rows}
        return [
            row for row in rows
            if row.kind == "pilot"
            and (width is None or runs[row.run_id].config().shape.width == width)
        ]  # fmt: skip

    def wait_until_it_trains(self, width: int, step: int = 3) -> Path:
        """Wait until the shorter run of a width has done some steps; the job's folder."""

        def trains() -> bool:
            logs = [path for path, n_tokens in self.branches(width) if n_tokens == 1280]
            return any(len(steps_of(path)) >= step for path in logs)

        wait_for(trains, lambda: self.rows() if self.jobs() else "nothing has begun")
        return self.jobs()[width]

    def branches(self, width: int) -> list[tuple[Path, int]]:
        found = []
        for path in sorted((self.place / "runs").glob("*/config.json")):
            config = RunFolder(path.parent).config()
            if config.trunk is not None and config.shape.width == width:
                found.append((path.parent, config.n_tokens))
        return found

    def assert_complete(self, *widths: int) -> None:
        """Every run is done, each step was done once, and each run has one point: its final."""
        for width in widths:
            assert {row.state for row in self.rows(width)} == {"done"}
            for path, n_tokens in self.branches(width):
                assert steps_of(path) == STEPS[n_tokens]
                (point,) = RunFolder(path).points()
                assert point.kind == "final"
                assert point.n_tokens == n_tokens
                assert point.loss == pytest.approx(2.0 + 100 * n_tokens**-0.5, rel=1e-12)
            assert self.endings(width)[-1] == "done"


def steps_of(run: Path) -> list[int]:
    path = run / "trainer" / "steps.log"
    return [int(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def case(engine: Engine, tmp_path: Path, tiny_text: Path, small_corpus: Path) -> Iterator[Case]:
    # A blank and a quote: no path may be taken apart by a shell or a script.
    made = make_case(engine, tmp_path / "a study's folder", tiny_text, small_corpus)
    made.pace(0.02)
    yield made
    made.close()


def make_case(engine: Engine, place: Path, text: Path, corpus: Path) -> Case:
    """A study folder with its corpus."""
    sections = "\n".join(
        f"[launch.{name}]\n" + "\n".join(f"{k} = {json.dumps(v)}" for k, v in keys.items())
        for name, keys in engine.launch.items()
    )
    place.mkdir()
    fake = str(HERE / "fake_trainer.py")
    study = STUDY.format(text=text, fake=fake, launcher=engine.name, launch=sections)
    (place / "study.toml").write_text(study)
    shutil.copytree(corpus, place / "data")
    return Case(engine, place)


def test_a_ladder_is_trained_once(case: Case) -> None:
    case.finish(case.start())
    case.assert_complete(8, 12)
    for width, folder in case.jobs().items():
        assert case.endings(width) == ["done"]
        (attempt,) = attempts_of(folder)
        assert attempt.code == 0
    case.finish(case.start())  # and not again
    assert {len(attempts_of(folder)) for folder in case.jobs().values()} == {1}


def test_a_killed_worker_is_tried_again(case: Case) -> None:
    """Its trainer lives on without it: the second attempt waits, and takes what it left."""
    case.pace(0.4)
    driver = case.start()
    folder = case.wait_until_it_trains(8)
    assert "running" in {row.state for row in case.rows(8)}
    command = running(folder).command_pid
    assert command is not None
    os.kill(command, signal.SIGKILL)
    case.pace(0.02)
    case.finish(driver)
    case.assert_complete(8, 12)
    assert case.endings(8) == ["lost", "done"]
    assert "signal 9" in case.record(8).history[0].reason
    assert case.endings(12) == ["done"]


def test_a_killed_driver_is_started_again_and_follows(case: Case) -> None:
    case.pace(0.15)
    driver = case.start()
    folder = case.wait_until_it_trains(8)
    driver.kill()  # it alone: what it started lives on
    driver.wait()
    before = len(steps_of(case.branches(8)[0][0]) + steps_of(case.branches(8)[1][0]))
    assert "running" in {row.state for row in case.rows(8)}
    assert case.record(8).state == "submitted"
    case.finish(case.start())
    case.assert_complete(8, 12)
    assert before < 30, "the driver was killed too late to show anything"
    assert case.endings(8) == case.endings(12) == ["done"]
    assert len(attempts_of(folder)) == 1


def test_a_preempted_job_goes_on_from_where_it_was(case: Case) -> None:
    case.pace(0.15)
    driver = case.start()
    folder = case.wait_until_it_trains(8)
    case.engine.preempt(folder)
    case.pace(0.02)
    case.finish(driver)
    case.assert_complete(8, 12)
    first, last = attempts_of(folder)[0], attempts_of(folder)[-1]
    assert first.code == 130, "it was not given the time to save itself"
    assert last.code == 0
    if case.engine.name == "slurm":  # it requeues by itself: one attempt, run twice
        assert case.endings(8) == ["done"]
        assert (last.number, last.restart) == (1, 1)
    else:
        assert case.endings(8) == ["preempted", "done"]


def test_the_end_of_its_time_is_no_end(case: Case) -> None:
    case.pace(0.15)
    driver = case.start()
    folder = case.wait_until_it_trains(12)
    case.engine.end_of_time(folder)
    wait_for(lambda: attempts_of(folder)[0].ended)
    case.pace(0.02)
    case.finish(driver)
    case.assert_complete(8, 12)
    first, last = attempts_of(folder)
    assert (first.code, last.code) == (130, 0)


def test_out_of_memory_halves_the_micro_batch(case: Case) -> None:
    case.fault({"width": 12, "step": 4, "kind": "memory"})
    case.finish(case.start())
    case.assert_complete(8, 12)
    assert case.endings(12) == ["out_of_memory", "done"]
    assert case.endings(8) == ["done"]
    run = next(path for path, n_tokens in case.branches(12) if n_tokens == 1280)
    lines = (run / "trainer" / "starts.log").read_text().splitlines()
    starts = [json.loads(line) for line in lines]
    assert [start["micro_batch"] for start in starts] == [0, 4]  # a batch is 8 sequences
    execution = RunFolder(run).execution()
    assert execution is not None
    assert execution["amended"][0]["was"] == {"micro_batch": 0}


def test_a_diverged_run_is_marked_and_not_tried_again(case: Case) -> None:
    case.fault({"width": 8, "step": 5, "kind": "nan"})
    case.finish(case.start())
    case.assert_complete(12)
    assert case.endings(8) == ["done"]
    states = {row.n_tokens: (row.state, row.reason) for row in case.rows(8)}
    assert states[2560] == ("done", "")
    assert states[1280] == ("diverged", "the loss became nan at step 5")
    assert len(attempts_of(case.jobs()[8])) == 1


def test_a_broken_trainer_is_given_up_with_its_reason(case: Case) -> None:
    case.fault(*({"width": 8, "step": step, "kind": "error"} for step in (3, 5)))
    said = case.finish(case.start(), code=1)
    assert "failed 2 times: the trainer ended with exit code 1" in said
    assert case.endings(8) == ["crashed", "crashed"]
    assert "failed" in {row.state for row in case.rows(8)}
    assert "it is broken" in (case.jobs()[8] / "log.txt").read_text()
    case.finish(case.start())  # mended, it goes on where it was
    case.assert_complete(8, 12)


def test_ctrl_c_stops_everything_and_loses_nothing(case: Case) -> None:
    case.pace(0.15)
    driver = case.start()
    folder = case.wait_until_it_trains(8)
    driver.send_signal(signal.SIGINT)
    case.finish(driver, code=130)
    assert attempts_of(folder)[0].code == 130
    assert not [row for row in case.rows() if row.state == "running"]
    assert case.endings(8) == ["stopped"]
    case.pace(0.02)
    case.finish(case.start())
    case.assert_complete(8, 12)


def own_case(engine: Engine, place: Path, text: Path, corpus: Path) -> Case:
    """A study that isoflop's own trainer trains, long enough to be taken away in the middle."""
    case = make_case(engine, place, text, corpus)
    study = (place / "study.toml").read_text()
    head, tail = study.split("[trainer]")
    tail = tail.partition("[launch]")[2].replace("threads = 1", "checkpoint_seconds = 0.1")
    (place / "study.toml").write_text(f"{head.replace('2560', '128000')}[launch]{tail}")
    return case


def records_of(case: Case) -> dict[str, list[dict[str, Any]]]:
    """Every point of every run without its wall-clock time."""
    assert {row.state for row in case.rows()} == {"done"}
    return {
        path.parent.name: [
            {k: v for k, v in point.to_json().items() if k != "wall_s"}
            for point in RunFolder(path.parent).points()
        ]
        for path in sorted((case.place / "runs").glob("*/config.json"))
    }


@pytest.fixture(scope="session")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, tiny_text: Path, small_corpus: Path
) -> dict[str, list[dict[str, Any]]]:
    """The records of a study that was trained here, and left alone."""
    place = tmp_path_factory.mktemp("undisturbed") / "study"
    case = own_case(Engine(name="local"), place, tiny_text, small_corpus)
    case.finish(case.start())
    return records_of(case)


@pytest.mark.slow
def test_isoflop_s_own_trainer_trains_the_same_everywhere(
    engine: Engine,
    tmp_path: Path,
    tiny_text: Path,
    small_corpus: Path,
    undisturbed: dict[str, list[dict[str, Any]]],
) -> None:
    """Taken away in the middle and resumed, on any engine: every record is the same bit for bit."""
    case = own_case(engine, tmp_path / "study", tiny_text, small_corpus)
    try:
        driver = case.start()
        folder = wait_for(lambda: case.jobs().get(8))
        wait_for(lambda: RunFolder(folder).status().step > 0, lambda: case.rows())
        case.engine.preempt(folder)
        case.finish(driver)
    finally:
        case.close()
    assert attempts_of(folder)[0].code == 130
    assert len(attempts_of(folder)) == 2
    assert sum(map(len, undisturbed.values())) >= 20
    assert records_of(case) == undisturbed
