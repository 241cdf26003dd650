"""What a model is worth: loss on held-out windows, multiple choice made of held-out text."""

import contextlib
import math
from contextlib import AbstractContextManager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from isoflop.data import Choices
from isoflop.training.batches import ValidationSet
from isoflop.training.engine import Engine

_EVAL_TOKENS = 16_384


class TaskScore(NamedTuple):
    """Of one domain's questions."""

    accuracy: float
    """Share answered correctly; where k answers are equally likely, a right one counts 1/k."""
    loss: float
    """Bits per byte of the correct answers, given their prompts."""


@torch.no_grad()
def validation_losses(
    engine: Engine, validation: ValidationSet, *, stride: int = 1
) -> dict[str, float]:
    """Mean loss [nats/token] per domain over every stride-th validation window."""
    losses = {}
    rows = max(1, _EVAL_TOKENS // engine.config.shape.context)
    with _uncompiled(engine):
        for name, windows in zip(validation.names, validation.windows, strict=True):
            chosen, total = windows[::stride], 0.0
            for block in torch.split(chosen, rows):
                block = block.to(engine.device)
                with engine.autocast():
                    total += float(engine.model(block[:, :-1], block[:, 1:])) * len(block)
            losses[name] = total / len(chosen)
    return losses


@torch.no_grad()
def answer(engine: Engine, questions: Choices) -> TaskScore:
    """How well the model tells true continuations from false ones.

    Answers have the same number of tokens, so their summed log probabilities are compared as they
    are.

    Source: Bhagia et al. 2024, arXiv:2412.04403, section 2 (accuracy, and the loss of the correct
    answer per byte).
    """
    n, n_choices, asked = questions.choices.shape
    prompt = np.repeat(questions.prompt[:, None], n_choices, axis=1)
    text = np.concatenate([prompt, questions.choices], axis=2).astype(np.int64)
    rows = torch.from_numpy(text.reshape(n * n_choices, -1))
    at_once = max(1, _EVAL_TOKENS // rows.size(1))
    scores = torch.cat(
        [_log_probability(engine, part, asked) for part in torch.split(rows, at_once)]
    )
    table = scores.view(n, n_choices).cpu().double().numpy()
    own = table[np.arange(n), questions.answer]
    best = table.max(axis=1)
    right = (own == best) / (table == best[:, None]).sum(axis=1)
    bits = -own.sum() / math.log(2) / questions.answer_bytes.sum()
    return TaskScore(float(right.mean()), float(bits))


def _log_probability(engine: Engine, rows: Tensor, asked: int) -> Tensor:
    """Summed log probability (B,) of the last `asked` tokens of each row [nats]."""
    rows = rows.to(engine.device)
    with engine.autocast(), _uncompiled(engine):
        logits = engine.model.logits(rows[:, :-1])[:, -asked:].float()
    chosen = logits.log_softmax(-1).gather(-1, rows[:, -asked:, None])
    return chosen.squeeze(-1).sum(-1)


def _uncompiled(engine: Engine) -> AbstractContextManager[None]:
    """Evaluation has as many shapes as there are remainders: none of them is worth compiling."""
    if not engine.compiled:  # the compiler takes seconds to import
        return contextlib.nullcontext()
    stance: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
    return stance
