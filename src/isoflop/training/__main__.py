"""`python -m isoflop.training CORPUS RUN_DIR …`: train run folders in order.

In one process; with `--processes N` as `torchrun` with N processes on this machine, and with
`--nodes M` as that of one of M nodes; or started by `torchrun -m isoflop.training …` itself.
"""

import argparse
import contextlib
import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import Any

from isoflop._errors import InputError
from isoflop.runs import RunFolder
from isoflop.runs.stopping import listen, stop_listening
from isoflop.specs import RunConfig
from isoflop.training import checkpoint as checkpoints
from isoflop.training.loop import InterruptedRun, train_run
from isoflop.training.memory import OUT_OF_MEMORY, is_out_of_memory, keep_freed_memory
from isoflop.training.world import World

_log = logging.getLogger("isoflop.training")


def main(arguments: list[str]) -> int:
    """Train the folders named; exit code 0 done, 2 bad input, 71 out of memory, 130 interrupted."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    if options.processes * options.nodes > 1 and "WORLD_SIZE" not in os.environ:
        return _spread(arguments, options)
    stop_asked = listen()
    keep_freed_memory()
    world = World.join(options.parallel)
    try:
        with contextlib.ExitStack() as locks:
            folders = [RunFolder(path) for path in options.runs]
            _train_all(options.corpus, folders, vars(options), stop_asked, locks, world=world)
    except InterruptedRun:
        return 130
    except InputError as error:
        _log.error("%s", error)
        return 2
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        _log.error("out of memory: %s", error)
        return OUT_OF_MEMORY
    finally:
        world.leave()
    return 0


def _spread(arguments: list[str], options: argparse.Namespace) -> int:
    from isoflop.training.torchrun import run_processes

    try:
        return run_processes(
            arguments, options.processes, threads=options.threads, n_nodes=options.nodes
        )
    except InputError as error:
        _log.error("%s", error)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m isoflop.training")
    parser.add_argument("corpus", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--fewer-threads", action="store_true", help="if a trial finds them faster")
    parser.add_argument("--micro-batch", type=_micro_batch, default=0, metavar="SEQUENCES|auto")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--compile", type=_compile, default=False, metavar="true|false|auto")
    parser.add_argument("--checkpoint-seconds", type=float, default=60.0)
    parser.add_argument("--processes", type=int, default=1, help="on each node")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--parallel", choices=("ddp", "fsdp"), default="ddp")
    parser.add_argument("--multiple-choice", action="store_true")
    return parser


def _micro_batch(text: str) -> int | str:
    return text if text == "auto" else int(text)


def _compile(text: str) -> bool | str:
    values: dict[str, bool | str] = {"true": True, "false": False, "auto": "auto"}
    if text not in values:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(values)}")
    return values[text]


def _train_all(
    corpus: Path,
    folders: list[RunFolder],
    wish: dict[str, Any],
    stop_asked: list[int],
    locks: contextlib.ExitStack,
    *,
    world: World,
) -> None:
    """Train the folders in order, each only while nobody has asked to stop."""
    configs = world.from_first(lambda: {folder.run_id: folder.config() for folder in folders})
    if world.writes:
        for folder in folders:
            if folder.hold(locks, stop_asked) is None:
                raise InterruptedRun
    world.wait()
    lost: set[str] = set()
    for folder in folders:
        if world.any_of(bool(stop_asked))[0]:
            raise InterruptedRun
        if folder.run_id in lost:
            continue
        branches = [c.schedule for c in configs.values() if c.trunk == folder.run_id]
        train_run(
            corpus,
            folder,
            holds=[schedule.hold_tokens for schedule in branches],
            wish={**wish, "cooldowns": [schedule.cooldown_tokens for schedule in branches]},
            stop_asked=stop_asked,
            world=world,
        )
        world.wait()  # the files that rank 0 wrote are there for the next run
        if folder.status().state == "diverged" and configs[folder.run_id].is_trunk:
            marked = partial(_mark_branches, folder, folders, configs)
            lost |= world.from_first(marked)


def _mark_branches(
    trunk: RunFolder, folders: list[RunFolder], configs: dict[str, RunConfig]
) -> set[str]:
    """Branches whose cooldown a diverged trunk never reached: each is told so in its own folder."""
    lost = set()
    for folder in folders:
        config = configs[folder.run_id]
        if config.trunk != trunk.run_id or folder.final() is not None:
            continue
        step = config.schedule.hold_tokens // config.optimiser.batch_tokens
        if not checkpoints.hold(trunk.checkpoints, step).exists():
            folder.beat(state="diverged", reason=f"its trunk {trunk.run_id} diverged")
            lost.add(folder.run_id)
    return lost


if __name__ == "__main__":
    code = main(sys.argv[1:])
    stop_listening()
    sys.exit(code)
