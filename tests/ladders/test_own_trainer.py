"""A trainer of one's own: placeholders, measurements in every format, what is refused and why."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import pytest

from isoflop._errors import RunError, StudyError
from isoflop.accounting import count_params
from isoflop.ladders.own_metrics import read_points
from isoflop.ladders.own_trainer import main
from isoflop.runs import RunFolder
from isoflop.specs import (
    ModelShape,
    Optimiser,
    RunConfig,
    Schedule,
    TrainerColumns,
    TrainerSection,
    placeholders_of,
)
from optional import need_package

ROOT = Path(__file__).parents[2]
N_TOKENS, BATCH = 1280, 64


@pytest.fixture
def branch(tiny_trunk: RunConfig) -> RunConfig:
    schedule = replace(tiny_trunk.schedule, kind="wsd", n_tokens=N_TOKENS, cooldown_tokens=256)
    return replace(tiny_trunk, schedule=schedule, trunk=tiny_trunk.run_id)


@pytest.fixture
def folder(tmp_path: Path, branch: RunConfig) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", branch)


def section_of(**keys: Any) -> TrainerSection:
    return TrainerSection(command="true", **keys)


def write(folder: RunFolder, text: str, name: str = "metrics.jsonl") -> Path:
    output = folder.path / "trainer"
    output.mkdir(exist_ok=True)
    (output / name).write_text(text, encoding="utf-8")
    return output


ROWS = [
    {"step": 10, "n_tokens": 640, "loss": 5.5, "lr": 0.01, "wall_s": 1.5, "loss_prose": 5.0},
    {"step": 20, "n_tokens": 1280, "loss": 4.5, "lr": 0.001, "wall_s": 3.0, "loss_prose": 4.0},
]


def as_jsonl(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def as_csv(rows: list[dict[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


@pytest.mark.parametrize(("form", "render"), [("jsonl", as_jsonl), ("csv", as_csv)])
def test_measurements_become_points(
    folder: RunFolder, form: Any, render: Callable[[list[dict[str, Any]]], str]
) -> None:
    output = write(folder, render(ROWS))
    first, last = read_points(folder, output, section_of(format=form)).points
    assert (first.kind, last.kind) == ("intermediate", "final")
    assert (last.step, last.n_tokens, last.loss, last.lr, last.wall_s) == (20, 1280, 4.5, 1e-3, 3.0)
    assert last.loss_by_domain == {"prose": 4.0}
    assert last.flops == 6.0 * count_params(folder.config().shape).under() * 1280


def test_columns_are_mapped_and_counts_follow_from_steps(folder: RunFolder) -> None:
    rows = [{"it": 20, "val": 4.5, "ppl": 90.0}]
    columns = TrainerColumns(step="it", loss="val", n_tokens="", lr="", wall_s="")
    (point,) = read_points(
        folder, write(folder, as_jsonl(rows)), section_of(columns=columns)
    ).points
    assert (point.step, point.n_tokens, point.loss) == (20, 1280, 4.5)
    config = folder.config()
    # Not said: what the configuration asks of the last step.
    assert point.lr == config.optimiser.lr * config.schedule.factor(1280 - 64, 1280)


def test_a_trainer_state_of_hugging_face_is_read(folder: RunFolder) -> None:
    history = [
        {"step": 0, "eval_loss": 5.7, "epoch": 0.0},
        {"step": 10, "loss": 5.4, "learning_rate": 3e-3, "epoch": 0.1},
        {"step": 10, "eval_loss": 5.2, "eval_runtime": 0.1},
        {"step": 20, "eval_loss": 4.4, "eval_runtime": 0.1},
        {"step": 20, "train_loss": 5.0, "train_runtime": 1.0},
        {"step": 20, "n_params": count_params(folder.config().shape).total},
    ]
    text = json.dumps({"global_step": 20, "log_history": history})
    section = section_of(metrics="trainer_state.json", format="hf")
    points = read_points(folder, write(folder, text, "trainer_state.json"), section).points
    # The untrained model is no point of a law.
    assert [(p.step, p.loss, p.lr, p.kind) for p in points] == [
        (10, 5.2, 3e-3, "intermediate"),
        (20, 4.4, 3e-3, "final"),
    ]


def test_a_step_measured_again_counts_as_measured_first(folder: RunFolder) -> None:
    again = [*ROWS, {**ROWS[0], "loss": 9.0}]
    points = read_points(folder, write(folder, as_jsonl(again)), section_of()).points
    assert [p.loss for p in points] == [5.5, 4.5]


def test_a_torn_last_line_is_read_past_and_another_is_named(folder: RunFolder) -> None:
    output = write(folder, as_jsonl(ROWS) + '{"step": 30, "lo')
    assert len(read_points(folder, output, section_of()).points) == 2
    output = write(folder, '{"step": 30, "lo\n' + as_jsonl(ROWS))
    with pytest.raises(RunError, match=r"metrics\.jsonl, line 1: not JSON"):
        read_points(folder, output, section_of())


def test_a_loss_that_is_no_number_is_divergence(folder: RunFolder) -> None:
    output = write(folder, as_jsonl([ROWS[0], {**ROWS[1], "loss": float("nan")}]))
    seen = read_points(folder, output, section_of())
    assert seen.diverged == "the loss became nan at step 20"
    assert [p.step for p in seen.points] == [10]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no row has a 'loss', only nothing"),
        (as_jsonl([{"step": 20, "val": 4.0}]), "no row has a 'loss', only step, val"),
        (as_jsonl([{"loss": 4.0}]), "neither 'step' nor 'n_tokens'"),
        (as_jsonl([{"step": 20, "loss": "low"}]), "loss = 'low' is not a number"),
        (as_jsonl([{"step": 20, "loss": -1}]), "a loss is above 0"),
        ("[1]\n", "line 1: not a JSON object"),
        (as_jsonl([{**ROWS[1], "n_params": 1e9}]), "n_params = 1e+09, but the run's shape has"),
    ],
)
def test_bad_measurements_are_named(folder: RunFolder, text: str, words: str) -> None:
    with pytest.raises(RunError) as error:
        read_points(folder, write(folder, text), section_of())
    assert words in str(error.value)
    assert "metrics.jsonl" in str(error.value)


def test_every_scientific_field_is_a_placeholder(branch: RunConfig) -> None:
    values = placeholders_of(branch)
    for owner in (branch.shape, branch.schedule, branch.optimiser):
        for field in fields(owner):
            assert values[field.name] == getattr(owner, field.name)
    owners = [{f.name for f in fields(kind)} for kind in (ModelShape, Schedule, Optimiser)]
    assert sum(map(len, owners)) == len(set.union(*owners)), "two sections share a name"
    assert (values["seed"], values["run_id"]) == (branch.seed, branch.run_id)


def test_placeholders_fill_whole_words(branch: RunConfig) -> None:
    section = TrainerSection(command="run '{run_dir}/x y' --lr={lr:.1e} {{kept}}")
    evil = "a b; rm -rf $HOME 'q'"
    words = section.words({**placeholders_of(branch), "run_dir": evil})
    assert words == ["run", f"{evil}/x y", "--lr=1.0e-02", "{kept}"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"command": "run {widht}"}, r"\{widht\}.*Use one of: .*width"),
        ({"command": "run {width.__class__}"}, "a known placeholder"),
        ({"command": "run {}"}, "a known placeholder"),
        ({"command": "run {width:{lr}}"}, "no placeholder within another"),
        ({"command": "run {width"}, "Write a brace that is text"),
        ({"command": "run 'x"}, "Close the quotes"),
        ({"command": " "}, "Name the program"),
        ({"command": "run", "metrics": "/etc/x"}, "a path below"),
        ({"command": "run", "metrics": "../x"}, "a path below"),
    ],
)
def test_a_bad_section_says_what_to_do(keys: dict[str, str], words: str) -> None:
    with pytest.raises(StudyError, match=words):
        TrainerSection(**keys)


# Measures once at the end; its arguments say what goes wrong.
SCRIPT = """
import json, sys
out, steps, tokens, code, share = sys.argv[1:]
tokens = int(int(tokens) * float(share))
with open(out + "/metrics.jsonl", "a") as stream:
    stream.write(json.dumps({"step": int(steps), "n_tokens": tokens, "loss": 4.0}) + "\\n")
