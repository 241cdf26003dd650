"""The whole chain: files on disk, their sums, their hashes, and what happens to bad ones."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from isoflop._errors import DataError
from isoflop.data import DataCard, check_corpus, load_tokenizer, open_tokens, prepare_corpus
from isoflop.data.words import normalise
from isoflop.specs import DataSection, DomainSection


def make_text(rng: np.random.Generator, words: list[str], length: int) -> str:
    return " ".join(rng.choice(words, length))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains of 200 documents with twins within and across the domains."""
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijk"), 5)) for _ in range(2000)]
    texts = [make_text(rng, words, 150) for _ in range(400)]
    texts[10:20] = [text.replace(" ", " \n", 5) + " more" for text in texts[0:10]]
    texts[210:220] = [f"start {text}" for text in texts[20:30]]
    texts[230:235] = texts[225:230]
    for domain, part in (("one", texts[:200]), ("two", texts[200:])):
        (folder / domain).mkdir()
        for i, text in enumerate(part):
            (folder / domain / f"{i:03d}.txt").write_text(text, encoding="utf-8")
        (folder / domain / "empty.txt").write_text("", encoding="utf-8")
    return folder


def section(**changes: object) -> DataSection:
    plain = DataSection(
        domains=(
            DomainSection(name="one", source="path:one", licence="CC0"),
            DomainSection(name="two", source="path:two"),
        ),
        vocab_size=300,
        validation_tokens=3000,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def prepare(base: Path, folder: Path, *, seed: int = 0, **changes: object) -> DataCard:
    return prepare_corpus(
        section(**changes), folder, base=base, seed=seed, progress=lambda stage, share: None
    )


def documents(folder: Path, split: str, domain: str) -> list[str]:
    tokens = open_tokens(folder, split, domain)  # type: ignore[arg-type]
    ends = np.flatnonzero(tokens == 0)
    assert ends[-1] == len(tokens) - 1, "an end mark closes the shard"
    tokenizer = load_tokenizer(folder)
    starts = [0, *(ends[:-1] + 1)]
    return [tokenizer.decode(tokens[a:b].tolist()) for a, b in zip(starts, ends, strict=True)]


@pytest.fixture(scope="module")
def corpus(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DataCard]:
    folder = tmp_path_factory.mktemp("corpus")
    return folder, prepare(base, folder)


def test_sums_of_the_card(corpus: tuple[Path, DataCard]) -> None:
    folder, card = corpus
    assert [d.near_duplicates for d in card.domains] == [10, 10]
    assert [d.exact_duplicates for d in card.domains] == [0, 5]
    assert [d.largest_cluster for d in card.domains] == [2, 2]
    # Of a pair of twins the longer stays: of the ten within `one` it has " more" at its end.
    assert [d.duplicate_bytes > 0 for d in card.domains] == [True, True]
    assert [d.licence for d in card.domains] == ["CC0", "unknown"]
    for domain in card.domains:
        assert domain.short_documents == 1
        assert domain.documents == 200 == (
            domain.exact_duplicates + domain.near_duplicates
            + domain.train_documents + domain.val_documents
        )  # fmt: skip
        assert 3000 <= domain.val_tokens <= 0.1 * (domain.train_tokens + domain.val_tokens)
        assert len(open_tokens(folder, "train", domain.name)) == domain.train_tokens
        val = documents(folder, "val", domain.name)
        assert len(val) == domain.val_documents
        assert sum(len(text.encode()) for text in val) / domain.val_tokens == domain.bytes_per_token


def test_shards_hold_the_documents_exactly(base: Path, corpus: tuple[Path, DataCard]) -> None:
    folder, _ = corpus
    given = {path.read_text(encoding="utf-8") for path in base.rglob("*.txt")}
    packed = [
        text for split in ("train", "val") for d in ("one", "two")
        for text in documents(folder, split, d)
    ]  # fmt: skip
    assert len(packed) == len(set(packed)) == 375
    assert set(packed) < given


def test_no_validation_document_has_a_twin_in_train(corpus: tuple[Path, DataCard]) -> None:
    folder, _ = corpus

    def shingles(text: str) -> set[tuple[str, ...]]:
        words = normalise(text).split()
        return set(zip(words, words[1:], words[2:], words[3:], words[4:], strict=False))

    train, val = (
        [shingles(text) for d in ("one", "two") for text in documents(folder, split, d)]
        for split in ("train", "val")
    )
    assert max(len(a & b) / len(a | b) for a in train for b in val) < 0.8


def test_same_input_same_files_to_the_bit_on_any_threads(
    base: Path, corpus: tuple[Path, DataCard], tmp_path: Path
) -> None:
    script = (
        "import sys; from pathlib import Path; from isoflop.data import prepare_corpus\n"
        "from isoflop.specs import DataSection, DomainSection\n"
        "domains = (DomainSection(name='one', source='path:one', licence='CC0'),"
        " DomainSection(name='two', source='path:two'))\n"
        "section = DataSection(domains=domains, vocab_size=300, validation_tokens=3000)\n"
        "prepare_corpus(section, sys.argv[2], base=Path(sys.argv[1]), seed=0,"
        " progress=lambda stage, share: None)\n"
    )
    environment = {**os.environ, "RAYON_NUM_THREADS": "1", "PYTHONHASHSEED": "7"}
    subprocess.run(
        [sys.executable, "-c", script, str(base), str(tmp_path)], check=True, env=environment
    )
    names = ["card.json", "tokenizer.json"]
    names += [f"{split}/{d}.bin" for split in ("train", "val") for d in ("one", "two")]
    for name in names:
        assert (tmp_path / name).read_bytes() == (corpus[0] / name).read_bytes(), name


def test_a_finished_corpus_is_returned_untouched(base: Path, corpus: tuple[Path, DataCard]) -> None:
    folder, card = corpus
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert prepare(base, folder) == card == check_corpus(folder)
    assert before == {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_progress_never_goes_back(base: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []

    def hear(stage: str, share: float) -> None:
        told.append((stage, share))

    prepare_corpus(section(), tmp_path, base=base, seed=0, progress=hear)
    assert all(a <= b for (_, a), (_, b) in pairwise(told))
    assert told[-1][1] == 1.0
    assert "peak memory" in told[-1][0]


def test_weights_change_the_card_and_no_token(base: Path, tmp_path: Path) -> None:
    first = prepare(base, tmp_path)
    one, two = section().domains
    again = prepare(base, tmp_path, domains=(replace(one, weight=3.0), two), repeat=True)
    assert again.corpus_hash == first.corpus_hash
    assert again.domains[0].weight == 3.0
    assert json.loads((tmp_path / "card.json").read_text())["domains"][0]["weight"] == 3.0


def test_another_seed_or_text_is_another_corpus(
    base: Path, corpus: tuple[Path, DataCard], tmp_path: Path
) -> None:
    other = prepare(base, tmp_path, seed=1)
    assert other.corpus_hash != corpus[1].corpus_hash
    assert other.tokenizer_sha256 == corpus[1].tokenizer_sha256
    assert prepare(base, tmp_path).corpus_hash == corpus[1].corpus_hash


def test_corrupt_files_are_named_and_missing_ones_made_again(base: Path, tmp_path: Path) -> None:
    card = prepare(base, tmp_path)
    shard = tmp_path / "train" / "two.bin"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-2])
    with pytest.raises(DataError, match=r"train/two\.bin: corrupt: \d+ bytes where the card says"):
        check_corpus(tmp_path)
    shard.write_bytes(b"\xff\xff" + whole[2:])
    with pytest.raises(DataError, match=r"train/two\.bin: corrupt: its SHA-256 .* Delete it and"):
        prepare(base, tmp_path)
    shard.unlink()
    with pytest.raises(DataError, match=r"train/two\.bin: missing"):
        check_corpus(tmp_path)
    assert prepare(base, tmp_path) == card == check_corpus(tmp_path)
    assert shard.read_bytes() == whole


def test_open_tokens_refuses_what_is_no_shard(base: Path, tmp_path: Path) -> None:
    prepare(base, tmp_path)
    with pytest.raises(DataError, match="the shard is missing"):
        open_tokens(tmp_path, "val", "other")
    (tmp_path / "val" / "one.bin").write_bytes(b"odd")
    with pytest.raises(DataError, match=r"one\.bin: the shard is corrupt \(3 bytes\)"):
        open_tokens(tmp_path, "val", "one")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("{", "not JSON"), ('{"version": 9}', "version 9 is not known"), ("{}", "not a data card")],
)
def test_a_broken_card_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    (tmp_path / "card.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=rf"card\.json: {complaint}"):
        check_corpus(tmp_path)


def test_an_unprepared_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"card\.json does not exist: the corpus is not prepared"):
        check_corpus(tmp_path)


