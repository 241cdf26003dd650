"""A compiler that fails: eager from the first step on, and never a silent change later."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from isoflop._errors import RunError
from isoflop.runs import RunFolder
from isoflop.specs import RunConfig, Schedule
from isoflop.training import train_run
from isoflop.training.compiling import is_compile_error, why
from isoflop.training.trainer import Trainer

EAGER: dict[str, Any] = {
    "threads": 1, "micro_batch": 0, "device": "cpu", "dtype": "float32", "compile": False,
    "checkpoint_seconds": 1e9,
}  # fmt: skip
COMPILED = {**EAGER, "compile": True}
WORD = "not compiled: torch.compile failed here: ValueError: no such instruction"


@pytest.fixture(scope="module", autouse=True)
def _compiler() -> Iterator[None]:
    """PyTorch's own import of its compiler warns of PyTorch's own use of what it has deprecated."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import torch._dynamo
    yield
    torch._dynamo.reset()


@pytest.fixture
def run(tiny_trunk: RunConfig) -> RunConfig:
    """A cosine of 12 steps."""
    schedule = Schedule(kind="cosine", warmup_tokens=256, n_tokens=12 * 64)
    return replace(tiny_trunk, schedule=schedule)


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """From here on the real Dynamo has a backend that fails after some calls of what it made."""
    real = torch.compile

    def install(good_calls: int) -> None:
        def backend(graph: torch.fx.GraphModule, _example: Any) -> Any:
            if not good_calls:
                raise ValueError("no such instruction\nand a long log")
            return graph.forward

        calls: list[int] = []

        def compiling(model: torch.nn.Module, **keys: Any) -> Any:
            made = real(model, backend=backend, **keys)

            def forward(*arguments: torch.Tensor) -> Any:
                calls.append(1)
                if len(calls) > good_calls > 0:
                    raise torch._dynamo.exc.TorchDynamoException("no such instruction")
                return made(*arguments)

            return forward

        monkeypatch.setattr(torch, "compile", compiling)

    return install


def test_before_the_first_step_it_goes_on_uncompiled_and_says_so(
    corpus: Path, tmp_path: Path, run: RunConfig, broken: Callable[[int], None]
) -> None:
    eager = RunFolder.create(tmp_path / "eager", run)
    train_run(corpus, eager, holds=[], wish=EAGER)
    broken(0)
    folder = RunFolder.create(tmp_path / "broken", run)
    train_run(corpus, folder, holds=[], wish=COMPILED)
    execution = folder.execution()
    assert execution is not None
    assert execution["compile"] is False
    assert execution["notes"] == [WORD]
    points = [[replace(point, wall_s=0.0) for point in one.points()] for one in (eager, folder)]
    assert points[0] == points[1]


def test_a_branch_begins_where_its_trunk_was_compiled(
    corpus: Path,
    tmp_path: Path,
    tiny_trunk: RunConfig,
    tiny_branch: RunConfig,
    broken: Callable[[int], None],
) -> None:
    """Its own first step decides, not the count of the trunk's."""
    schedule = replace(tiny_branch.schedule, n_tokens=12 * 64, cooldown_tokens=4 * 64)
    tiny_branch = replace(tiny_branch, schedule=schedule)
    trunk, branch = (RunFolder.create(tmp_path, one) for one in (tiny_trunk, tiny_branch))
    train_run(corpus, trunk, holds=[8 * 64], wish=EAGER)
    broken(0)
    train_run(corpus, branch, holds=[], wish=COMPILED)
    assert branch.status().state == "done"
    execution = branch.execution()
    assert execution is not None
    assert execution["notes"] == [WORD]


def test_a_run_that_was_begun_compiled_is_not_changed_silently(
    corpus: Path, tmp_path: Path, run: RunConfig, broken: Callable[[int], None]
) -> None:
    folder = RunFolder.create(tmp_path, run)
    broken(3)
    with pytest.raises(RunError, match=r"torch.compile failed at step 3: no such instruction\. Go"):
        train_run(corpus, folder, holds=[], wish=COMPILED)
    assert folder.status().state == "failed"
    # The same after a resume: its first step here is not its first.
    broken(2)
    trainer = Trainer(run, folder, corpus, dict(COMPILED))
    for _ in range(2):
        trainer.train_step()
    trainer.save(keep=False)
    torch._dynamo.reset()
    broken(0)
    with pytest.raises(RunError, match=r"torch.compile failed at step 2: ValueError: no such"):
        train_run(corpus, folder, holds=[], wish=COMPILED)
    execution = folder.execution()
    assert execution is not None
    assert execution["compile"] is True


def test_other_errors_are_not_the_compiler_s() -> None:
    assert is_compile_error(torch._dynamo.exc.TorchDynamoException("x"))
    assert not is_compile_error(RuntimeError("torch._dynamo"))
    assert not is_compile_error(torch.OutOfMemoryError("x"))
    assert why(RuntimeError("backend='inductor' raised:\n\nCppCompileError: C++\nmore")) == (
        "CppCompileError: C++"
    )
    assert why(RuntimeError("")) == "RuntimeError"


@pytest.mark.slow
def test_a_real_compiler_that_fails(
    corpus: Path, tmp_path: Path, run: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Inductor with a C++ compiler that is there and refuses everything."""
    compiler = tmp_path / "g++"
    compiler.write_text("#!/bin/sh\necho refused >&2\nexit 1\n")
    compiler.chmod(0o755)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch._inductor.config as settings

    monkeypatch.setenv("CXX", str(compiler))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    folder = RunFolder.create(tmp_path / "runs", run)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Its own way to change a setting: a plain attribute could not be put back.
        with settings.patch({"cpp.cxx": (str(compiler),)}):
            train_run(corpus, folder, holds=[], wish=COMPILED)
    execution = folder.execution()
    assert execution is not None
    assert execution["notes"][0].startswith("not compiled: torch.compile failed here: ")
    assert folder.status().state == "done"
