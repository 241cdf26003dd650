"""Multiple choice is cut from held-out documents as it says, and is the same for everyone."""

import json
from pathlib import Path

import numpy as np
import pytest

from isoflop._errors import DataError
from isoflop.data import load_tokenizer, open_choices, open_tokens, prepare_corpus, read_card
from isoflop.data.choices import question_sizes
from isoflop.specs import DataSection, DomainSection


def _prepare(folder: Path, text: Path, *, seed: int = 0, validation_tokens: int = 1500) -> Path:
    section = DataSection(
        domains=tuple(
            DomainSection(name=name, source=f"path:{name}") for name in ("prose", "rhyme")
        ),
        vocab_size=300,
        validation_tokens=validation_tokens,
    )
    prepare_corpus(section, folder, base=text, seed=seed, progress=lambda _label, _share: None)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tiny_text: Path) -> Path:
    return _prepare(tmp_path_factory.mktemp("choices"), tiny_text)


def _documents(folder: Path, domain: str) -> list[list[int]]:
    tokens = open_tokens(folder, "val", domain).tolist()
    ends = [i for i, token in enumerate(tokens) if token == 0]
    return [tokens[a:b] for a, b in zip([0, *(e + 1 for e in ends)], ends, strict=False)]


def _place(documents: list[list[int]], span: list[int]) -> set[int]:
    """The documents that a span of tokens stands in."""
    text = [" ".join(map(str, ["", *document, ""])) for document in documents]
    wanted = " ".join(map(str, ["", *span, ""]))
    return {number for number, document in enumerate(text) if wanted in document}


def test_the_answer_continues_its_prompt_and_the_others_come_from_elsewhere(folder: Path) -> None:
    made = open_choices(folder, "prose", context=16)
    assert question_sizes(16) == (12, 4)
    n = len(made.answer)
    assert n >= 40
    assert made.prompt.shape == (n, 12)
    assert made.choices.shape == (n, 4, 4)
    documents = _documents(folder, "prose")
    for prompt, choices, answer in zip(made.prompt, made.choices, made.answer, strict=True):
        assert _place(documents, [*prompt.tolist(), *choices[answer].tolist()])
        assert len({tuple(choice) for choice in choices.tolist()}) == 4
        assert all(_place(documents, choice) for choice in choices.tolist())
    assert 0 not in made.choices  # no end mark gives a document away
    assert 0 not in made.prompt
    counts = np.bincount(made.answer, minlength=4)
    # 5 standard deviations of a binomial count: false alarm below 1e-5.
    assert np.all(np.abs(counts - n / 4) < 5 * np.sqrt(n * 3 / 16))


def test_bytes_are_those_of_the_text(folder: Path) -> None:
    made = open_choices(folder, "rhyme", context=16)
    tokenizer = load_tokenizer(folder)
    for choices, answer, size in zip(made.choices, made.answer, made.answer_bytes, strict=True):
        assert len(tokenizer.decode(choices[answer].tolist()).encode()) == size


def test_they_are_made_once_and_are_the_same_for_everyone(folder: Path) -> None:
    first = open_choices(folder, "prose", context=16)
    path = folder / "choices" / "prose-12-4.json"
    before = path.read_bytes()
    stamp = path.stat().st_mtime_ns
    again = open_choices(folder, "prose", context=16)
    assert path.stat().st_mtime_ns == stamp
    for name in ("prompt", "choices", "answer", "answer_bytes"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
    path.write_bytes(before[:100])  # a file that was cut is made again, the same
    open_choices(folder, "prose", context=16)
    assert path.read_bytes() == before


def test_another_corpus_in_the_folder_gets_its_own(tmp_path: Path, tiny_text: Path) -> None:
    folder = _prepare(tmp_path, tiny_text)
    first = open_choices(folder, "prose", context=16)
    old = read_card(folder).corpus_hash
    _prepare(folder, tiny_text, seed=1)
    second = open_choices(folder, "prose", context=16)
    kept = json.loads((folder / "choices" / "prose-12-4.json").read_text())
    assert kept["corpus_hash"] == read_card(folder).corpus_hash != old
    assert first.prompt.shape != second.prompt.shape or not np.array_equal(
        first.prompt, second.prompt
    )


def test_too_little_held_out_text_is_said(tmp_path: Path, tiny_text: Path) -> None:
    folder = _prepare(tmp_path, tiny_text, validation_tokens=400)
    with pytest.raises(DataError, match=r"'prose': .* give \d+ questions .*validation_tokens"):
        open_choices(folder, "prose", context=64)
