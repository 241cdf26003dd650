"""`make bench-plan`: every row of architectures.csv, exactly, and the line of figures."""

import csv
from pathlib import Path
from types import ModuleType

import pytest

from isoflop.accounting import count_weights, token_flops

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"


@pytest.fixture
def bench_plan(monkeypatch: pytest.MonkeyPatch, data_dir: Path) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import bench_plan
    import bench_plan_hours

    monkeypatch.setattr(bench_plan_hours, "DATA", data_dir)
    monkeypatch.setattr(bench_plan, "waits", dict)  # seconds are for a bench, not for a test
    return bench_plan


def test_counts_of_all_published_architectures_are_exact(bench_plan: ModuleType) -> None:
    rows = bench_plan.read("architectures")
    assert len(rows) == 32
    for row in rows:
        count = count_weights(bench_plan.architecture_of(row))
        assert count.matrices == int(row["n_params_exact"]), row["model"]
        assert count.matmul_per_token == int(row["n_matmul_per_token"]), row["model"]


def test_flops_of_all_published_architectures(bench_plan: ModuleType) -> None:
    context = {row["model"]: row["seq_len"] for row in bench_plan.read("training_runs_truth")}
    for row in bench_plan.read("architectures"):
        found = token_flops(bench_plan.architecture_of(row), int(context[row["model"]]))
        truth = float(row["train_flops_per_token_exact_causal"])
        # six printed digits
        assert found == pytest.approx(truth, rel=5.1e-6), row["model"]


def test_the_last_line(bench_plan: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_plan.main() == 0
    line = capsys.readouterr().out.splitlines()[-1]
    figures = dict(word.split("=") for word in line.split())
    assert list(figures) == [
        "params_max_err", "flops_max_err", "hours_given_rate_max_err", "hours_med_err",
        "hours_cover90",
    ]  # fmt: skip
    assert figures["params_max_err"] == "0"
    assert float(figures["flops_max_err"]) <= 3e-3


def test_one_wrong_column_fails_the_bench(
    bench_plan: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("architectures", "training_runs_truth"):
        rows = bench_plan.read(name)
        if name == "architectures":
            rows[0]["d_model"] = str(int(rows[0]["d_model"]) + 128)
        with (tmp_path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    monkeypatch.setattr(bench_plan.bench_plan_hours, "DATA", tmp_path)
    assert bench_plan.main() == 1
