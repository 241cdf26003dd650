"""A corpus of more than 500 MB from files to shards: speed, memory, and a kill in every stage.

`make bench-corpus` takes the text of recipes (`isoflop data --recipes`) and of the Linux kernel's
sources (the apt package, hash checked), fetched once into `bench-corpus/`. Each preparation runs in
a process of its own, on two cores; memory is that of it and its workers together, sampled every
0.1 s: resident pages, those that several of them share counted for each.

- `mb`: text of the documents that are long enough, in UTF-8; `mb_s`: of a preparation of it, over
  all its time; `mb_s_quality`: with a rule that has every statistic measured, and decontamination.
- `kills`: the latter again, in another folder, `kill -9` in the middle of every stage in turn, each
  time given again; `equal`: whether its card is then that of the undisturbed one.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from isoflop.data import DataCard, prepare_corpus, read_card
from isoflop.data.packages import Package, locate
from isoflop.data.stages import StageTime, read_preparation
from isoflop.specs import DataSection, DecontaminateSection, DomainSection, QualitySection

RECIPES = (
    "sotu", "botocore", "sympy", "licences", "go", "gcide", "wordnet", "anarchism",
    "chinese_poetry",
)  # fmt: skip
KERNEL = Package(
    channel="apt",
    name="linux-source-6.1",
    version="6.1.176-1",
    sha256="9305d1a151b8e83dcb88aa11361e7b9513f0c252bdf7f5647e4542762d99c094",
)
KERNEL_BYTES = 350_000_000
LONGEST_SOURCE = 1_000_000
CORES = 2
SAMPLE_S = 0.1
STAGES = {
    "reading": "reading linux",
    "quality": "measuring the quality of gcide",
    "duplicates": "removing duplicates",
    "tokenizer": "training the tokenizer",
    "tokens": "tokenising",
    "decontamination": "comparing",
    "shards": "writing shards",
}
"""Of each stage, how what `progress` is told begins."""


def write_kernel(cache: Path) -> None:
    """C sources and documentation of Linux as JSON lines, made once."""
    path = cache / "linux.jsonl"
    if path.exists():
        return
    archive = next((locate(KERNEL, cache=cache) / "usr" / "src").glob("*.tar.xz"))
    fresh, size = path.with_suffix(".new"), 0
    with tarfile.open(archive, "r|xz") as files, fresh.open("w", encoding="utf-8") as stream:
        for member in files:
            wanted = member.isfile() and member.name.endswith((".c", ".rst"))
            content = files.extractfile(member) if wanted else None
            if content is None or member.size > LONGEST_SOURCE:
                continue
            text = content.read().decode("utf-8", "replace")
            stream.write(json.dumps({"text": text}) + "\n")
            size += member.size
            if size > KERNEL_BYTES:
                break
    os.replace(fresh, path)


def section(*, quality: bool) -> DataSection:
    """What is prepared."""
    domains = [DomainSection(name=name, source=f"package:{name}") for name in RECIPES]
    domains.append(DomainSection(name="linux", source="path:linux.jsonl"))
    plain = DataSection(domains=tuple(domains), vocab_size=4096, validation_tokens=50_000)
    if not quality:
        return plain
    ruled = (replace(one, quality=QualitySection(min_words=20)) for one in domains)
    return replace(plain, domains=tuple(ruled), decontaminate=DecontaminateSection())


def turn(cache: Path, folder: Path, *, quality: bool) -> None:
    """Prepare in this process, saying what is done."""
    said = ""

    def progress(stage: str, share: float) -> None:
        nonlocal said
        if stage != said:
            said = stage
            _say(stage)

    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "cache").exists():  # packages are fetched once
        (folder / "cache").symlink_to(cache.resolve())
    prepare_corpus(section(quality=quality), folder, base=cache, seed=0, progress=progress)


class Child:
    """A preparation in a process of its own, with its workers' memory."""

    def __init__(self, cache: Path, folder: Path, *, quality: bool) -> None:
        words = ["--cache", str(cache), "--turn", str(folder), *(["--quality"] if quality else [])]
        self._process = subprocess.Popen(
            ["taskset", "-c", f"0-{CORES - 1}", sys.executable, __file__, *words],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.peak_bytes = 0
        self.cpu_s = 0.0
        self._watch = threading.Thread(target=self._sample, daemon=True)
        self._watch.start()

    def wait(self) -> None:
        """Until it ends well; then its processor time is known."""
        before = _children_s()
        assert self._process.stdout is not None
        for _ in self._process.stdout:
            pass
        self._watch.join()
        if self._process.wait():
            raise SystemExit(f"the preparation ended with {self._process.returncode}")
        self.cpu_s = _children_s() - before

    def kill_in(self, label: str, after_s: float) -> None:
        """`kill -9` so long after it says the label; its workers end with it."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(label):
                time.sleep(after_s)
                break
        self._process.kill()
        self._watch.join()
        if self._process.wait() != -signal.SIGKILL:
            raise SystemExit(f"it ended before it could be killed in {label!r}")

    def _sample(self) -> None:
        while self._process.poll() is None:
            tree = _tree(self._process.pid)
            self.peak_bytes = max(self.peak_bytes, sum(map(_resident, tree)))
            time.sleep(SAMPLE_S)


def _children_s() -> float:
    """Processor time of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _tree(pid: int) -> list[int]:
    """A process and all that it has started."""
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        for path in Path(f"/proc/{one}/task").glob("*/children"):
            try:
                todo += map(int, path.read_text(encoding="ascii").split())
            except OSError:  # it has ended meanwhile
                continue
    return found


def _resident(pid: int) -> int:
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def undisturbed(cache: Path, folder: Path, *, quality: bool) -> tuple[DataCard, float, float]:
    """The card, MB/s and peak memory [GB] of a preparation left alone; its stages are said."""
    shutil.rmtree(folder, ignore_errors=True)
    began = time.perf_counter()
    child = Child(cache, folder, quality=quality)
    child.wait()
    seconds = time.perf_counter() - began
    card = read_card(folder)
    megabytes = _megabytes(card)
    rows = [f"  {one.name:<16}{one.seconds:7.1f} s {_speed(one)}" for one in stages_of(folder)]
    _say("\n".join(rows))
    _say(
        f"  {'in all':<16}{seconds:7.1f} s {megabytes / seconds:7.1f} MB/s of {megabytes:.0f} MB, "
        f"{sum(one.documents for one in card.domains)} documents, "
        f"peak {child.peak_bytes / 1e9:.2f} GB; {child.cpu_s:.0f} s of processor time"
    )
    return card, megabytes / seconds, child.peak_bytes / 1e9


def stages_of(folder: Path) -> tuple[StageTime, ...]:
    """What each stage of the last preparation took."""
    preparation = read_preparation(folder)
    assert preparation is not None
    return preparation.stages


def killed(cache: Path, folder: Path, times: dict[str, float]) -> int:
    """Prepare with a kill in the middle of every stage in turn; the number of kills."""
    shutil.rmtree(folder, ignore_errors=True)
    kills = 0
    for stage, label in STAGES.items():
        child = Child(cache, folder, quality=True)
        # Of reading and quality, the label is that of one domain.
        after = 0.3 if stage in ("reading", "quality") else 0.5 * times[stage]
        child.kill_in(label, after)
        kills += 1
        _say(f"  killed in {stage}, {after:.1f} s after it had begun")
    Child(cache, folder, quality=True).wait()
    found = [one.name for one in stages_of(folder) if one.found]
    _say(f"  the last preparation found finished: {', '.join(found)}")
    return kills


def _megabytes(card: DataCard) -> float:
    return sum(one.bytes + one.filtered_bytes for one in card.domains) / 1e6


def _speed(stage: StageTime) -> str:
    return f"{stage.bytes / 1e6 / stage.seconds:7.1f} MB/s" if stage.bytes else ""


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Bench and print the line of figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("bench-corpus"))
    parser.add_argument("--turn", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--quality", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    cache: Path = options.cache
    if options.turn is not None:
        turn(cache, options.turn, quality=options.quality)
        return
    cache.mkdir(parents=True, exist_ok=True)
    write_kernel(cache)
    fetched = cache / "plain"
    _say("without quality rules")
    card, speed, peak = undisturbed(cache, fetched, quality=False)
    _say("with quality rules and decontamination")
    ruled, speed_quality, peak_quality = undisturbed(cache, cache / "ruled", quality=True)
    times = {one.name: one.seconds for one in stages_of(cache / "ruled")}
    _say("killed in every stage")
    kills = killed(cache, cache / "killed", times)
    equal = read_card(cache / "killed") == ruled
    _say(
        f"mb={_megabytes(card):.0f} peak_gb={max(peak, peak_quality):.2f} mb_s={speed:.2f} "
        f"mb_s_quality={speed_quality:.2f} kills={kills} equal={equal}"
    )


if __name__ == "__main__":
    main()
