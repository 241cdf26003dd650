"""Evaluate a tiny model of random weights with the real lm-eval: `write_lm_eval.py FOLDER`."""

import json
import string
import sys
from pathlib import Path

import lm_eval
import torch
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

TASK = """
task: parity
dataset_path: json
dataset_kwargs: {data_files: DATA}
output_type: multiple_choice
test_split: train
fewshot_split: train
doc_to_text: "{{question}}"
doc_to_target: label
doc_to_choice: ["odd", "even"]
num_fewshot: 2
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
metadata: {version: 3.0}
"""


def make_model(folder: Path) -> None:
    """Two small layers over single characters."""
    letters = sorted(set(string.printable))
    words = {letter: i for i, letter in enumerate(letters)} | {"<eos>": len(letters)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<eos>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", unk_token="<eos>", pad_token="<eos>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=len(words), n_positions=256, n_embd=16, n_layer=2, n_head=2,
        eos_token_id=words["<eos>"], bos_token_id=words["<eos>"],
    )  # fmt: skip
    GPT2LMHeadModel(config).save_pretrained(folder)


def main() -> None:
    folder = Path(sys.argv[1])
    make_model(folder / "model")
    tasks = folder / "tasks"
    tasks.mkdir()
    rows = [{"question": f"{i} is", "label": i % 2} for i in range(40)]
    (tasks / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tasks / "parity.yaml").write_text(TASK.replace("DATA", str(tasks / "data.jsonl")))
    tracker = EvaluationTracker(output_path=str(folder / "out"))
    results = lm_eval.simple_evaluate(
        model="hf",
        model_args=f"pretrained={folder}/model,dtype=float32",
        tasks=["parity"],
        task_manager=TaskManager(include_path=str(tasks), include_defaults=False),
        device="cpu",
        evaluation_tracker=tracker,
        bootstrap_iters=100,
    )
    samples = results.pop("samples")
    tracker.save_results_aggregated(results=results, samples=samples)
    (folder / "truth.json").write_text(json.dumps(results["results"]["parity"]))


main()