with open(out + "/starts", "a") as stream:
    stream.write("x")
sys.exit(int(code))
"""


def train(
    tmp_path: Path, runs: list[RunConfig], *, code: int = 0, share: float = 1.0, more: str = ""
) -> int:
    """The exit code of one process that trains the runs with the script."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = f"{{python}} script.py {{run_dir}} {{steps}} {{n_tokens}} {code} {share} {more}"
    places = [str(RunFolder.create(tmp_path / "runs", run).path) for run in runs]
    section = json.dumps(asdict(TrainerSection(command=command.strip())))
    return main([str(tmp_path), *places, "--base", str(tmp_path), "--trainer", section])


@pytest.fixture(autouse=True)
def _handlers() -> Any:
    """`main` listens to signals of its own process, which here is pytest's."""
    import signal

    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def test_a_branch_is_trained_to_its_final_point(tmp_path: Path, branch: RunConfig) -> None:
    runs = [branch.as_trunk(), branch]
    assert train(tmp_path, runs) == 0
    trunk, own = (RunFolder(tmp_path / "runs" / run.run_id) for run in runs)
    assert trunk.status().state == "done"
    assert "complete by itself" in trunk.status().reason
    assert not trunk.points()
    final = own.final()
    assert final is not None
    assert (final.n_tokens, final.loss) == (N_TOKENS, 4.0)
    assert own.status().state == "done"
    assert train(tmp_path, runs) == 0  # and not again
    assert (own.path / "trainer" / "starts").read_text() == "x"


