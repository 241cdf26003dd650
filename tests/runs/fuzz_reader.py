"""Read damaged copies of a file: `fuzz_reader.py KIND FILE ROOT SEED COUNT`, in an own process.

Prints how many were refused, read with problems and read without, and the peak memory in MB over
that before the first copy; anything but RunError ends it with a traceback.
"""

import json
import random
import resource
import shutil
import struct
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

from isoflop._errors import RunError
from isoflop.runs.readers import READERS
from isoflop.runs.readers.frames import log_records, masked_crc32c, tf_records


def damaged(whole: bytes, rng: random.Random) -> bytes:
    """A copy cut off, with bits flipped, with a stretch of zeros, doubled or huge numbers."""
    data = bytearray(whole)
    for _ in range(rng.choice([1, 1, 1, 3, 20])):
        if not data:
            break
        at = rng.randrange(len(data))
        kind = rng.randrange(5)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 2:
            data[at : at + rng.randrange(1, 200)] = bytes(rng.randrange(200))
        elif kind == 3:
            data[at:at] = data[at : at + rng.randrange(1, 2000)]
        else:
            data[at : at + 8] = rng.choice([b"\xff" * 8, struct.pack("<Q", 1 << 62), b"\x7f" * 8])
    return bytes(data)


def reframed_log(path: Path, rng: random.Random) -> bytes:
    """Records damaged within, under right checksums: what a hostile writer would make."""
    out = bytearray(b":W&B\xe1\xbe\x00")
    with path.open("rb") as stream:
        for record in log_records(stream, 7):
            data = (damaged(record or b"", rng) if rng.random() < 0.3 else record or b"")[:30_000]
            if (1 << 15) - len(out) % (1 << 15) < len(data) + 7:
                out += bytes((1 << 15) - len(out) % (1 << 15))
            crc = zlib.crc32(b"\x01" + data)
            out += struct.pack("<IHB", crc, len(data), 1) + data
    return bytes(out)


def reframed_events(path: Path, rng: random.Random) -> bytes:
    """The same of TFRecords."""
    out = bytearray()
    with path.open("rb") as stream:
        for record in tf_records(stream):
            data = damaged(record or b"", rng) if rng.random() < 0.3 else record or b""
            head = struct.pack("<Q", len(data))
            for part in (head, data):
                crc = masked_crc32c(part, np.array([0]), np.array([len(part)]))[0]
                out += part + struct.pack("<I", crc)
    return bytes(out)


REFRAMED = {"wandb": reframed_log, "tensorboard": reframed_events}


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    kind, name, original = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    seed, count = int(sys.argv[4]), int(sys.argv[5])
    rng = random.Random(seed)
    whole = name.read_bytes()
    outcomes = {"refused": 0, "problems": 0, "whole": 0}
    for _ in READERS[kind].read(original):
        pass
    before = peak_mb()
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root) / "copy"
        shutil.copytree(original, folder)
        copy = folder / name.relative_to(original)
        for i in range(count):
            if kind in REFRAMED and i % 2:
                copy.write_bytes(REFRAMED[kind](name, rng))
            else:
                copy.write_bytes(damaged(whole, rng))
            for place in (copy, folder):
                READERS[kind].sniff(place)
                try:
                    runs = list(READERS[kind].read(place))
                except RunError:
                    outcomes["refused"] += 1
                else:
                    outcomes["problems" if any(run.problems for run in runs) else "whole"] += 1
    sys.stdout.write(json.dumps(outcomes | {"memory_mb": peak_mb() - before}) + "\n")


if __name__ == "__main__":
    main()
