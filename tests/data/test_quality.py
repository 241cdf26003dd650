"""Statistics against a plain implementation, against counting by hand, and what they depend on."""

import inspect
import json
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import slow_quality
from hypothesis import given, settings
from hypothesis import strategies as st

from isoflop._errors import WorkerError
from isoflop.data import measure_quality, quality_workers
from isoflop.data.frames import send_bytes
from isoflop.data.languages import LANGUAGES
from isoflop.data.quality_batch import hash_spans, hash_words, take_apart
from isoflop.data.quality_words import without_overlap
from isoflop.specs.quality import STATISTICS

ALPHABET = [
    *"ab.,'’_#-3 \n…éЖ漢かß\u2028٣", "...", "the ", "of", "\n\n",
]  # fmt: skip


def one(text: str) -> dict[str, object]:
    return {name: column[0] for name, column in measure_quality([text]).items()}


def check(texts: list[str]) -> None:
    columns = measure_quality(texts)
    for i, text in enumerate(texts):
        for name, value in slow_quality.statistics(text).items():
            assert columns[name][i] == pytest.approx(value, rel=1e-12, abs=1e-15), (name, text)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.sampled_from(ALPHABET), min_size=1, max_size=120), max_size=4))
def test_equals_the_plain_implementation_on_any_text(parts: list[list[str]]) -> None:
    texts = [text for part in parts if (text := "".join(part).strip())]
    check(texts)


def test_equals_the_plain_implementation_on_real_files() -> None:
    files = (inspect, json, np, pytest, Path)
    texts = [inspect.getsource(inspect.getmodule(f) or f)[:30_000].strip() for f in files]
    check([*texts, *(text.upper() for text in texts)])


def test_pieces() -> None:
    text = "don't 3.14, x_1 (a.b.) ... U.S. 漢字a well-known"
    batch = take_apart([text])
    found = [text[a:b] for a, b in zip(batch.start, batch.stop, strict=True)]
    assert found == [
        "don", "'t", "3.14", ",", "x_1", "(", "a.b", ".", ")", "...", "U.S", ".", "漢", "字", "a",
        "well", "-", "known",
    ]  # fmt: skip
    assert found == slow_quality.pieces(text)


def test_hashes_tell_words_apart_wherever_they_stand() -> None:
    words = [f"{a}{b}{c}" for a in "abcdefgh" for b in "abcdefgh" for c in ("", "x", "ß", "漢")]
    assert len(np.unique(hash_words(words))) == len(set(words))
    batch = take_apart(["one two one", "two one"])
    first = hash_spans(batch.prefix, batch.start, batch.stop)
    assert first[0] == first[2] == first[4]
    assert first[1] == first[3] == hash_words(["two"])[0] != first[0]


def test_top_and_repeated_grams_by_hand() -> None:
    # 12 words of one letter: "a b" 6 times, 3 characters each, of 23 in all.
    found = one(" ".join("ab" * 6))
    assert found["top_2gram"] == pytest.approx(18 / 23)
    assert found["top_3gram"] == pytest.approx(5 * 5 / 23)
    # Repeats of 5 start at the third word: words 3 to 7 and 8 to 12.
    assert found["dup_5gram"] == pytest.approx(10 / 23)
    assert found["dup_10gram"] == pytest.approx(10 / 23)


def test_repeats_do_not_overlap() -> None:
    assert without_overlap(np.array([1, 2, 3, 9, 10, 14, 15]), 5).tolist() == [1, 9, 14]
    assert without_overlap(np.array([], dtype=np.int64), 5).tolist() == []


def test_lines_by_hand() -> None:
    text = "Title\n\n- one\n• two\nwait...\nEnds here.\n\n\n- one\n  \nEnds here."
    found = one(text)
    assert found["lines"] == 8  # those with a character, the one of two spaces too
    assert found["bullet_lines"] == pytest.approx(3 / 11)
    assert found["ellipsis_lines"] == pytest.approx(1 / 11)
    assert found["dup_lines"] == pytest.approx(2 / 8)
    assert found["dup_line_chars"] == pytest.approx(15 / len(text))
    assert found["punctuated_lines"] == pytest.approx(3 / 7)
    assert found["short_lines"] == 1
    assert found["dup_text_chars"] == pytest.approx(15 / (len(text) - 10))


def test_c4_rules_in_their_order() -> None:
    text = "\n".join(
        (
            "A sentence that stays. And one more!",  # two sentences
            "Two words.",
            "no end mark { here",  # its bracket is never asked for
            "Please enable JavaScript { to go on.",  # nor this one
            "We talk of lorem ipsum here.",
            "See our privacy policy for more.",
            "It ends in three points...",
            'He said "so it is"',
            "A cited claim is kept.[12]",
            "x" * 1001 + " is too long.",
        )
    )
    found = one(text)
    assert found["c4_lines"] == pytest.approx(4 / 10)
    assert found["c4_sentences"] == 5
    assert found["c4_lorem_ipsum"] == 1
    assert found["c4_curly_brackets"] == 0
    assert one(text + "\nA set {1, 2} is kept.")["c4_curly_brackets"] == 1


