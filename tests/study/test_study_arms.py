"""A study with arms: the same ladder on other data, compared, and a proposed mixture tested."""

import json
from pathlib import Path

import numpy as np
import pytest

from isoflop._errors import InputError, StudyError
from isoflop.cli.entry import run
from isoflop.data import check_corpus
from isoflop.runs import RunFolder, read_runs
from isoflop.study import Outcome, StudyFolder, dry_run, open_study, run_study, study_status
from isoflop.study.arms import arm_tables, arms_of, proposal_outcome, proposal_path

BASE = """
name = "arms"
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
"""
ARMS = """
[[data.arms]]
name = "prose_only"
weights = {{ prose = 1 }}
[[data.arms]]
name = "rhyme_heavy"
weights = {{ prose = 1, rhyme = 3 }}
[data.propose]
target = "prose"
max_shares = {{ prose = 0.8 }}
width = 12
tokens = 16_000
"""
REST = """
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
[fit]
n_draws = 100
"""


def _open(folder: Path, text: Path, arms: str = ARMS) -> StudyFolder:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "study.toml").write_text((BASE + arms + REST).format(text=text), encoding="utf-8")
    return open_study(folder)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, tiny_text: Path) -> tuple[StudyFolder, Outcome]:
    """A study with two arms that was run once, and what it came to."""
    study = _open(tmp_path_factory.mktemp("study"), tiny_text)
    return study, run_study(study)


def test_every_arm_is_trained_on_the_grid_of_the_pilots(
    done: tuple[StudyFolder, Outcome],
) -> None:
    study, _ = done
    tables = arm_tables(study)
    assert list(tables) == ["base", "prose_only", "rhyme_heavy"]
    grid = None
    for name, table in tables.items():
        final = np.asarray(table["kind"]) == "final"
        cells = sorted(zip(table["n_params"][final], table["n_tokens"][final], strict=True))
        grid = grid or cells
        assert cells == grid, name
    shares = {name: set(table["w_prose"]) for name, table in tables.items()}
    assert shares == {"base": {0.5}, "prose_only": {1.0}, "rhyme_heavy": {0.25}}
    for arm in arms_of(study):
        check_corpus(arm.corpus)
        # A domain that is not trained on is looked at all the same.
        assert "loss_rhyme" in tables[arm.name]


def test_the_base_is_fitted_as_if_there_were_no_arms(
    done: tuple[StudyFolder, Outcome], tiny_text: Path, tmp_path: Path
) -> None:
    study, outcome = done
    plain = _open(tmp_path / "plain", tiny_text, arms="")
    (plain.path / "data").symlink_to(study.data, target_is_directory=True)
    (plain.path / "runs").mkdir()
    arms = {run.run_id for arm in arms_of(study) for job in arm.ladder.pilots for run in job.runs}
    for folder in study.runs.iterdir():
        if folder.name not in arms:
            (plain.path / "runs" / folder.name).symlink_to(folder, target_is_directory=True)
    alone = run_study(plain)
    assert alone.analysis.to_json() == outcome.analysis.to_json()
    assert alone.arms is None


def test_the_outcome_compares_every_arm_by_every_text(done: tuple[StudyFolder, Outcome]) -> None:
    study, outcome = done
    made = outcome.arms
    assert made is not None
    assert json.loads((study.fits / "arms.json").read_text()) == made
    told = {(one["arm"], one["target"]): one for one in made["outcomes"]}
    assert list(told) == [
        (arm, target)
        for arm in ("base", "prose_only", "rhyme_heavy")
        for target in ("loss", "loss_prose", "loss_rhyme")
    ]
    # What is not trained on is learned least.
    rhyme = {arm: one["largest"]["loss"] for (arm, t), one in told.items() if t == "loss_rhyme"}
    assert rhyme["prose_only"] > 1.02 * max(rhyme["base"], rhyme["rhyme_heavy"])
    page = study.report.read_text(encoding="utf-8")
    assert "Data recipes" in page
    assert "rhyme_heavy" in page


def test_the_proposal_was_made_before_its_run_and_is_measured(
    done: tuple[StudyFolder, Outcome],
) -> None:
    study, outcome = done
    tested = outcome.tested
    assert tested is not None
    made = tested.proposal
    assert sum(one.value for one in made.shares.values()) == pytest.approx(1)
    assert made.shares["prose"].value <= 0.8 + 1e-9
    assert made.shares["prose"].value > 0.5, "prose is what it is for"
    rows = read_runs(study.runs)
    mine = np.isclose(rows["w_prose"], made.shares["prose"].value)
    assert rows["n_tokens"][mine].tolist() == [16_000]
    assert tested.measured == pytest.approx(rows["loss_prose"][mine][0])
    run = RunFolder(study.runs / str(rows["run"][mine][0]))
    begun = (run.path / "config.json").stat().st_mtime_ns
    assert proposal_path(study).stat().st_mtime_ns <= begun


