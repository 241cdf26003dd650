"""`python -m isoflop.training.export RUN_DIR --to FOLDER`: a trained run as Hugging Face files.

`model.safetensors`, `config.json`, and the corpus's `tokenizer.json` with `tokenizer_config.json`
where the corpus is at hand: what AutoModelForCausalLM, lm-eval and vLLM load.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from isoflop._errors import InputError, IsoflopError, MissingExtraError, RunError
from isoflop.data import DataCard, corpus_of_run, read_card
from isoflop.runs import RunFolder
from isoflop.training import checkpoint as checkpoints
from isoflop.training.families import config_of, family_of, tensors_of
from isoflop.training.folding import fold
from isoflop.training.model import Transformer

_LAST_STEP = 2**62


def export_run(run: Path, to: Path, corpus: Path | None = None) -> dict[str, Any]:
    """Write the newest checkpoint of a run as a Hugging Face model, whole or not at all.

    Args:
        run: the run folder.
        to: the folder to make; must not exist, or be empty.
        corpus: the prepared corpus; default `../../data` of the run folder if it is there.

    Returns:
        The folder, model type, run id, step, and whether the tokenizer is with it.

    Raises:
        InputError: the shape has no exact counterpart; the folder is in use; another corpus.
        RunError: the run has no checkpoint.
        MissingExtraError: safetensors is not installed.
    """
    folder = RunFolder(run)
    config = folder.config()
    family = family_of(config.shape)
    newest = checkpoints.latest(folder.checkpoints, up_to=_LAST_STEP)
    if newest is None:
        raise RunError(f"{folder.checkpoints}: holds no checkpoint. Train the run first.")
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise InputError(f"{to}: is in use already. Name a new folder.")
    found = _corpus(run, corpus, config.data.corpus_hash)
    card = None if found is None else found[1]
    state = checkpoints.load(newest, torch.device("cpu"))
    model = Transformer(config.shape, config.parametrisation)
    model.load_state_dict(state.model)
    half = to.with_name(f"{to.name}.half.tmp")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    write_model(model, half, end_id=None if card is None else card.end_id)
    if found is not None:
        shutil.copyfile(found[0] / "tokenizer.json", half / "tokenizer.json")
        settings = _tokenizer_config(found[1], config.shape.context)
        _write_json(half / "tokenizer_config.json", settings)
    half.replace(to)
    return {
        "path": str(to),
        "model_type": family,
        "run": folder.run_id,
        "step": state.step,
        "tokenizer": card is not None,
    }


def write_model(model: Transformer, folder: Path, *, end_id: int | None = None) -> None:
    """Write `model.safetensors` and `config.json`, multipliers folded into the weights.

    Args:
        model: any whose shape has a counterpart.
        folder: where they go.
        end_id: what ends a document; None where the corpus is not at hand.

    Raises:
        InputError: no architecture of transformers computes the shape exactly.
        MissingExtraError: safetensors is not installed.
    """
    try:
        from safetensors.torch import save_file
    except ImportError as error:
        raise MissingExtraError("safetensors", extra="hf", needed_for="the export") from error
    family, folded = family_of(model.shape), fold(model)
    tensors = tensors_of(folded, model.shape, family)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    tied = folded.head is None
    _write_json(folder / "config.json", config_of(model.shape, family, tied=tied, end_id=end_id))


def _corpus(run: Path, corpus: Path | None, corpus_hash: str) -> tuple[Path, DataCard] | None:
    """The corpus of a run, for its tokenizer; None where none is named or beside the run."""
    if corpus is None:
        found = corpus_of_run(run, corpus_hash)
        corpus = run.resolve().parent.parent / "data"
        if found is not None or not (corpus / "tokenizer.json").exists():
            return found
    card = read_card(corpus)
    if card.corpus_hash != corpus_hash:
        raise InputError(
            f"{corpus}: is not the corpus that the run was trained on. Name that one: --corpus."
        )
    return corpus, card


def _tokenizer_config(card: DataCard, context: int) -> dict[str, Any]:
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": card.end_token,
        "eos_token": card.end_token,
        "model_max_length": context,
        "clean_up_tokenization_spaces": False,
    }


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main(arguments: Sequence[str]) -> int:
    """Print the result as one JSON object; exit code 0, or 2 with the reason on stderr."""
    parser = argparse.ArgumentParser(prog="python -m isoflop.training.export")
    parser.add_argument("run", type=Path)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--corpus", type=Path)
    options = parser.parse_args(arguments)
    try:
        result = export_run(options.run, options.to, options.corpus)
    except IsoflopError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
