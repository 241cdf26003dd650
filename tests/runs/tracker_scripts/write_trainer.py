"""Train with the real Trainer of transformers, resumed once: `write_trainer.py FOLDER`."""

import json
import sys
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

LOGGED: list[dict] = []


class Recorder(TrainerCallback):
    """Every number that the Trainer hands out, in order."""

    def on_log(self, args, state, control, logs=None, **kwargs):
        LOGGED.append({**logs, "step": state.global_step})


def train(folder: Path, max_steps: int, resume: bool) -> None:
    torch.manual_seed(0)
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=32, n_positions=8, n_embd=8, n_layer=1, n_head=2, n_inner=16)
    )
    rows = [{"input_ids": torch.arange(8) + i % 20, "labels": torch.arange(8) + i % 20}
            for i in range(64)]  # fmt: skip
    args = TrainingArguments(
        output_dir=str(folder / "out"), max_steps=max_steps, per_device_train_batch_size=4,
        logging_steps=2, eval_strategy="steps", eval_steps=10, save_steps=10, report_to=[],
        use_cpu=True, include_num_input_tokens_seen="all", disable_tqdm=True,
    )  # fmt: skip
    trainer = Trainer(
        model=model, args=args, train_dataset=rows, eval_dataset=rows[:8], callbacks=[Recorder()]
    )
    trainer.train(resume_from_checkpoint=resume)
    if resume:
        trainer.save_state()


def main() -> None:
    folder = Path(sys.argv[1])
    train(folder, 20, resume=False)
    # The last line of a training comes after its last checkpoint, and goes with the machine.
    LOGGED.pop()
    train(folder, 30, resume=True)
    (folder / "truth.json").write_text(json.dumps(LOGGED))


main()
