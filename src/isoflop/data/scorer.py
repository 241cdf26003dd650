"""`Scorer`: texts to bits per byte under a model, by a process of the trainer's.

The process is `python -m isoflop.training.score RUN_FOLDER`: torch is loaded there and not here. It
ends when its stdin does, so it cannot outlive whoever started it.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np

from isoflop._errors import DataError, WorkerError
from isoflop.data.documents import in_parts
from isoflop.data.frames import receive, send, stop
from isoflop.data.quality import LONGEST_CHARS, Columns
from isoflop.data.scoring_model import ScoringModel

REQUEST_CHARS = 250_000
"""Text asked about at once: a word of progress every second or so."""
MODULE = "isoflop.training.score"


class Scorer:
    """One process, started by the first text and ended with the context."""

    def __init__(self, model: ScoringModel) -> None:
        self._model = model
        self._process: subprocess.Popen[bytes] | None = None
        # Closed with this object's context.
        self._words = tempfile.TemporaryFile()  # noqa: SIM115

    def __enter__(self) -> "Scorer":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            stop(self._process)
        self._words.close()

    def measure(self, texts: Sequence[str], progress: Callable[[float], None]) -> Columns:
        """The column `model_bpb` (D,) [bits per byte] of D texts.

        Args:
            texts: of a long one the first LONGEST_CHARS characters count.
            progress: told the share done.

        Raises:
            DataError: the model cannot be used.
            WorkerError: the process ended before its work was done.
        """
        found: list[float] = []
        for part in in_parts(texts, len, least=REQUEST_CHARS):
            found += self._ask([text[:LONGEST_CHARS] for text in part])
            progress(len(found) / len(texts))
        return {"model_bpb": np.array(found, dtype=np.float64)}

    def _ask(self, texts: Sequence[str]) -> list[float]:
        if self._process is None:
            self._process = self._start()
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        try:
            send(asked, texts)
            answer = receive(answers)
        except (OSError, EOFError) as error:
            raise self._failure() from error
        if not _is_answer(answer, len(texts)):
            raise self._failure()
        return [float(value) for value in answer]

    def _start(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-m", MODULE, str(self._model.run)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            start_new_session=True,  # Ctrl-C is told to the parent alone, which then ends it
        )

    def _failure(self) -> DataError | WorkerError:
        """What to tell of a process that gave no answer."""
        assert self._process is not None
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # one that wrote nonsense may still run
            self._process.kill()
            code = self._process.wait()
        self._words.seek(0)
        lines = self._words.read().decode(errors="replace").strip().splitlines()
        said = lines[-1] if lines else "it said nothing"
        if code == 2:
            return DataError(f"data.domains.quality.model: {said}")
        return WorkerError(
            f"the process that scores documents by {self._model.run} ended with {code} ({said}). "
            "Run the command again; what was scored is kept."
        )


def _is_answer(answer: Any, n: int) -> bool:
    """One finite number a text."""
    return (
        isinstance(answer, list)
        and len(answer) == n
        and all(isinstance(value, float) and 0 <= value < float("inf") for value in answer)
    )