def test_a_trainer_that_names_the_trunk_has_it_trained_first(
    tmp_path: Path, branch: RunConfig
) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    runs = [branch.as_trunk(), branch]
    folders = [RunFolder.create(tmp_path / "runs", run) for run in runs]
    script = "{python} script.py {run_dir} {steps} {n_tokens} 0 1"
    section = asdict(TrainerSection(command=f"sh -c 'test -d {{trunk_dir}} && {script}'"))
    code = main(
        [str(tmp_path), *(str(f.path) for f in folders), "--base", str(tmp_path),
         "--trainer", json.dumps(section)]
    )  # fmt: skip
    assert code == 0
    (looked,) = folders[0].points()
    # The trunk ends where its last branch begins to cool down, and has no final point.
    assert (looked.n_tokens, looked.kind) == (branch.schedule.hold_tokens, "intermediate")
    assert folders[1].final() is not None


@pytest.mark.parametrize(
    ("keys", "code", "reason"),
    [
        ({"code": 7}, 7, "the trainer ended with exit code 7; see log.txt"),
        ({"share": 0.5}, 1, "the trainer ended at 640 of 1280 tokens; see log.txt"),
    ],
)
def test_a_run_that_is_not_complete_has_failed(
    tmp_path: Path, branch: RunConfig, keys: dict[str, Any], code: int, reason: str
) -> None:
    assert train(tmp_path, [branch], **keys) == code
    status = RunFolder(tmp_path / "runs" / branch.run_id).status()
    assert (status.state, status.reason) == ("failed", reason)


def test_missing_measurements_are_bad_input(
    tmp_path: Path, branch: RunConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    place = RunFolder.create(tmp_path / "runs", branch).path
    section = json.dumps(asdict(TrainerSection(command="true")))
    arguments = [str(tmp_path), str(place), "--base", str(tmp_path), "--trainer", section]
    assert main(arguments) == 2
    status = RunFolder(place).status()
    assert status.state == "failed"
    assert "trainer/metrics.jsonl: cannot be read" in status.reason
    section = json.dumps(asdict(TrainerSection(command="/no/such/program")))
    RunFolder(place).path.joinpath("execution.json").unlink()
    assert main([*arguments[:-1], section]) == 2


def test_a_run_is_not_gone_on_with_by_another_trainer(tmp_path: Path, branch: RunConfig) -> None:
    assert train(tmp_path, [branch], code=7) == 7
    assert train(tmp_path, [branch], more="--other") == 2
    assert (tmp_path / "runs" / branch.run_id / "trainer" / "starts").read_text() == "x"


def hugging_face() -> None:
    for name in ("transformers", "accelerate"):
        need_package(name, "hf")


@pytest.mark.slow
def test_the_shipped_hugging_face_example_is_a_ladder(tmp_path: Path) -> None:
    """The real Trainer, from the corpus to the law; the count of its Llama is the study's own."""
    hugging_face()
    sets = ("ladder.widths=[16,24,32]", "ladder.tokens=[20000,40000]", "holdout.width=48",
            "holdout.tokens=50000", "fit.n_draws=100", "data.domains=[{name='code', "
            f"source='path:{ROOT / 'src'}'}}]", "data.repeat=true")  # fmt: skip
    words = [sys.executable, "-m", "isoflop", "run", str(ROOT / "examples/hf-trainer/study.toml")]
    words += ["--into", str(tmp_path / "hf"), "--json"]
    done = subprocess.run(
        [*words, *(word for text in sets for word in ("--set", text))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode in (0, 3), done.stderr
    outcome = json.loads(done.stdout)["result"]
    assert outcome["n_pilots"] == 6
    assert outcome["actual"] is not None
    counted = 0
    for path in (tmp_path / "hf" / "runs").glob("*/trainer/trainer_state.json"):
        run = RunFolder(path.parents[1])
        history = json.loads(path.read_text())["log_history"]
        (n_params,) = {row["n_params"] for row in history if "n_params" in row}
        assert n_params == count_params(run.config().shape).total
        final = run.final()
        assert final is not None
        assert final.loss == next(r["eval_loss"] for r in history if "eval_loss" in r)
        counted += 1
    assert counted == 7


def test_the_example_s_command_has_every_argument_of_its_script() -> None:
    from isoflop.specs import read_study

    trainer = read_study(ROOT / "examples/hf-trainer/study.toml").trainer
    assert trainer is not None
    text = (ROOT / "examples/hf-trainer/train.py").read_text()
    options = {word for word in trainer.command.split() if word.startswith("--")}
    for option in options:
        assert f'"{option}"' in text or f'"{option[2:]}"' in text
