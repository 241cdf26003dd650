"""Opening a study writes nothing, keeping it loses nothing, and overrides hold for every verb."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from isoflop._errors import InputError, StudyError
from isoflop.ladders import design_ladder
from isoflop.ladders.design import CorpusFacts
from isoflop.runs import RunFolder
from isoflop.study import StudyFolder, dry_run, links, open_study

STUDY = """
[data]
repeat = true
[[data.domains]]
name = "prose"
source = "path:prose"
[model]
n_heads = 2
context = 16
[train]
batch_tokens = 64
[ladder]
widths = [8, 12, 16]
tokens = [6400, 12800]
[holdout]
width = 32
tokens = 64000
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A study file that is not called study.toml."""
    path = tmp_path / "mine.toml"
    path.write_text(STUDY, encoding="utf-8")
    return path


def _train_one(study: StudyFolder) -> None:
    """The folder of one run, as a started study has it."""
    study.runs.mkdir()
    ladder = design_ladder(study.config, CorpusFacts.unknown(study.config))
    RunFolder.create(study.runs, ladder.pilots[0].trunk)


def _everything(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_opening_writes_nothing(file: Path) -> None:
    study = open_study(file, overrides=["seed=3"])
    assert study.path == file.parent / "mine"
    dry_run(study)
    assert [p.name for p in file.parent.iterdir()] == ["mine.toml"]


def test_keeping_makes_the_folder_complete(file: Path) -> None:
    open_study(file).keep()
    folder = file.parent / "mine"
    assert (folder / "study.toml").read_bytes() == file.read_bytes()
    assert not (folder / "overrides.json").exists()
    again = open_study(folder)
    assert again.base == file.parent  # relative paths mean what they meant in the source
    assert again.config == open_study(file).config


def test_a_study_moves_with_the_folder_of_its_file(file: Path, tmp_path: Path) -> None:
    open_study(file).keep()
    before = open_study(file.parent / "mine")
    place = tmp_path / "far" / "away"
    place.parent.mkdir()
    shutil.copytree(file.parent, place, ignore=lambda at, _: ["far"] if at == str(tmp_path) else [])
    for path in (place / "mine").iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path.name
    moved = open_study(place / "mine")
    assert (moved.base, moved.config) == (place, before.config)
    # Folders of before said where they are from by an absolute path.
    (place / "mine" / ".source").write_text(f"{file.parent}\n")
    assert open_study(place / "mine").base == file.parent


def test_preparing_the_corpus_keeps_the_study(file: Path) -> None:
    with pytest.raises(InputError, match=r"mine\.toml --set seed=3: data\.domains\.source.*prose"):
        links.prepare_data(open_study(file, overrides=["seed=3"]))  # there is no folder prose
    assert open_study(file.parent / "mine").config.seed == 3


def test_overrides_hold_when_the_folder_is_opened_again(file: Path) -> None:
    overrides = ["seed=7", "ladder.widths=[8, 16]", "plan.hardware=A100-SXM-80GB"]
    study = open_study(file, overrides=overrides)
    study.keep()
    kept = json.loads((study.path / "overrides.json").read_text())
    assert kept == {"version": 1, "set": overrides}
    assert (study.path / "study.toml").read_bytes() == file.read_bytes()
    for again in (open_study(study.path), open_study(file), open_study(file, study.path)):
        assert again.config == study.config
        assert again.config.seed == 7
        assert again.config.ladder.widths == (8, 16)
    again.keep()
    assert json.loads((study.path / "overrides.json").read_text()) == kept


def test_overrides_of_a_study_in_its_own_folder_are_kept(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    open_study(tmp_path, overrides=["seed=5"]).keep()
    assert open_study(tmp_path).config.seed == 5
    assert not (tmp_path / ".source").exists()


def test_other_overrides_are_taken_until_a_run_exists(file: Path) -> None:
    open_study(file, overrides=["seed=1"]).keep()
    study = open_study(file, overrides=["seed=2"])
    study.keep()
    assert open_study(study.path).config.seed == 2
    _train_one(study)
    before = _everything(study.path)
    with pytest.raises(StudyError, match=r"--set seed=1: .*trained with --set seed=2\. .*--into"):
        open_study(file, overrides=["seed=1"])
    # The same study in other words is no other study.
    assert open_study(file, overrides=["seed = 2", "fit.level=0.9"]).config == study.config
    assert _everything(study.path) == before


def test_what_trains_nothing_may_change_on_top_of_the_overrides_kept(file: Path) -> None:
    study = open_study(file, overrides=["seed=2", "launch.slots=2"])
    study.keep()
    _train_one(study)
    resumed = open_study(file, overrides=["launch.slots=1", "plan.mfu=0.3"])
    assert (resumed.config.seed, resumed.config.launch.slots, resumed.config.plan.mfu) == (
        2,
        1,
        0.3,
    )
    resumed.keep()
    assert open_study(study.path).config == resumed.config


def test_overrides_on_runs_trained_without(file: Path) -> None:
    study = open_study(file)
    study.keep()
    _train_one(study)
    with pytest.raises(StudyError, match="trained with no --set"):
        open_study(study.path, overrides=["train.base_lr=1e-3"])


@pytest.mark.parametrize("text", ["{", "[]", '{"version": 9, "set": []}', '{"version": 1}'])
def test_corrupt_overrides_are_named(file: Path, text: str) -> None:
    study = open_study(file, overrides=["seed=1"])
    study.keep()
    (study.path / "overrides.json").write_text(text)
    with pytest.raises(InputError, match=r"overrides\.json: .*--set"):
        open_study(study.path)


def test_a_hand_written_study_is_not_overwritten(file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "study.toml").write_text("# by hand\n" + STUDY)
    before = _everything(folder)
    with pytest.raises(StudyError, match=r"theirs/study\.toml: another study file.*--into"):
        open_study(file, folder)
    assert _everything(folder) == before
    (folder / "study.toml").write_bytes(file.read_bytes())
    assert open_study(file, folder).path == folder  # equal bytes: the same study


def test_a_study_that_appears_meanwhile_is_not_overwritten(file: Path, tmp_path: Path) -> None:
    study = open_study(file, tmp_path / "late")
    study.path.mkdir()
    (study.path / "study.toml").write_text("# by hand\n")
    study.keep()
    assert (study.path / "study.toml").read_text() == "# by hand\n"


def test_a_file_is_no_folder(file: Path) -> None:
    with pytest.raises(StudyError, match="--into"):
        open_study(file, file)
    with pytest.raises(StudyError, match="cannot be written"):
        open_study(file, file / "below").keep()


def test_accelerators_of_ones_own_lie_beside_the_study_file(file: Path) -> None:
    row = '[[accelerators]]\nname = "Abacus"\nbf16_tflops = 1\nmemory_gb = 1\nbandwidth_gbps = '
    own = ["plan.hardware_file=own.toml", "plan.hardware=abacus"]
    (file.parent / "own.toml").write_text(row + "3\n", encoding="utf-8")
    study = open_study(file, overrides=own)
    assert study.accelerator("abacus").bandwidth_gbps == 3
    assert study.accelerator("h200").name == "H200-SXM"
    (file.parent / "own.toml").write_text(row + "-3\n", encoding="utf-8")
    with pytest.raises(StudyError, match=r"own\.toml: accelerators\[1\]: `bandwidth_gbps > 0`"):
        open_study(file, overrides=own)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("plan.hardware=abacus", r"plan\.hardware: .*abacus.*Use one of"),
        ("plan.hardware_file=none.toml", r"plan\.hardware_file: .*none\.toml: cannot be read"),
        ("fit.law=power_floor", r"fit\.law = 'power_floor': .*chinchilla"),
        ("fit.law=nonsense", r"fit\.law = 'nonsense': .*chinchilla"),
        ("data.domains=[{name='a', source='package:nil'}]", r"data\.domains\.source: package:nil"),
        ("data.tokenizer=path:none.json", r"data\.tokenizer = 'path:none\.json': .*No such file"),
        ("ladder.widths=[9]", r"ladder\.widths = 9: .*n_heads == 0"),
        ("ladder.tokens=[70]", r"ladder\.tokens = 70: .*cooldown"),
        ("ladder.tokens=[6400, 6401]", r"ladder\.tokens = \[6400, 6401\]: .*batches"),
        ("holdout.width=33", r"holdout\.width = 33: .*n_heads == 0"),
        ("holdout.width=16", r"holdout\.width = 16: .*trunk"),
        ("train.warmup_tokens=12800", r"ladder\.tokens = 6400: .*warm-up"),
    ],
)
def test_impossible_studies_are_refused_on_opening(file: Path, override: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        open_study(file, overrides=[override])
    assert str(caught.value).startswith(f"{file} --set {override}: ")
    caught.match(words)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("law", ["auto", "chinchilla", "kaplan_joint"])
def test_laws_of_size_and_tokens_are_accepted(file: Path, law: str) -> None:
    assert open_study(file, overrides=[f"fit.law={law}"]).config.fit.law == law


@pytest.mark.parametrize(("name", "n_ids"), [("r50k_base", 50_257), ("path:t.json", 7001)])
def test_models_have_the_vocabulary_of_the_tokenizer(file: Path, name: str, n_ids: int) -> None:
    vocab = {"a": 0, "b": 7000, "</s>": 1}  # ids may have gaps
    (file.parent / "t.json").write_text(json.dumps({"model": {"vocab": vocab}}), encoding="utf-8")
    study = open_study(file, overrides=[f"data.tokenizer={name}"])
    ladder = design_ladder(study.config, CorpusFacts.unknown(study.config))
    assert {job.trunk.shape.vocab_size for job in ladder.pilots} == {n_ids}


def test_a_corpus_too_small_names_the_file(file: Path) -> None:
    study = open_study(file, overrides=["data.repeat=false"])
    domain = SimpleNamespace(name="prose", train_tokens=5000)
    card = SimpleNamespace(domains=[domain], corpus_hash="c")
    with pytest.raises(StudyError, match=r"mine\.toml --set .*: ladder\.tokens = 6400: needs"):
        links.ladder_of(study, card)
