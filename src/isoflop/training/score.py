"""`python -m isoflop.training.score RUN_FOLDER`: bits per byte of texts under a finished run.

Lists of texts come in on stdin and lists of numbers go out on stdout, as `data.frames`; the process
ends with its stdin. `data.scorer` starts it.
"""

import argparse
import math
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from isoflop._errors import IsoflopError
from isoflop.data import Tokenizer, load_tokenizer
from isoflop.data.frames import receive, send
from isoflop.data.scoring_model import open_model
from isoflop.runs import RunFolder
from isoflop.training import checkpoint as checkpoints
from isoflop.training.execution import choose_device
from isoflop.training.memory import keep_freed_memory
from isoflop.training.model import Transformer

MOST_WINDOWS = 32
"""Of one document, evenly spread, its first and its last among them: what a document costs is
bounded, and a hundred pages are not scored by their first."""
_BATCH_TOKENS = 4096
"""Measured at width 64 on a CPU: 2,048 as fast, 8,192 a fifth slower."""
_BATCH_LOGITS = 2**26
_SHORTEST = 16
_THREADED_WIDTH = 256
"""Below it a second thread costs more than it brings where anything else runs (LOG.md)."""


class _Window(NamedTuple):
    document: int
    start: int
    length: int
    """Tokens predicted."""


class TextScorer:
    """A model with its tokenizer."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer, device: torch.device) -> None:
        self._model, self._tokenizer, self._device = model.to(device), tokenizer, device

    @staticmethod
    def open(run: Path, *, device: str = "auto") -> "TextScorer":
        """That of a run folder.

        Raises:
            InputError: the run is not done, or a file of it or of its corpus cannot be used.
        """
        found = open_model(run)
        config, place = RunFolder(run).config(), choose_device(device)
        if place.type == "cpu" and config.shape.width < _THREADED_WIDTH:
            torch.set_num_threads(1)  # wider ones: as OMP_NUM_THREADS says
        model = Transformer(config.shape, config.parametrisation)
        model.load_state_dict(checkpoints.load(found.checkpoint, torch.device("cpu")).model)
        return TextScorer(model, load_tokenizer(found.corpus), place)

    def bits_per_byte(self, texts: Sequence[str]) -> list[float]:
        """Loss of each text per byte of UTF-8: mean loss of its windows times tokens per byte.

        In float32. The first token is predicted from an end mark, as in training; the end mark
        behind the text is not. A text without tokens, since the tokenizer knows none of its
        characters, has 0.
        """
        end = self._tokenizer.end_id
        rows = [
            np.concatenate(([end], ids[:-1])).astype(np.int64)
            for ids in self._tokenizer.encode_documents(texts)
        ]
        context = self._model.shape.context
        windows = [w for k, row in enumerate(rows) for w in windows_of(k, len(row) - 1, context)]
        nats, counted = np.zeros(len(rows)), np.zeros(len(rows))
        for window, loss in self._losses(rows, windows):
            nats[window.document] += loss
            counted[window.document] += window.length
        tokens = np.array([len(row) - 1 for row in rows])
        sizes = np.array([len(text.encode("utf-8", "surrogatepass")) for text in texts])
        bits = nats / np.maximum(counted, 1) * tokens / math.log(2)
        found: list[float] = (bits / np.maximum(sizes, 1)).tolist()
        return found

    def _losses(
        self, rows: Sequence[NDArray[np.int64]], windows: Sequence[_Window]
    ) -> Iterator[tuple[_Window, float]]:
        """Windows with their summed losses [nats], those of like length together.

        A batch of one length has the same shape always, padded if need be: what a window is given
        does not depend on what it is scored with.
        """
        context, vocab_size = self._model.shape.context, self._model.shape.vocab_size
        by_size: dict[int, list[_Window]] = {}
        for window in windows:
            by_size.setdefault(_padded(window.length, context), []).append(window)
        for size, same in sorted(by_size.items()):
            at_once = max(1, min(_BATCH_TOKENS, _BATCH_LOGITS // vocab_size) // size)
            for first in range(0, len(same), at_once):
                part = same[first : first + at_once]
                block = np.full((at_once, size + 1), self._tokenizer.end_id, dtype=np.int64)
                for k, (document, start, length) in enumerate(part):
                    block[k, : length + 1] = rows[document][start : start + length + 1]
                losses = self._token_losses(torch.from_numpy(block)).numpy()
                for window, row in zip(part, losses, strict=False):  # the rest is padding
                    yield window, float(row[: window.length].sum())

    @torch.inference_mode()
    def _token_losses(self, block: Tensor) -> Tensor:
        """Loss [nats] of each token but the first, float64 (B, T - 1)."""
        block = block.to(self._device)
        logits = self._model.logits(block[:, :-1]).float()
        losses = F.cross_entropy(logits.flatten(0, 1), block[:, 1:].flatten(), reduction="none")
        return losses.view(len(block), -1).double().cpu()


def windows_of(document: int, n_tokens: int, context: int) -> list[_Window]:
    """Windows side by side from the first token on, like those of validation; the last is shorter.

    Of more than MOST_WINDOWS as many, evenly spread.
    """
    starts = np.arange(0, n_tokens, context)
    if len(starts) > MOST_WINDOWS:
        starts = starts[np.linspace(0, len(starts) - 1, MOST_WINDOWS).round().astype(np.int64)]
    return [_Window(document, start, min(context, n_tokens - start)) for start in starts.tolist()]


def _padded(length: int, context: int) -> int:
    """A power of two, so that there are few shapes, or the whole context."""
    return min(context, max(_SHORTEST, 1 << (length - 1).bit_length()))


def _listen(requests: "SimpleQueue[Any]") -> None:
    """Take what comes, and end the process at once where nothing more can: nobody waits for it."""
    # Without a buffer, whose lock this thread would hold while the interpreter ends.
    with open(0, "rb", buffering=0, closefd=False) as stream:
        while True:
            try:
                requests.put(receive(stream))
            except EOFError:
                os._exit(0)


def main(arguments: Sequence[str]) -> int:
    """Answer until stdin ends; exit code 2 with the reason on stderr for a run of no use."""
    parser = argparse.ArgumentParser(prog="python -m isoflop.training.score")
    parser.add_argument("run", type=Path)
    options = parser.parse_args(arguments)
    # Whatever else prints must not come between the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    keep_freed_memory()
    try:
        scorer = TextScorer.open(options.run)
        while True:
            send(answers, scorer.bits_per_byte(requests.get()))
    except IsoflopError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except BrokenPipeError:
        return 1  # whoever asked is gone


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