def test_a_failure_leaves_the_finished_corpus_alone(base: Path, tmp_path: Path) -> None:
    card = prepare(base, tmp_path)
    with pytest.raises(DataError, match=r"min_chars = 999999 .* lower data\.min_chars"):
        prepare(base, tmp_path, min_chars=999_999)
    with pytest.raises(DataError, match="validation_tokens = 99999"):
        prepare(base, tmp_path, validation_tokens=99_999)
    with pytest.raises(DataError, match=r"'path:three' of 'three': .*three does not exist"):
        prepare(base, tmp_path, domains=(DomainSection(name="three", source="path:three"),))
    assert check_corpus(tmp_path) == card


def test_the_standard_library_for_real(base: Path, tmp_path: Path) -> None:
    domain = DomainSection(name="code", source="package:stdlib", max_mb=1.0)
    card = prepare(base, tmp_path, domains=(domain,), vocab_size=512, validation_tokens=5000)
    (code,) = card.domains
    assert code.licence == "PSF-2.0"
    assert code.version.startswith(f"{sys.version_info.major}.{sys.version_info.minor}")
    assert 0.8e6 < code.bytes <= 1.0e6
    assert code.unsampled_documents > 100
    assert 1.5 < code.bytes_per_token < 4
    assert any("def " in text for text in documents(tmp_path, "val", "code"))


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss in KiB")
def test_peak_memory_is_bounded(tmp_path: Path) -> None:
    """9 MB of text: about 230 MB with the libraries; 40 MB took 338 MB."""
    rng = np.random.default_rng(0)
    words = np.array(["".join(rng.choice(list("abcdefghijk"), 5)) for _ in range(5000)])
    lines = (json.dumps({"text": " ".join(rng.choice(words, 3000))}) for _ in range(500))
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    script = (
        "import sys; from pathlib import Path; from isoflop.data import prepare_corpus\n"
        "from isoflop.specs import DataSection, DomainSection\n"
        "section = DataSection(domains=(DomainSection(name='a', source='path:a.jsonl'),))\n"
        "prepare_corpus(section, sys.argv[1] + '/out', base=Path(sys.argv[1]), seed=0,"
        " progress=lambda stage, share: None)\n"
        # VmHWM starts anew at exec; ru_maxrss would inherit the peak of this test process.
        "status = Path('/proc/self/status').read_text()\n"
        "sys.stdout.write(str(int(status.split('VmHWM:')[1].split()[0]) // 1000))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], check=True, capture_output=True, text=True
    )
    assert int(done.stdout) < 450


def test_a_domain_of_which_nothing_is_kept_is_named(base: Path, tmp_path: Path) -> None:
    again = DomainSection(name="again", source="path:one")
    domains = (DomainSection(name="one", source="path:one"), again)
    with pytest.raises(DataError, match="'again' has 0 tokens"):
        prepare(base, tmp_path, domains=domains)
