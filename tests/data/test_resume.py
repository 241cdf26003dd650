"""`kill -9` in every stage, then the same call: the files of an undisturbed run, no work lost."""

import errno
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isoflop._errors import DataError
from isoflop.data import DataCard, check_corpus, prepare_corpus
from isoflop.data.corpus import exclusive
from isoflop.data.stages import TIMES
from isoflop.specs import DataSection, DecontaminateSection, DomainSection, QualitySection

SECTION = DataSection(
    domains=(
        DomainSection(name="one", source="path:one", quality=QualitySection(min_words=60)),
        DomainSection(name="two", source="path:two.jsonl", max_mb=0.12),
    ),
    vocab_size=300,
    validation_tokens=1000,
    decontaminate=DecontaminateSection(),
)
# A process that kills itself when a stage tells of itself for the given time.
CHILD = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from isoflop.data import packing, prepare_corpus, token_store
from test_resume import SECTION
token_store.BLOCK_BYTES = 20_000
base, folder, label, times = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4], int(sys.argv[5])
heard = []
def die(*rest):
    os.kill(os.getpid(), signal.SIGKILL)
def hear(stage, share):
    heard.append(stage)
    if sum(one.startswith(label) for one in heard) == times:
        die()
if label == "card":
    packing.write_card = die