def test_a_second_run_trains_nothing(done: tuple[StudyFolder, Outcome]) -> None:
    study, outcome = done
    before = {p: p.stat().st_mtime_ns for p in study.runs.glob("*/metrics.jsonl")}
    kept = (study.fits / "arms.json").stat().st_mtime_ns
    again = run_study(study)
    assert (study.fits / "arms.json").stat().st_mtime_ns == kept, "nothing is compared again"
    assert {p: p.stat().st_mtime_ns for p in study.runs.glob("*/metrics.jsonl")} == before
    assert again.arms == outcome.arms


def test_status_and_dry_run_tell_of_arms(done: tuple[StudyFolder, Outcome]) -> None:
    study, _ = done
    rows = [row for row in study_status(study) if row.kind == "arm rhyme_heavy"]
    assert len(rows) == 9
    assert all(row.state == "done" for row in rows)
    assert sum(row.kind == "arm proposed" for row in study_status(study)) == 1
    kinds = {run.kind for run in dry_run(study).runs}
    assert {"pilot", "arm prose_only", "arm prose_only trunk", "arm proposed"} <= kinds


def test_compare_by_command(
    done: tuple[StudyFolder, Outcome], capsys: pytest.CaptureFixture[str]
) -> None:
    study, outcome = done
    assert run(["compare", str(study.path), "--json"]) in (0, 3)
    assert json.loads(capsys.readouterr().out)["result"] == outcome.arms
    assert run(["compare", str(study.path), "--against", "prose_only", "--json"]) in (0, 3)
    printed = json.loads(capsys.readouterr().out)
    assert printed["result"]["base"] == "prose_only"
    assert run(["compare", str(study.path), "--against", "nobody"]) == 2
    assert "'nobody'" in capsys.readouterr().err
    assert run(["compare", str(study.path), "--loss", "3"]) == 2
    # Two recipes: of a study with arms its own runs alone.
    assert run(["compare", str(study.path), str(study.path), "--json"]) in (0, 3)
    assert json.loads(capsys.readouterr().out)["result"]["arms"]["a"]["n_runs"] == 9


def test_a_changed_proposal_is_refused(done: tuple[StudyFolder, Outcome]) -> None:
    study, _ = done
    path = proposal_path(study)
    kept = path.read_text()
    data = json.loads(kept)
    data["loss"]["value"] *= 0.9
    path.write_text(json.dumps(data))
    try:
        with pytest.raises(InputError, match="changed after it was made"):
            proposal_outcome(study)
    finally:
        path.write_text(kept)


@pytest.mark.parametrize(
    ("arms", "error"),
    [
        ('[[data.arms]]\nname = "base"\nduplicates = "keep"', "not 'base'"),
        ('[[data.arms]]\nname = "same"', "changes something"),
        ('[[data.arms]]\nname = "same"\nduplicates = "near"', "changes something"),
        ('[[data.arms]]\nname = "a"\nweights = {{ verse = 1 }}', "'verse'"),
        ('[[data.arms]]\nname = "a"\nweights = {{ prose = -1, rhyme = 1 }}', "0 or more"),
        ('[[data.arms]]\nname = "a"\nweights = {{ prose = 0 }}', "above 0"),
        ('[[data.arms]]\nname = "a"\nduplicates = "near-ish"', "duplicates"),
        ('[[data.arms]]\nname = "a"\nrepeat = false\n' * 2, "distinct names"),
        ('[data.propose]\ntarget = "prose"', "arms with weights"),
        (ARMS.replace('target = "prose"', 'target = "verse"'), "verse"),
        (ARMS.replace("width = 12", "width = 13"), "no pilot has this width"),
        (ARMS.replace("16_000", "17_000"), "no such horizon"),
    ],
)
def test_bad_arms_are_refused(tiny_text: Path, tmp_path: Path, arms: str, error: str) -> None:
    with pytest.raises(StudyError, match=error):
        _open(tmp_path / "study", tiny_text, arms=f"\n{arms}\n")


def test_an_arm_without_enough_text_is_named(tiny_text: Path, tmp_path: Path) -> None:
    short = _open(
        tmp_path / "short",
        tiny_text,
        arms='\n[[data.arms]]\nname = "once"\nrepeat = false\nunique_tokens = {{ prose = 100 }}\n',
    )
    with pytest.raises(StudyError, match=r"data\.arms 'once'.*domain 'prose'"):
        run_study(short)
    assert not list(short.runs.glob("*")), "nothing was trained"
