"""Log with the real MLflow to SQLite and to the file store: `write_mlflow.py FOLDER`."""

import json
import math
import os
import sys
from pathlib import Path

# Since 3.13 the file store must be allowed; many clusters have it still.
os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"

import mlflow

ROWS = 40


def values() -> list[float]:
    """Values with all digits, and those that MLflow keeps in another way."""
    found = [2 + math.pi / (i + 3) for i in range(ROWS)]
    found[3], found[4], found[5], found[6] = math.nan, math.inf, -math.inf, 5e-324
    return found


def log_all(uri: str) -> None:
    """A finished run with a nested one, one that failed, one still going, one deleted."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("an <b>experiment</b>")
    with mlflow.start_run(run_name="parent"):
        mlflow.log_params({"lr": 1e-3, "model/width": 64, "text": "<script>x</script>"})
        mlflow.set_tag("seed", "3")
        for step, value in enumerate(values()):
            mlflow.log_metric("train/loss", value, step=step * 10)
            mlflow.log_metric("lr", 0.1 / (step + 1), step=step * 10)
        mlflow.log_metric("once", 0.1 + 0.2)
        mlflow.log_metric("twice", 1.0, step=5)
        mlflow.log_metric("twice", 2.0, step=5)
        with mlflow.start_run(run_name="child", nested=True):
            mlflow.log_metric("x", 1.5, step=1)
    try:
        with mlflow.start_run(run_name="broken"):
            mlflow.log_metric("x", 1.0)
            raise KeyError
    except KeyError:
        pass
    with mlflow.start_run(run_name="deleted") as run:
        mlflow.log_metric("x", 1.0)
    mlflow.delete_run(run.info.run_id)
    mlflow.start_run(run_name="going")
    mlflow.log_metric("x", 1.0)
    # A new process would find it so; here the next store must not go on with it.
    mlflow.tracking.fluent._active_run_stack.get().clear()


def main() -> None:
    folder = Path(sys.argv[1])
    log_all(f"sqlite:///{folder}/mlflow.db")
    log_all(f"file://{folder}/mlruns")
    (folder / "truth.json").write_text(json.dumps(values()))


main()
