"""The one module that imports Daft: MinHash signatures, on this machine or on a Ray cluster."""

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
    # Daft reports usage on import unless told not to: a library must not phone home for its user.
    os.environ["DO_NOT_TRACK"] = "1"
    os.environ["DAFT_ANALYTICS_ENABLED"] = "0"
    os.environ.setdefault("DAFT_PROGRESS_BAR", "0")
    try:
        import daft
    except ImportError as error:
        raise MissingExtraError("daft", extra="data", needed_for="preparing a corpus") from error
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
