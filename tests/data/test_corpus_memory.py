"""Peak memory of a preparation does not follow the size of its corpus."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

PREPARE = """
import sys
from pathlib import Path
from isoflop.data import prepare_corpus
from isoflop.specs import DataSection, DomainSection, QualitySection
quality = QualitySection(min_words=20)
domains = (DomainSection(name="a", source="path:a.jsonl", quality=quality),)
folder = Path(sys.argv[1])
section = DataSection(domains=domains, validation_tokens=5000)
prepare_corpus(section, folder / "out", base=folder, seed=0, progress=lambda stage, share: None)
# VmHWM starts anew at exec; ru_maxrss would inherit the peak of this test process.
status = Path("/proc/self/status").read_text()
sys.stdout.write(str(int(status.split("VmHWM:")[1].split()[0]) // 1000))
"""


def peak_megabytes(folder: Path, megabytes: int) -> int:
    """Of the preparation of so much text, in documents of some 20 kB."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijk", k=6)) for _ in range(20_000)]
    folder.mkdir()
    with (folder / "a.jsonl").open("w", encoding="utf-8") as stream:
        for _ in range(megabytes * 50):
            stream.write(json.dumps({"text": " ".join(rng.choices(words, k=2860))}) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", PREPARE, str(folder)], check=True, capture_output=True, text=True
    )
    return int(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="VmHWM is Linux's")
def test_three_times_the_corpus_takes_the_same_memory(tmp_path: Path) -> None:
    """60 MB of text took 309 MB, 180 MB took 315 MB."""
    small, large = (peak_megabytes(tmp_path / str(size), size) for size in (60, 180))
    assert large - small < 0.25 * 120
