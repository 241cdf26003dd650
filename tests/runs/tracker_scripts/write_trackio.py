"""Log with the real Trackio to SQLite, and export it as Parquet: `write_trackio.py FOLDER`."""

import json
import math
import os
import sys
from pathlib import Path

# Read at import.
os.environ["TRACKIO_DIR"] = str(Path(sys.argv[1]) / "trackio")

import trackio
from trackio.sqlite_storage import SQLiteStorage

ROWS = 40


def values() -> list[float]:
    """Values with all digits, and those that JSON has no word for."""
    found = [2 + math.pi / (i + 3) for i in range(ROWS)]
    found[3], found[4], found[5], found[6] = math.nan, math.inf, -math.inf, 5e-324
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    config = {"lr": 1e-3, "model": {"width": 64}, "<b>": "<script>x</script>"}
    for name in ("first", "second"):
        run = trackio.init(project="a-project", name=name, group="a group", config=config)
        for step, value in enumerate(values()):
            run.log({"train/loss": value, "nested": {"n": step}, "words": "text"}, step=step * 10)
        run.finish()
    SQLiteStorage.export_to_parquet()
    (folder / "truth.json").write_text(json.dumps(values()))


main()
