"""Log a row of the real W&B for each line read, and answer with its value: it lives until then."""

import os
import sys

import wandb

os.environ["WANDB_SILENT"] = "true"
run = wandb.init(project="p", mode="offline", dir=sys.argv[1])
for line in sys.stdin:
    count = int(line)
    for i in range(count):
        run.log({"loss": 1 / (i + 7)})
    sys.stdout.write(f"logged {count}\n")
    sys.stdout.flush()
