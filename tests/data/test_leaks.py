"""A decontaminated corpus: what is dropped, what the card and the record say, what stays."""

import json
import os
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from isoflop._errors import DataError
from isoflop.cli.render import card as table
from isoflop.data import (
    DataCard,
    check_corpus,
    load_tokenizer,
    open_tokens,
    packing,
    prepare_corpus,
)
from isoflop.data.leaks import leak_problems
from isoflop.specs import DataSection, DecontaminateSection, DomainSection

SECTION = DataSection(
    domains=(
        DomainSection(name="one", source="path:one"),
        DomainSection(name="two", source="path:two"),
    ),
    vocab_size=300,
    validation_tokens=3000,
)
SHORT = "who was the seventh dwarf of them all"


def prepare(base: Path, folder: Path, section: DataSection) -> DataCard:
    return prepare_corpus(section, folder, base=base, seed=0, progress=lambda stage, share: None)


def documents(folder: Path, split: str, domain: str) -> list[str]:
    tokens = open_tokens(folder, split, domain).tolist()  # type: ignore[arg-type]
    text = load_tokenizer(folder).decode(tokens)
    return text.split("<|endoftext|>")[:-1]


def record(folder: Path) -> list[dict[str, object]]:
    lines = (folder / "contamination.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains of 150 documents of 150 words, and a benchmark."""
    folder = tmp_path_factory.mktemp("texts")
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijk", k=5)) for _ in range(2000)]
    for domain in ("one", "two"):
        (folder / domain).mkdir()
        for i in range(150):
            text = " ".join(rng.choices(words, k=150))
            (folder / domain / f"{i:03d}.txt").write_text(text, encoding="utf-8")
    question = " ".join(rng.choices(words, k=40))
    rows = [{"question": question, "answer": "x"}, {"question": SHORT, "answer": "y"}]
    (folder / "bench.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def plain(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DataCard]:
    folder = tmp_path_factory.mktemp("plain")
    return folder, prepare(base, folder, SECTION)


@pytest.fixture(scope="module")
def planted(
    base: Path, plain: tuple[Path, DataCard], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Path]]:
    """The same texts, with protected passages hidden in train documents of the domain two."""
    folder = tmp_path_factory.mktemp("planted")
    for path in base.rglob("*.*"):
        target = folder / path.relative_to(base)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(path.read_bytes())
    held_out = documents(plain[0], "val", "one")[0].split()
    train = set(documents(plain[0], "train", "two"))
    hosts = [p for p in sorted((folder / "two").iterdir()) if p.read_text("utf-8") in train][:4]
    question = json.loads((base / "bench.jsonl").read_text("utf-8").splitlines()[0])["question"]
    passages = (" ".join(held_out[10:80]), " ".join(held_out[20:35]), question.upper(), SHORT)
    for host, passage in zip(hosts, passages, strict=True):
        words = host.read_text("utf-8").split()
        text = " ".join([*words[:75], passage, *words[75:]])
        host.write_text(text, encoding="utf-8")
    return folder, hosts


def asked(**options: object) -> DataSection:
    section = DecontaminateSection(benchmarks=("path:bench.jsonl",), text_column="question")
    return replace(SECTION, decontaminate=replace(section, **options))  # type: ignore[type-var]


def test_nothing_changes_unless_asked(base: Path, plain: tuple[Path, DataCard]) -> None:
    folder, card = plain
    assert card.protected == ()
    assert not (folder / "contamination.jsonl").exists()
    assert {d.contaminated_documents + d.touched_documents for d in card.domains} == {0}


def test_every_planted_document_is_found_and_dropped(
    planted: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    base, hosts = planted
    raw = prepare(base, tmp_path / "raw", SECTION)
    card = prepare(base, tmp_path / "clean", asked(max_overlap=0.0))
    assert card.protected == ("validation:one", "validation:two", "path:bench.jsonl")
    one, two = card.domains
    assert (one.contaminated_documents, two.contaminated_documents) == (0, 4)
    assert two.touched_documents == 4
    rows = record(tmp_path / "clean")
    assert {str(row["document"]) for row in rows} == {host.name for host in hosts}
    by_name = {str(row["document"]): row for row in rows}
    wanted = [(58, "validation:one"), (3, "validation:one"), (28, "path:bench.jsonl"),
              (6, "path:bench.jsonl")]  # fmt: skip
    for host, (shared, name) in zip(hosts, wanted, strict=True):
        row = by_name[host.name]
        # 70 - 12, 15 - 12, 40 - 12 grams; 14 - 8 windows of 13 words hold all eight.
        assert (row["shared"], row["with"], row["action"]) == (shared, [name], "dropped")
        assert row["grams"] == len(host.read_text("utf-8").split()) - 12
        assert row["overlap"] == round(int(str(row["shared"])) / int(str(row["grams"])), 6)
    # What was dropped is missing from train, and nothing else is.
    gone = {host.read_text("utf-8") for host in hosts}
    for domain in ("one", "two"):
        before = documents(tmp_path / "raw", "train", domain)
        after = documents(tmp_path / "clean", "train", domain)
        assert after == [text for text in before if text not in gone]
    tokens = {d.name: d.train_tokens for d in raw.domains}
    for domain in card.domains:
        assert domain.train_tokens + domain.contaminated_tokens == tokens[domain.name]
        assert domain.documents == (
            domain.exact_duplicates + domain.near_duplicates + domain.contaminated_documents
            + domain.train_documents + domain.val_documents
        )  # fmt: skip


def test_validation_and_tokenizer_are_the_same_to_the_bit(
    planted: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    base, _ = planted
    raw = prepare(base, tmp_path / "raw", SECTION)
    clean = prepare(base, tmp_path / "clean", asked())
    assert [d.val_sha256 for d in clean.domains] == [d.val_sha256 for d in raw.domains]
    assert clean.tokenizer_sha256 == raw.tokenizer_sha256
    assert clean.corpus_hash != raw.corpus_hash
    assert clean.recipe_hash != raw.recipe_hash


def test_only_documents_over_the_limit_go(planted: tuple[Path, list[Path]], tmp_path: Path) -> None:
    base, hosts = planted
    card = prepare(base, tmp_path, asked(max_overlap=0.2))
    actions = {row["document"]: row["action"] for row in record(tmp_path)}
    # 58 of 208 grams and 28 of 178: only the first is more than a fifth.
    assert [actions[host.name] for host in hosts] == ["dropped", "kept", "kept", "kept"]
    assert card.domains[1].contaminated_documents == 1
    assert card.domains[1].touched_documents == 4


def test_report_keeps_every_document(planted: tuple[Path, list[Path]], tmp_path: Path) -> None:
    base, _ = planted
    raw = prepare(base, tmp_path / "raw", SECTION)
    card = prepare(base, tmp_path / "told", asked(max_overlap=0.0, action="report"))
    assert card.corpus_hash == raw.corpus_hash
    assert card.domains[1].touched_documents == 4
    assert {row["action"] for row in record(tmp_path / "told")} == {"kept"}


def test_a_finished_corpus_is_returned_and_a_changed_benchmark_makes_another(
    planted: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    base, hosts = planted
    bench = base / "bench.jsonl"
    before = bench.read_bytes()
    card = prepare(base, tmp_path, asked(max_overlap=0.0))
    shard = tmp_path / "train" / "two.bin"
    made = shard.stat().st_mtime_ns
    assert prepare(base, tmp_path, asked(max_overlap=0.0)) == card == check_corpus(tmp_path)
    assert shard.stat().st_mtime_ns == made
    try:
        bench.write_bytes(before.splitlines()[0])
        other = prepare(base, tmp_path, asked(max_overlap=0.0))
    finally:
        bench.write_bytes(before)
    assert other.recipe_hash != card.recipe_hash
    assert other.domains[1].contaminated_documents == 3
    assert hosts[3].name not in {row["document"] for row in record(tmp_path)}


def test_going_back_to_no_decontamination_leaves_no_stale_record(
    planted: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    base, _ = planted
    prepare(base, tmp_path, asked())
    prepare(base, tmp_path, SECTION)
    assert not (tmp_path / "contamination.jsonl").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="file names are UTF-8 there")
def test_a_found_document_may_have_any_file_name(
    planted: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    base, hosts = planted
    odd = hosts[0].with_name(os.fsdecode(b"caf\xe9.txt"))
    hosts[0].rename(odd)
    try:
        card = prepare(base, tmp_path, asked(max_overlap=0.0))
    finally:
        odd.rename(hosts[0])
    assert check_corpus(tmp_path) == card
    assert "caf?.txt" in {row["document"] for row in record(tmp_path)}


def test_a_failure_before_the_shards_keeps_the_earlier_corpus(
    planted: tuple[Path, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, _ = planted
    card = prepare(base, tmp_path, SECTION)
    monkeypatch.setattr(packing, "record_leaks", lambda *rest: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        prepare(base, tmp_path, asked())
    assert check_corpus(tmp_path) == card


def test_a_missing_record_is_made_again(planted: tuple[Path, list[Path]], tmp_path: Path) -> None:
    base, _ = planted
    card = prepare(base, tmp_path, asked())
    path = tmp_path / "contamination.jsonl"
    before = path.read_bytes()
    path.unlink()
    assert prepare(base, tmp_path, asked()) == card
    assert path.read_bytes() == before


def test_a_domain_that_would_lose_all_is_named_and_nothing_is_lost(
    planted: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    base, _ = planted
    card = prepare(base, tmp_path, SECTION)
    with pytest.raises(DataError, match=r"'one' would lose all its \d+ train documents"):
        prepare(base, tmp_path, asked(benchmarks=("path:one",)))
    with pytest.raises(DataError, match=r"benchmarks = 'path:none'.*does not exist"):
        prepare(base, tmp_path, asked(benchmarks=("path:none",)))
    with pytest.raises(DataError, match=r"bench\.jsonl:1: not a JSON object with the key `text`"):
        prepare(base, tmp_path, asked(text_column="text"))
    for text in ("...", "yes", "seven words are too few to tell"):
        (base / "empty.txt").write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=r"path:empty\.txt holds no passage of 8 words"):
            prepare(base, tmp_path, asked(benchmarks=("path:empty.txt",)))
    assert check_corpus(tmp_path) == card


def test_short_passages_are_left_out_counted_and_told(
    planted: tuple[Path, list[Path]], tmp_path: Path
) -> None:
    base, _ = planted
    bench = base / "bench.jsonl"
    before = bench.read_bytes()
    card = prepare(base, tmp_path, asked(max_overlap=0.0))
    assert (card.short_passages, table(card).caption) == (0, None)
    # Two answers of which one is a word of every document, and one that is no word at all.
    host = documents(tmp_path, "train", "one")[0].split()[0]
    rows = [{"question": text} for text in (host, "yes", "!")]
    try:
        bench.write_bytes(before + "".join(f"\n{json.dumps(row)}" for row in rows).encode())
        more = prepare(base, tmp_path, asked(max_overlap=0.0))
    finally:
        bench.write_bytes(before)
    assert more.domains == card.domains
    assert more.short_passages == 2 == check_corpus(tmp_path).short_passages
    assert "shorter than 8 words, not looked for: 2" in str(table(more).caption)


def test_held_out_documents_may_all_be_short(tmp_path: Path) -> None:
    rng = random.Random(3)
    (tmp_path / "one").mkdir()
    for i in range(200):
        text = " ".join("".join(rng.choices("abcdefghijk", k=9)) for _ in range(6))
        (tmp_path / "one" / f"{i}.txt").write_text(text, encoding="utf-8")
    section = replace(
        SECTION,
        domains=SECTION.domains[:1],
        validation_tokens=600,
        min_chars=1,
        decontaminate=DecontaminateSection(),
    )
    card = prepare(tmp_path, tmp_path / "out", section)
    assert card.short_passages == card.domains[0].val_documents > 0
    assert card.domains[0].touched_documents == 0


def test_a_large_loss_is_an_alarm(plain: tuple[Path, DataCard]) -> None:
    card = plain[1]
    assert leak_problems(card) == ()
    one, two = card.domains
    lost = replace(two, contaminated_tokens=two.train_tokens // 8, contaminated_documents=9)
    (problem,) = leak_problems(replace(card, domains=(one, lost), protected=("path:b",)))
    assert problem.code == "much_contamination"
    assert "11% of the train tokens of 'two' (9 documents)" in problem.text


def test_a_card_from_before_is_still_read(plain: tuple[Path, DataCard], tmp_path: Path) -> None:
    from isoflop.data.card import DataCard as Card

    data = plain[1].to_json()
    later = ("contaminated_documents", "contaminated_tokens", "touched_documents")
    del data["protected"], data["short_passages"]
    for domain in data["domains"]:
        for key in later:
            del domain[key]
    assert Card.from_json(json.loads(json.dumps(data)), place="card.json") == plain[1]


def test_recipes_of_the_first_release_keep_their_hash(tmp_path: Path) -> None:
    """The number is what 0.1.0 gave before any of the later keys existed."""
    from isoflop.data.corpus import hash_recipe
    from isoflop.data.sources import resolve_source

    (tmp_path / "golden").mkdir()
    (tmp_path / "golden" / "a.txt").write_text("hello", encoding="utf-8")
    (tmp_path / "golden" / "b.jsonl").write_text('{"text":"x"}\n', encoding="utf-8")
    domain = DomainSection(name="a", source="path:golden", max_mb=3.0, licence="CC0")
    sources = [resolve_source(domain, base=tmp_path, cache=tmp_path / "c")]
    section = DataSection(domains=(domain,), vocab_size=300)
    golden = "8b35f87d325a5c6ee2e05f9dbcdbd83b2990f5cb7bf347c9b2b77c69ba043fbd"
    assert hash_recipe(section, sources, 7) == golden
    # A limit that only refuses decides no token either.
    loose = replace(domain, max_document_mb=500.0)
    assert hash_recipe(replace(section, domains=(loose,)), sources, 7) == golden
    other = replace(domain, text_column="body")
    assert hash_recipe(replace(section, domains=(other,)), sources, 7) != golden
    asked = replace(section, decontaminate=DecontaminateSection())
    assert hash_recipe(asked, sources, 7) != golden
