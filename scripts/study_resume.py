"""`kill -9` at ten random steps of a training, and two processes beside one.

`make study-resume` trains a trunk and its branch on the corpus of examples/ci.toml undisturbed, and
again while the process is killed at ten random steps: every record but its wall-clock time must be
equal bit for bit. Then 50 steps in float32 by one process, by two under DDP and by two under FSDP2:
the losses must agree to 1e-5 relative.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from isoflop.data import prepare_corpus
from isoflop.runs import RunFolder
from isoflop.specs import DataSpec, ModelShape, Optimiser, RunConfig, Schedule, read_study

ROOT = Path("demo-resume")
STEPS, BATCH = 240, 512
KILLS = 10
TOLERANCE = 1e-5
CHECKPOINT_S = 0.2


def configs(corpus_hash: str, domains: list[str], vocab_size: int) -> tuple[RunConfig, RunConfig]:
    """A trunk and its branch, the last fifth of whose steps cools down."""
    trunk = RunConfig(
        shape=ModelShape(
            vocab_size=vocab_size, width=32, depth=2, n_heads=4, ff_width=128, context=64
        ),
        data=DataSpec(
            corpus_hash=corpus_hash, weights=tuple((name, 1 / len(domains)) for name in domains)
        ),
        schedule=Schedule(kind="trunk", warmup_tokens=20 * BATCH),
        optimiser=Optimiser(lr=5e-3, batch_tokens=BATCH),
        seed=0,
    )
    schedule = replace(
        trunk.schedule, kind="wsd", n_tokens=STEPS * BATCH, cooldown_tokens=STEPS // 5 * BATCH
    )
    return trunk, replace(trunk, schedule=schedule, trunk=trunk.run_id)


def train(corpus: Path, folders: list[RunFolder], options: list[str], kill_at: int = 0) -> int:
    """Train in a process of its own, which kills itself with SIGKILL before step `kill_at`."""
    words = [str(corpus), *(str(folder.path) for folder in folders), "--device", "cpu"]
    words += ["--dtype", "float32", "--checkpoint-seconds", str(CHECKPOINT_S), *options]
    start = [sys.executable, __file__, "--die", str(kill_at)] if kill_at else [
        sys.executable, "-m", "isoflop.training"]  # fmt: skip
    with (folders[0].path / "log.txt").open("ab") as log:
        return subprocess.run([*start, *words], stdout=log, stderr=log, check=False).returncode


def die(step: int, words: list[str]) -> int:
    """The trainer, killed like any process by `kill -9` when it has done `step` steps."""
    from isoflop.training.__main__ import main as trainer_main
    from isoflop.training.trainer import Trainer

    real = Trainer.train_step

    def deadly(trainer: Trainer) -> None:
        if trainer.step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        real(trainer)

    Trainer.train_step = deadly  # type: ignore[method-assign]
    return trainer_main(words)


def records(folders: list[RunFolder]) -> list[str]:
    """Every point without its wall-clock time."""
    points = [point.to_json() for folder in folders for point in folder.points()]
    return [json.dumps({**point, "wall_s": 0.0}, sort_keys=True) for point in points]


def kill_study(corpus: Path, trunk: RunConfig, branch: RunConfig, seed: int) -> tuple[int, bool]:
    """Points of the undisturbed job, and whether the killed one has the same."""
    whole = [RunFolder.create(ROOT / "whole", run) for run in (trunk, branch)]
    killed = [RunFolder.create(ROOT / "killed", run) for run in (trunk, branch)]
    _expect(train(corpus, whole, []), 0)
    for step in sorted(random.Random(seed).sample(range(1, STEPS), KILLS)):
        _expect(train(corpus, killed, [], kill_at=step), -signal.SIGKILL)
        _say(f"killed before step {step + 1} of {STEPS}")
    _expect(train(corpus, killed, []), 0)
    return len(records(whole)), records(whole) == records(killed) != []


def gaps(corpus: Path, trunk: RunConfig) -> dict[str, float]:
    """Largest relative difference of a loss between two processes and one, by how they share."""
    schedule = Schedule(kind="cosine", warmup_tokens=10 * BATCH, n_tokens=50 * BATCH)
    config = replace(trunk, schedule=schedule)
    losses = {}
    for name, options in (
        ("one", []),
        ("ddp", ["--processes", "2"]),
        ("fsdp", ["--processes", "2", "--parallel", "fsdp"]),
    ):
        folder = RunFolder.create(ROOT / name, config)
        _expect(train(corpus, [folder], options), 0)
        final = folder.final()
        assert final is not None
        losses[name] = [final.loss, *final.loss_by_domain.values()]
    return {
        name: max(abs(a / b - 1) for a, b in zip(losses[name], losses["one"], strict=True))
        for name in ("ddp", "fsdp")
    }


def main() -> None:
    """Run both studies; exit with 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seed", type=int, nargs="?", default=0, help="of the steps")
    options = parser.parse_args()
    shutil.rmtree(ROOT, ignore_errors=True)
    study = read_study("examples/ci.toml")
    corpus = ROOT / "data"
    card = prepare_corpus(
        study.data, corpus, base=Path("examples"), seed=study.seed, progress=lambda *_: None
    )
    names = [domain.name for domain in card.domains]
    trunk, branch = configs(card.corpus_hash, names, card.vocab_size)
    n_points, same = kill_study(corpus, trunk, branch, options.seed)
    gap = gaps(corpus, trunk)
    _say(
        f"kills={KILLS} points={n_points} equal={str(same).lower()} ddp_gap={gap['ddp']:.1e} "
        f"fsdp_gap={gap['fsdp']:.1e}"
    )
    raise SystemExit(0 if same and max(gap.values()) <= TOLERANCE else 1)


def _expect(code: int, wanted: int) -> None:
    if code != wanted:
        raise SystemExit(f"study-resume: exit code {code}, not {wanted}: see {ROOT}/*/*/log.txt")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--die"]:
        raise SystemExit(die(int(sys.argv[2]), sys.argv[3:]))
    main()
