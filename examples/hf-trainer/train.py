"""One rung of the ladder with Hugging Face's Trainer: a small Llama on the study's own corpus.

isoflop fills in the arguments (`[trainer]` of study.toml) and reads `trainer_state.json`. Called
again with the same `--out`, it goes on from its last checkpoint; asked to stop, it saves first.
"""

import argparse
import json
import signal
import sys
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    set_seed,
)

INTERRUPTED = 130


class Windows(Dataset):
    """Windows of `context` tokens of a split of the corpus, one after another."""

    def __init__(self, corpus: Path, split: str, context: int) -> None:
        files = sorted((corpus / split).glob("*.bin"))
        card = json.loads((corpus / "card.json").read_text(encoding="utf-8"))
        dtype = "<u2" if card["vocab_size"] <= 2**16 else "<u4"
        tokens = np.concatenate([np.memmap(path, dtype=dtype, mode="r") for path in files])
        count = (len(tokens) - 1) // context
        self.windows = tokens[: count * context].reshape(count, context)

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        window = torch.from_numpy(self.windows[index].astype(np.int64))
        return {"input_ids": window, "labels": window}


class StopWhenAsked(TrainerCallback):
    """SIGTERM (a time limit, a preemption, Ctrl-C) saves a checkpoint and ends the training."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: setattr(self, "asked", True))

    def on_step_end(self, args, state, control, **kwargs):
        if self.asked:
            control.should_save = control.should_training_stop = True
            control.should_evaluate = False


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    for name in (
        "width", "depth", "n-heads", "ff-width", "vocab-size", "context", "steps",
        "warmup-tokens", "cooldown-tokens", "batch-tokens", "micro-batch", "seed", "threads",
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, required=True)
    for name in ("lr", "weight-decay", "beta2"):
        parser.add_argument(f"--{name}", type=float, required=True)
    return parser.parse_args()


def training_arguments(o: argparse.Namespace) -> TrainingArguments:
    sequences = o.batch_tokens // o.context
    micro = o.micro_batch or sequences
    while sequences % micro:  # halved after an out-of-memory: it has to divide the batch
        micro -= 1
    return TrainingArguments(
        output_dir=str(o.out),
        max_steps=o.steps,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=sequences // micro,
        per_device_eval_batch_size=64,
        learning_rate=o.lr,
        weight_decay=o.weight_decay,
        adam_beta2=o.beta2,
        max_grad_norm=1.0,
        lr_scheduler_type="warmup_stable_decay",
        warmup_steps=o.warmup_tokens // o.batch_tokens,
        lr_scheduler_kwargs={
            "num_decay_steps": o.cooldown_tokens // o.batch_tokens,
            "decay_type": "1-sqrt",
        },
        eval_strategy="steps",
        eval_steps=o.steps,  # the last step is the point that the law is fitted to
        logging_steps=50,
        save_steps=100,
        save_total_limit=1,
        report_to=[],
        disable_tqdm=True,
        seed=o.seed,
        data_seed=o.seed,
        dataloader_pin_memory=False,
    )


def main() -> int:
    o = arguments()
    torch.set_num_threads(o.threads)
    set_seed(o.seed)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=o.vocab_size, hidden_size=o.width, intermediate_size=o.ff_width,
            num_hidden_layers=o.depth, num_attention_heads=o.n_heads,
            max_position_embeddings=o.context, tie_word_embeddings=False,
            bos_token_id=None, eos_token_id=None, pad_token_id=None, use_cache=False,
        )
    )  # fmt: skip
    stop = StopWhenAsked()
    trainer = Trainer(
        model=model,
        args=training_arguments(o),
        train_dataset=Windows(o.corpus, "train", o.context),
        eval_dataset=Windows(o.corpus, "val", o.context),
        callbacks=[stop],
    )
    trainer.train(resume_from_checkpoint=any(o.out.glob("checkpoint-*")) or None)
    if stop.asked and trainer.state.global_step < o.steps:
        return INTERRUPTED
    trainer.log({"n_params": model.num_parameters()})
    trainer.save_state()
    return 0


if __name__ == "__main__":
    code = main()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # on Slurm it comes twice, and all is saved
    sys.exit(code)