prepare_corpus(SECTION, folder, base=base, seed=0, progress=hear)
"""
KILLS = {
    "reading one": (1, []),
    "reading two": (1, ["read-one"]),
    "measuring": (1, ["read-one", "read-two"]),
    "removing duplicates": (1, ["reading"]),
    "training the tokenizer": (1, ["reading", "duplicates"]),
    "tokenising": (4, ["reading", "duplicates", "tokenizer"]),
    "comparing": (1, ["reading", "duplicates", "tokenizer", "tokens"]),
    "writing shards": (1, ["reading", "duplicates", "tokenizer", "tokens"]),
    "card": (1, ["reading", "duplicates", "tokenizer", "tokens"]),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains, with twins within and across them and documents that a rule drops."""
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijk"), 5)) for _ in range(2000)]
    texts = [" ".join(rng.choice(words, 150)) for _ in range(300)]
    texts[10:20] = [f"{text} more" for text in texts[:10]]
    texts[160:170] = [f"start {text}" for text in texts[20:30]]
    texts[30:35] = [text[:250] for text in texts[30:35]]
    (folder / "one").mkdir()
    for i, text in enumerate(texts[:150]):
        (folder / "one" / f"{i:03d}.txt").write_text(text, encoding="utf-8")
    lines = [json.dumps({"text": text}) for text in texts[150:]]
    (folder / "two.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def prepare(base: Path, folder: Path, section: DataSection = SECTION) -> DataCard:
    return prepare_corpus(section, folder, base=base, seed=0, progress=lambda stage, share: None)


def files_of(folder: Path) -> dict[str, bytes]:
    """All that a corpus consists of; how long it took is not part of it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != TIMES and "work" not in path.relative_to(folder).parts
    }


def found(folder: Path) -> list[str]:
    """The stages that the last preparation did not need to do again."""
    stages = json.loads((folder / TIMES).read_text())["stages"]
    return [stage["name"] for stage in stages if stage["found"]]


def kill(base: Path, folder: Path, label: str, times: int) -> None:
    words = [str(Path(__file__).parent), str(base), str(folder), label, str(times)]
    done = subprocess.run([sys.executable, "-c", CHILD, *words], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (folder / "card.json").exists()


@pytest.fixture(scope="module")
def undisturbed(base: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("undisturbed")
    card = prepare(base, folder)
    assert card.domains[0].filtered_documents == 5
    assert card.domains[0].near_duplicates + card.domains[1].near_duplicates > 10
    assert card.domains[1].unsampled_documents > 0
    assert found(folder) == []
    return files_of(folder)


@pytest.mark.parametrize("label", KILLS)
def test_killed_and_resumed_is_undisturbed(
    base: Path, tmp_path: Path, undisturbed: dict[str, bytes], label: str
) -> None:
    times, stages = KILLS[label]
    kill(base, tmp_path, label, times)
    left = {path.name for path in (tmp_path / "work" / "stages").glob("*")}
    if stages and stages[0].startswith("read-"):
        assert set(stages) <= left
        stages = ["reading"] if "read-two" in stages else []
    card = prepare(base, tmp_path)
    assert files_of(tmp_path) == undisturbed
    assert check_corpus(tmp_path) == card
    assert found(tmp_path) == stages
    assert not (tmp_path / "work" / "stages").exists()


def test_what_a_kill_behind_the_card_left_goes_with_the_next_call(
    base: Path, undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("isoflop.data.stages.Workshop.close", lambda shop: None)
        prepare(base, tmp_path)
    assert (tmp_path / "work" / "stages" / "tokens").is_dir()
    prepare(base, tmp_path)
    assert not (tmp_path / "work" / "stages").exists()
    assert files_of(tmp_path) == undisturbed


def test_tokens_of_finished_blocks_are_kept(base: Path, tmp_path: Path) -> None:
    kill(base, tmp_path, "tokenising", 4)
    journal = tmp_path / "work" / "stages" / "tokens" / "blocks.jsonl"
    assert len(journal.read_text().splitlines()) == 3  # the first word is before any block


@pytest.mark.parametrize(
    ("place", "change"),
    [
        ("read-one/texts.bin", lambda data: data[:-1]),
        ("read-one/texts.bin", lambda data: b"?" + data[1:]),
        ("read-two/rows.npy", lambda data: data[:-1]),
        ("read-two/stage.json", lambda data: data[:-9]),
        ("read-two/stage.json", lambda data: b"{}"),
        ("read-two/facts.json", lambda data: b""),
        ("duplicates/duplicates.npz", lambda data: data[:100]),
        ("tokenizer/tokenizer.json", lambda data: data.replace(b"a", b"b")),
        ("tokens/ids.bin", lambda data: data[::-1]),
        ("tokens/key", lambda data: b"of something else"),
    ],
)
def test_what_a_stage_left_is_used_only_whole(
    base: Path, tmp_path: Path, undisturbed: dict[str, bytes], place: str, change: object
) -> None:
    kill(base, tmp_path, "writing shards", 1)
    path = tmp_path / "work" / "stages" / place
    path.write_bytes(change(path.read_bytes()))  # type: ignore[operator]
    prepare(base, tmp_path)
    assert files_of(tmp_path) == undisturbed
    stage = place.partition("/")[0].replace("read-one", "reading").replace("read-two", "reading")
    assert stage not in found(tmp_path)


def test_another_recipe_uses_no_stage_that_it_would_have_made_otherwise(
    base: Path, tmp_path: Path
) -> None:
    one, two = SECTION.domains
    others = {
        "the same": (SECTION, ["reading", "duplicates", "tokenizer", "tokens"]),
        "later": (
            replace(SECTION, validation_tokens=900),
            ["reading", "duplicates", "tokenizer", "tokens"],
        ),
        "vocabulary": (replace(SECTION, vocab_size=290), ["reading", "duplicates"]),
        "threshold": (replace(SECTION, jaccard=0.9), ["reading"]),
        "rule": (replace(SECTION, domains=(replace(one, quality=None), two)), ["reading"]),
        "sample": (replace(SECTION, domains=(one, replace(two, max_mb=0.11))), []),
    }
    for name, (section, stages) in others.items():
        folder, fresh = tmp_path / name / "killed", tmp_path / name / "fresh"
        kill(base, folder, "writing shards", 1)
        prepare(base, folder, section)
        assert found(folder) == stages, name
        prepare(base, fresh, section)
        assert files_of(folder) == files_of(fresh), name


def test_two_preparations_at_once_are_refused(base: Path, tmp_path: Path) -> None:
    held = rf"another isoflop \(process {os.getpid()}\) is preparing this corpus\. Wait until"
    with exclusive(tmp_path), pytest.raises(DataError, match=held):
        prepare(base, tmp_path)
    prepare(base, tmp_path)


def test_ctrl_c_leaves_what_a_later_call_goes_on_from(
    base: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    def interrupt(stage: str, share: float) -> None:
        if stage == "training the tokenizer":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare_corpus(SECTION, tmp_path, base=base, seed=0, progress=interrupt)
    prepare(base, tmp_path)
    assert found(tmp_path) == ["reading", "duplicates"]
    assert files_of(tmp_path) == undisturbed


def test_a_full_disk_is_said_and_costs_one_stage(
    base: Path, tmp_path: Path, undisturbed: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*rest: object, **named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("isoflop.data.preparation.write_tokens", full)
        with pytest.raises(DataError, match=r"its disk is full .* goes on from the last finished"):
            prepare(base, tmp_path)
    prepare(base, tmp_path)
    assert found(tmp_path) == ["reading", "duplicates", "tokenizer"]
    assert files_of(tmp_path) == undisturbed


def test_times_tell_every_stage_and_its_text(base: Path, tmp_path: Path) -> None:
    card = prepare(base, tmp_path)
    told = json.loads((tmp_path / TIMES).read_text())
    stages = {stage["name"]: stage for stage in told["stages"]}
    assert list(stages) == [
        "reading", "quality", "duplicates", "tokenizer", "tokens", "split", "decontamination",
        "shards",
    ]  # fmt: skip
    assert told["peak_memory_mb"] > 10
    assert all(stage["seconds"] >= 0 for stage in told["stages"])
    read = sum(domain.bytes + domain.filtered_bytes for domain in card.domains)
    assert stages["reading"]["bytes"] == read
    assert stages["duplicates"]["bytes"] == sum(domain.bytes for domain in card.domains)