SENTENCES = {
    "en": "It is not clear to the people of this town that the bridge was built for them.",
    "de": "Es ist nicht klar, dass die Brücke für die Menschen in der Stadt gebaut wird.",
    "fr": "Il est clair que le pont de la ville ne sera pas dans les plans pour cette année.",
    "es": "No es claro para los vecinos de la ciudad que el puente se hizo por una razón.",
    "it": "Non è chiaro per gli abitanti della città che il ponte si trova nel parco.",
    "pt": "Não é claro para os moradores da cidade que a ponte foi feita com uma razão.",
    "nl": "Het is niet zeker dat de brug voor de mensen van een stad ook te zien is.",
    "sv": "Det är inte klart för oss att bron i staden och vägen till den har en ägare.",
    "da": "Det er ikke klart at broen i byen og vejen til den har en ejer, men jeg ved det.",
    "pl": "Nie jest jasne dla ludzi, że most w mieście i droga do niego są za małe.",
    "cs": "Není jasné, že se most ve městě a cesta k němu po roce stavby s penězi opraví.",
    "tr": "Bu köprü ve yol için bir plan daha var, ama çok insan gibi ben de bunu bilmiyorum.",
    "fi": "Ei ole selvää, että silta ja tie ovat myös sen osa, mutta hän oli niin varma.",
    "ru": "Не ясно, что мост в городе и дорога к нему для людей по плану так и не была.",
    "uk": "Не ясно, що міст у місті та дорога до нього для людей є також за планом.",
    "ja": "この橋は町の人々のために作られたものです。",
    "zh": "这座桥是为城里的人们建造的。",
    "ko": "이 다리는 마을 사람들을 위해 만들어졌다.",
    "el": "Η γέφυρα χτίστηκε για τους ανθρώπους.",
    "he": "הגשר נבנה עבור אנשי העיר.",
    "ar": "بني الجسر من أجل أهل المدينة.",
    "hi": "यह पुल शहर के लोगों के लिए बनाया गया था।",
    "th": "สะพานนี้สร้างขึ้นเพื่อคนในเมือง",
}


def test_languages() -> None:
    found = measure_quality(list(SENTENCES.values()))["language"].tolist()
    assert dict(zip(SENTENCES, found, strict=True)) == {name: name for name in SENTENCES}
    assert set(LANGUAGES) < set(SENTENCES)
    assert one("x = lambda q: q ** 2 / 17")["language"] == "unknown"


def test_scripts() -> None:
    found = one("abc где")
    assert (found["script_share"], found["latin_share"]) == (0.5, 0.5)
    assert one("1 × 2 ÷ 3")["script"] == "none"  # the signs lie within the Latin letters
    assert one("𐌰𐌱𐌲")["script"] == "other"


def test_compression() -> None:
    rng = np.random.default_rng(0)
    assert one("ab" * 5000)["compression"] > 100
    noise = "".join(map(chr, rng.integers(33, 127, 20_000)))
    # log2(94) = 6.55 bits a byte at best.
    assert 1.1 < one(noise)["compression"] <= 8 / np.log2(94)


def make_texts(n: int) -> list[str]:
    rng = np.random.default_rng(1)
    words = ["".join(rng.choice(list("abcdeé"), 4)) for _ in range(300)]
    return [" ".join(rng.choice(words, 80)) + ".\n" * (i % 3) + "end" for i in range(n)]


def test_a_text_does_not_depend_on_its_neighbours_or_on_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    texts = make_texts(60)
    alone = [measure_quality([text]) for text in texts]
    monkeypatch.setattr("isoflop.data.quality.BATCH_CHARS", 2000)
    monkeypatch.setattr(quality_workers, "ALONE_CHARS", 0)
    told: list[float] = []
    parts = list(quality_workers.measure_batches(texts, n_processes=2, progress=told.append))
    assert len(parts) > 5
    assert told == sorted(told)
    assert told[-1] == 1
    for name in STATISTICS:
        shared = np.concatenate([part[name] for part in parts])
        assert np.array_equal(shared, np.concatenate([one[name] for one in alone])), name
        assert np.array_equal(shared, measure_quality(texts)[name]), name


def test_a_worker_that_dies_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality_workers, "ALONE_CHARS", 0)
    monkeypatch.setenv("PYTHONHOME", "/nowhere")  # no Python starts with it
    with pytest.raises(WorkerError, match="a process that measures quality ended"):
        list(quality_workers.measure_batches(["a b"], n_processes=2, progress=lambda share: None))


def test_a_worker_whose_parent_was_killed_ends_without_a_word() -> None:
    """In the middle of an answer: nobody reads the other end of its pipe."""
    child = subprocess.Popen(
        [sys.executable, "-c", "from isoflop.data.quality_workers import serve; serve()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert child.stdin is not None and child.stdout is not None and child.stderr is not None  # noqa: PT018
    child.stdout.close()
    send_bytes(child.stdin, pickle.dumps(["some text"]))
    child.stdin.close()
    assert child.stderr.read() == b""
    child.stderr.close()
    assert child.wait() == 1


def test_the_longest_documents_are_judged_by_their_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("isoflop.data.quality.LONGEST_CHARS", 1000)
    assert one("word " * 1000)["words"] == 200


def test_no_text() -> None:
    columns = measure_quality([])
    assert list(columns) == list(STATISTICS)
    assert all(len(column) == 0 for column in columns.values())
