"""`engine = "ray"`: the same duplicates to the bit on a cluster of two raylets; clear refusals."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from test_dedup_equal import chains, families

from isoflop._errors import StudyError
from isoflop.data.dedup import find_duplicates
from isoflop.specs import DataSection, DomainSection
from optional import need_package

sys.path.insert(0, str(Path(__file__).parents[1] / "ladders"))
from engines import ray_engine

SCRIPT = """
import hashlib, json, sys
from isoflop._errors import IsoflopError
from isoflop.data import dedup
texts = json.load(open(sys.argv[1]))
digests = [hashlib.sha256(text.encode()).digest() for text in texts]
dedup._BATCH_CHARACTERS = 60_000
try:
    for engine in sys.argv[2:]:
        found = dedup.find_duplicates(
            texts, digests, rank=[0] * len(texts), threshold=0.8, engine=engine
        )
    print(json.dumps([found.exact, found.near, found.component.tolist()]))
except IsoflopError as error:
    sys.exit(str(error))
"""


def dedup(texts: Path, *engines: str, **environment: str) -> subprocess.CompletedProcess[str]:
    need_package("daft", "data")
    need_package("ray", "ray")
    return subprocess.run(
        [sys.executable, "-c", SCRIPT, str(texts), *engines],
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **environment},
        check=False, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.json"
    path.write_text(json.dumps(families(0)[0] + chains(1)[0]), encoding="utf-8")
    return path


@pytest.mark.slow
def test_two_raylets_find_the_same_duplicates(texts: Path) -> None:
    given = json.loads(texts.read_text(encoding="utf-8"))
    digests = [hashlib.sha256(text.encode()).digest() for text in given]
    native = find_duplicates(given, digests, rank=[0] * len(given), threshold=0.8)
    with ray_engine() as engine:
        done = dedup(texts, "ray", RAY_ADDRESS=engine.cluster)
    assert done.returncode == 0, done.stderr[-3000:]
    exact, near, component = json.loads(done.stdout.splitlines()[-1])
    assert len(near) > 100
    assert tuple(exact) == native.exact
    assert tuple(map(tuple, near)) == native.near
    assert component == native.component.tolist()


def test_the_jobs_address_is_refused(texts: Path) -> None:
    done = dedup(texts, "ray", RAY_ADDRESS="http://127.0.0.1:8265")
    assert done.returncode == 1
    assert "is the address of Ray's Jobs API. Set it to the cluster's own" in done.stderr


def test_one_process_works_with_one_engine(texts: Path) -> None:
    done = dedup(texts, "native", "ray", RAY_ADDRESS="127.0.0.1:1")
    assert done.returncode == 1
    assert "this process already works with 'native'" in done.stderr


def test_a_cluster_that_does_not_answer_is_named(texts: Path) -> None:
    done = dedup(texts, "ray", RAY_ADDRESS="127.0.0.1:1")
    assert done.returncode == 1
    assert "no Ray cluster answers at RAY_ADDRESS=127.0.0.1:1" in done.stderr


def test_an_unknown_engine_is_refused() -> None:
    domain = DomainSection(name="a", source="path:a")
    with pytest.raises(StudyError, match=r"data\.engine"):
        DataSection(domains=(domain,), engine="spark")  # type: ignore[arg-type]
