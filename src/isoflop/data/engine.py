"""The one module that imports Daft: MinHash signatures, and the tokenizers that it carries."""

import hashlib
import mmap
import os
import socket
import warnings
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from isoflop._errors import DataError, MissingExtraError

Engine = Literal["native", "ray"]
N_PERMUTATIONS = 128
BAND_ROWS = 8
"""16 bands of 8: a pair of Jaccard J meets in a band with probability 1 - (1 - J^8)^16,
0.95 at J = 0.8 and 0.9999 at 0.9. Measured recall on 64,862 documents: 0.995 from J = 0.75 on."""
SHINGLE_WORDS = 5
_RAY_PARTITIONS = 8
"""Parts of a batch on a cluster: enough to keep some nodes busy, few enough to be worth a task."""
PART_CHARS = 4_000_000
"""Text that one core tokenises at a time: Daft reads its table anew for each part, 20 to 95 ms."""
_PATIENCE_S = 10.0
_MIX = (np.random.default_rng(7).integers(0, 2**63, BAND_ROWS) * 2 + 1).astype(np.uint64)

_runner: Engine | None = None


def band_keys(
    texts: Sequence[str],
    *,
    engine: Engine = "native",
    permutations: int = N_PERMUTATIONS,
    rows: int = BAND_ROWS,
) -> NDArray[np.uint64]:
    """(n, 16) hashes of the MinHash bands of n texts: two texts of Jaccard J have an equal one in
    some column with the probability 1 - (1 - J^8)^16. The same on any engine and any threads.

    Args:
        texts: words joined by one space each, at least SHINGLE_WORDS of them.
        engine: `native` works in this process, `ray` on the cluster of RAY_ADDRESS.
        permutations: of a signature; a multiple of `rows`.
        rows: numbers of a band.

    Raises:
        DataError: no Ray cluster answers, or this process already works with the other engine.
        MissingExtraError: Daft, or Ray for `ray`, is not installed.

    Source: Broder 1997, "On the resemblance and containment of documents"; Leskovec et al.,
    "Mining of Massive Datasets", section 3.4 (banding).
    """
    if not texts:
        return np.zeros((0, permutations // rows), dtype=np.uint64)
    daft = _start(engine)
    from daft.functions import minhash

    signature = minhash(daft.col("text"), num_hashes=permutations, ngram_size=SHINGLE_WORDS)
    frame = daft.from_pydict({"index": np.arange(len(texts)), "text": list(texts)})
    if engine == "ray":
        frame = frame.into_partitions(min(_RAY_PARTITIONS, len(texts)))
    table = frame.select(daft.col("index"), signature.alias("signature")).to_arrow()
    flat = table.column("signature").combine_chunks().flatten().to_numpy(zero_copy_only=False)
    bands = flat.reshape(len(texts), -1, rows)
    keys = np.empty(bands.shape[:2], dtype=np.uint64)
    # Order of rows depends on threads and nodes: each goes where its text stands.
    keys[table.column("index").to_numpy()] = _hash_bands(bands)
    return keys


def encode_texts(
    texts: Sequence[str], name: str, *, engine: Engine = "native"
) -> list[NDArray[np.uint32]]:
    """Ids of each text by a tokenizer that Daft carries; what spells a special token is text.

    Args:
        texts: in any number; they are spread over all cores.
        name: `r50k_base`, `cl100k_base` or `o200k_base`.
        engine: `native` works in this process, `ray` on the cluster of RAY_ADDRESS.

    Raises:
        DataError: no Ray cluster answers, or this process already works with the other engine.
        MissingExtraError: Daft, or Ray for `ray`, is not installed.
    """
    if not texts:
        return []
    daft = _start(engine)
    from daft.functions import tokenize_encode

    frame = daft.from_pydict({"index": np.arange(len(texts)), "text": list(texts)})
    if engine == "ray":
        frame = frame.into_partitions(min(_RAY_PARTITIONS, len(texts)))
    else:
        parts = -(-sum(map(len, texts)) // PART_CHARS) or 1
        frame = frame.into_batches(-(-len(texts) // parts))
    ids = tokenize_encode(daft.col("text"), name, use_special_tokens=False)
    table = frame.select(daft.col("index"), ids.alias("ids")).to_arrow()
    column = table.column("ids").combine_chunks()
    flat = column.flatten().to_numpy(zero_copy_only=False)
    found = [np.empty(0, dtype=np.uint32)] * len(texts)
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    rows = np.split(flat, np.cumsum(lengths)[:-1])
    for index, row in zip(table.column("index").to_pylist(), rows, strict=True):
        found[index] = row
    return found


def carried_table(head: bytes, n_bytes: int, sha256: str) -> bytes | None:
    """A text that stands in Daft's compiled library, found by its head, length and hash.

    Daft decodes whole texts only and says nothing of a token that is part of a character; the table
    of ranks behind it does. Its hash is published, so what is found is exactly it, or None.

    Raises:
        MissingExtraError: Daft is not installed.
    """
    library = _import().daft.__file__
    with open(library, "rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as m:
        start = m.find(head)
        while start >= 0:
            found = m[start : start + n_bytes]
            if hashlib.sha256(found).hexdigest() == sha256:
                return found
            start = m.find(head, start + 1)
    return None


def _hash_bands(bands: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """64-bit hash of each band's numbers: (n, bands, rows) -> (n, bands)."""
    mixed = np.zeros(bands.shape[:2], dtype=np.uint64)
    for row, multiplier in enumerate(_MIX[: bands.shape[2]]):
        mixed ^= mixed >> np.uint64(29)
        mixed *= multiplier
        mixed += bands[:, :, row]
    return mixed


def _start(engine: Engine) -> Any:
    """The module `daft`, working with this engine."""
    global _runner
    daft = _import()
    if _runner is None:
        if engine == "ray":
            _join_cluster()
            daft.set_runner_ray(noop_if_initialized=True)
        else:
            daft.set_runner_native()
        _runner = engine
    if _runner != engine:
        raise DataError(
            f"data.engine = {engine!r}: this process already works with {_runner!r}, and Daft "
            "keeps one engine a process. Prepare this corpus in a process of its own."
        )
    return daft


def _import() -> Any:
    # Daft reports usage on import unless told not to: a library must not phone home for its user.
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ["DAFT_ANALYTICS_ENABLED"] = "0"
    os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
    try:
        import daft
    except ImportError as error:
        raise MissingExtraError("daft", extra="data", needed_for="preparing a corpus") from error
    return daft


def _join_cluster() -> None:
    """Connect to the running Ray cluster of RAY_ADDRESS, or to this machine's own."""
    try:
        import ray
    except ImportError as error:
        raise MissingExtraError("ray", extra="ray", needed_for="data.engine = 'ray'") from error
    if ray.is_initialized():
        return
    address = os.environ.get("RAY_ADDRESS") or "auto"
    if address.startswith(("http://", "https://")):
        raise DataError(
            f"data.engine = 'ray': RAY_ADDRESS={address} is the address of Ray's Jobs API. Set it "
            "to the cluster's own, HOST:6379, or to ray://HOST:10001 from outside of it."
        )
    try:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if host:  # Ray itself asks a port that nobody listens on for minutes
            socket.create_connection((host, int(port)), timeout=_PATIENCE_S).close()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Ray's own, about its next versions
            ray.init(address=address, log_to_driver=False, configure_logging=False)
    except (OSError, ValueError, RuntimeError) as error:  # OSError: a ConnectionError or a timeout
        reason = " ".join(str(error).split())
        raise DataError(
            f"data.engine = 'ray': no Ray cluster answers at RAY_ADDRESS={address} ({reason}). "
            "Start one with `ray start --head`, or use engine = 'native'."
        ) from error
