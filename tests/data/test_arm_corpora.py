"""Arms of a corpus: other documents in train, the same held-out text, none of its twins."""

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from isoflop._errors import DataError
from isoflop.data import (
    DataCard,
    arm_folder,
    check_corpus,
    load_tokenizer,
    measure_quality,
    open_tokens,
    prepare_arm,
    prepare_corpus,
)
from isoflop.specs import (
    ArmSection,
    DataSection,
    DecontaminateSection,
    DomainSection,
    QualitySection,
    arm_section,
)

N = 300


def silent(stage: str, share: float) -> None:
    del stage, share


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two domains; every fifth text has a near-twin and every seventh two copies."""
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice(list("abcdefghijk"), 5)) for _ in range(2000)]
    for domain in ("one", "two"):
        (folder / domain).mkdir()
        for i in range(N):
            text = " ".join(rng.choice(words, int(rng.integers(60, 240))))
            (folder / domain / f"{i}.txt").write_text(text)
            if i % 5 == 0:
                (folder / domain / f"{i}-near.txt").write_text(f"more {text}")
            for copy in range(2 if i % 7 == 0 else 0):
                (folder / domain / f"{i}-copy{copy}.txt").write_text(text)
    return folder


def section(*arms: ArmSection, **changes: object) -> DataSection:
    plain = DataSection(
        domains=tuple(DomainSection(name=n, source=f"path:{n}") for n in ("one", "two")),
        vocab_size=300,
        validation_tokens=3000,
        arms=arms or (ArmSection(name="raw", duplicates="keep"),),
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def corpus(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, DataCard]:
    folder = tmp_path_factory.mktemp("corpus")
    return folder, prepare_corpus(section(), folder, base=base, seed=0, progress=silent)


def prepare(base: Path, corpus: Path, arm: ArmSection, **changes: object) -> tuple[Path, DataCard]:
    whole = section(arm, **changes)
    own = arm_section(whole, arm)
    folder = arm_folder(corpus, arm.name, whole, own)
    return folder, prepare_arm(own, corpus, folder, base=base, seed=0, progress=silent)


def texts(folder: Path, split: str, domain: str) -> list[str]:
    tokens = open_tokens(folder, split, domain)  # type: ignore[arg-type]
    parts = np.split(tokens, np.flatnonzero(tokens == 0) + 1)[:-1]
    tokenizer = load_tokenizer(folder)
    return [tokenizer.decode(part[:-1].tolist()) for part in parts]


def held_out(corpus: Path) -> list[str]:
    return [text for name in ("one", "two") for text in texts(corpus, "val", name)]


def core(text: str) -> str:
    """The text that a near-twin was made of."""
    return text.removeprefix("more ")


@pytest.mark.parametrize("which", ["keep", "exact"])
def test_an_arm_keeps_duplicates_but_none_of_held_out_text(
    base: Path, corpus: tuple[Path, DataCard], which: str
) -> None:
    folder, card = prepare(base, corpus[0], ArmSection(name=which, duplicates=which))  # type: ignore[arg-type]
    check_corpus(folder)
    protected = {core(text) for text in held_out(corpus[0])}
    assert protected, "something is held out"
    for name, domain, clean in zip(("one", "two"), card.domains, corpus[1].domains, strict=True):
        train = texts(folder, "train", name)
        assert not protected & {core(text) for text in train}
        files = [path.read_text() for path in (base / name).iterdir()]
        expected = [text for text in files if core(text) not in protected]
        if which == "exact":
            expected = sorted(set(expected))
        assert sorted(train) == sorted(expected)
        assert texts(folder, "val", name) == texts(corpus[0], "val", name)
        assert domain.val_sha256 == clean.val_sha256
        assert domain.documents == len(files)
        parts = (
            domain.exact_duplicates, domain.near_duplicates, domain.withheld_documents,
            domain.contaminated_documents, domain.train_documents, domain.val_documents,
        )  # fmt: skip
        assert sum(parts) == domain.documents
        # What is told to be a duplicate is what removing duplicates would take from this train.
        assert domain.train_tokens - domain.duplicate_tokens == clean.train_tokens


def test_copies_do_not_stand_next_to_each_other(base: Path, corpus: tuple[Path, DataCard]) -> None:
    folder, _ = prepare(base, corpus[0], ArmSection(name="keep", duplicates="keep"))
    train = texts(folder, "train", "one")
    neighbours = sum(a == b for a, b in pairwise(train))
    copies = len(train) - len(set(train))
    assert copies > 40
    # By chance 3 copies among n texts are neighbours 4/n times each: about 0.4 pairs in all.
    assert neighbours <= 4


def test_filters_hold_for_train_alone(base: Path, corpus: tuple[Path, DataCard]) -> None:
    quality = QualitySection(min_words=120)
    folder, card = prepare(base, corpus[0], ArmSection(name="long", quality=quality))
    for name, domain, clean in zip(("one", "two"), card.domains, corpus[1].domains, strict=True):
        train = texts(folder, "train", name)
        assert min(len(text.split()) for text in train) >= 120
        assert len({core(text) for text in train}) == len(train), "near-duplicates are gone"
        assert domain.val_sha256 == clean.val_sha256
        assert domain.filtered_documents > 50
    short = [text for text in held_out(corpus[0]) if len(text.split()) < 120]
    assert short, "held-out text is not filtered"


def test_quality_of_one_domain(base: Path, corpus: tuple[Path, DataCard]) -> None:
    quality = {"two": QualitySection(min_words=120)}
    _, card = prepare(base, corpus[0], ArmSection(name="two_long", domain_quality=quality))
    assert card.domains[0].train_sha256 == corpus[1].domains[0].train_sha256
    assert card.domains[0].filtered_documents == 0
    assert card.domains[1].filtered_documents > 50


def test_an_arm_that_mixes_differently_is_the_corpus_itself(corpus: tuple[Path, DataCard]) -> None:
    arm = ArmSection(name="mix", weights={"one": 1.0}, repeat=True, unique_tokens={"one": 100})
    whole = section(arm)
    assert arm_folder(corpus[0], "mix", whole, arm_section(whole, arm)) == corpus[0]
    own = arm_section(whole, arm)
    assert [domain.weight for domain in own.domains] == [1.0, 0.0]
    assert own.repeat
    assert own.domains[0].unique_tokens == 100


def test_the_corpus_is_the_same_with_arms_or_without(
    base: Path, corpus: tuple[Path, DataCard], tmp_path: Path
) -> None:
    plain = prepare_corpus(section(arms=()), tmp_path, base=base, seed=0, progress=silent)
    assert plain == corpus[1]


def test_an_arm_is_made_once_and_again_when_its_recipe_changes(
    base: Path, corpus: tuple[Path, DataCard]
) -> None:
    arm = ArmSection(name="again", duplicates="exact")
    folder, card = prepare(base, corpus[0], arm)
    before = (folder / "card.json").stat().st_mtime_ns
    assert prepare(base, corpus[0], arm) == (folder, card)
    assert (folder / "card.json").stat().st_mtime_ns == before
    _, other = prepare(base, corpus[0], ArmSection(name="again", duplicates="keep"))
    assert other.recipe_hash != card.recipe_hash


def test_decontamination_holds_in_an_arm(
    base: Path, corpus: tuple[Path, DataCard], tmp_path: Path
) -> None:
    sources = tmp_path / "texts"
    shutil.copytree(base, sources)
    folder = tmp_path / "clean"
    asked = {"decontaminate": DecontaminateSection(max_overlap=0.0)}
    # A marked document that quotes what is held out: [data] drops it by its filter, the arm not.
    quoted = " ".join(texts(corpus[0], "val", "one")[0].split()[:30])
    filler = " ".join(texts(corpus[0], "train", "two")[0].split()[:100][::-1])
    (sources / "one" / "quote.txt").write_text(f"{quoted} {filler}")
    arm = ArmSection(name="raw", duplicates="keep")
    held = set(texts(corpus[0], "val", "one"))
    whole = section(arm, **asked)
    prepare_corpus(whole, folder, base=sources, seed=0, progress=silent)
    assert held == set(texts(folder, "val", "one")), "the quote moved nothing"
    place, card = prepare(sources, folder, arm, **asked)
    assert card.domains[0].contaminated_documents >= 1
    assert not any(quoted in text for text in texts(place, "train", "one"))
    assert card.protected == ("validation:one", "validation:two")


def test_a_source_that_lost_held_out_text_is_refused(base: Path, tmp_path: Path) -> None:
    texts_ = tmp_path / "texts"
    for name in ("one", "two"):
        (texts_ / name).mkdir(parents=True)
        for path in (base / name).iterdir():
            (texts_ / name / path.name).write_bytes(path.read_bytes())
    folder = tmp_path / "corpus"
    prepare_corpus(section(), folder, base=texts_, seed=0, progress=silent)
    gone = set(texts(folder, "val", "one"))
    for path in (texts_ / "one").iterdir():
        if path.read_text() in gone:
            path.unlink()
    with pytest.raises(DataError, match="held-out documents are no longer among the sources"):
        prepare(texts_, folder, ArmSection(name="raw", duplicates="keep"))


def test_an_arm_that_filters_all_is_refused(base: Path, corpus: tuple[Path, DataCard]) -> None:
    quality = QualitySection(min_words=10_000)
    with pytest.raises(DataError, match="drop all"):
        prepare(base, corpus[0], ArmSection(name="none", quality=quality))


def test_an_arm_of_nothing_but_held_out_text_is_refused(
    base: Path, corpus: tuple[Path, DataCard]
) -> None:
    # A held-out document that compresses as no other does: a filter can let it alone through.
    files = [path.read_text() for path in (base / "one").iterdir()]
    held = texts(corpus[0], "val", "one")
    of_all = measure_quality(files)["compression"]
    for own in measure_quality(held)["compression"]:
        near = {core(files[k]) for k in np.flatnonzero(np.abs(of_all - own) < 1e-6)}
        if len(near) == 1:
            break
    quality = {
        "one": QualitySection(where=(f"compression > {own - 1e-6}", f"compression < {own + 1e-6}"))
    }
    with pytest.raises(DataError, match="is held out or is like held-out text"):
        prepare(base, corpus[0], ArmSection(name="alone", domain_quality=quality))


def test_an_arm_has_the_tokenizer_of_its_corpus(base: Path, tmp_path: Path) -> None:
    arm = ArmSection(name="raw", duplicates="keep")
    whole = section(arm, tokenizer="cl100k_base", vocab_size=None)
    card = prepare_corpus(whole, tmp_path, base=base, seed=0, progress=silent)
    folder, own = prepare(base, tmp_path, arm, tokenizer="cl100k_base", vocab_size=None)
    assert (own.tokenizer, own.end_token, own.end_id) == ("cl100k_base", "<|endoftext|>", 100_257)
    assert own.tokenizer_sha256 == card.tokenizer_sha256
    assert check_corpus(folder).inexact_documents == 0
    assert open_tokens(folder, "train", "one").dtype == np.uint32
    for mine, common in zip(own.domains, card.domains, strict=True):
        assert mine.val_sha256 == common.val_sha256
        assert mine.train_tokens > common.train_tokens
