"""Caveats that a table of losses cannot show, and forecasts that stay with their run."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from isoflop._errors import RunError
from isoflop.data import DataCard, DomainCard
from isoflop.fitting import analyse
from isoflop.ladders import Ladder, design_ladder
from isoflop.ladders.design import CorpusFacts
from isoflop.runs import Point, RunFolder, Status
from isoflop.study import StudyFolder, links, open_study
from isoflop.study.caveats import holdout_caveats, with_caveats

STUDY = """
name = "caveats"
[data]
vocab_size = 300
repeat = true
[[data.domains]]
name = "prose"
source = "path:prose"
[model]
depth = 2
n_heads = 2
context = 16
[train]
batch_tokens = 64
[ladder]
widths = [8, 12, 16, 24]
tokens = [6400, 12800, 25600]
[holdout]
width = {width}
tokens = {tokens}
{more}
"""


def _study(folder: Path, *, width: int = 32, tokens: int = 64_000, more: str = "") -> StudyFolder:
    folder.mkdir(exist_ok=True)
    text = STUDY.format(width=width, tokens=tokens, more=more)
    (folder / "study.toml").write_text(text, encoding="utf-8")
    return open_study(folder)


def _card(train_tokens: int) -> DataCard:
    domain = DomainCard(
        name="prose", source="path:prose", version="1", licence="CC0", weight=1.0,
        content_sha256="a", short_documents=0, unsampled_documents=0, replaced_documents=0,
        documents=3, bytes=900, exact_duplicates=0, near_duplicates=0, largest_cluster=1,
        train_documents=2, train_tokens=train_tokens, val_documents=1, val_tokens=100,
        bytes_per_token=3.0, train_sha256="b", val_sha256="c",
    )  # fmt: skip
    return DataCard(
        recipe_hash="r", corpus_hash="c", vocab_size=300, domains=(domain,), tokenizer_sha256="t"
    )


def _ladder(study: StudyFolder) -> Ladder:
    facts = CorpusFacts(corpus_hash="c", train_tokens={"prose": 10**9})
    return design_ladder(study.config, facts)


def _train(study: StudyFolder, ladder: Ladder) -> None:
    """Records of every pilot on the law 1.5 + 20/N^0.3 + 50/D^0.4, without training."""
    for job in ladder.pilots:
        for run in job.runs:
            folder = RunFolder.create(study.runs, run)
            folder.set_status(Status(state="done"))
            if run.trunk is None:
                continue
            loss = 1.5 + 20 / job.n_params**0.3 + 50 / run.n_tokens**0.4
            point = {"step": run.n_tokens // 64, "n_tokens": run.n_tokens, "flops": 1.0, "lr": 0.0}
            folder.append(Point(loss=loss, kind="final", **point))


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFolder:
    study = _study(tmp_path / "study")
    monkeypatch.setattr(links, "read_card", lambda _: _card(10**9))
    monkeypatch.setattr(links, "ladder_of", lambda study, _: _ladder(study))
    _train(study, _ladder(study))
    return study


def _codes(problems: object) -> list[str]:
    return [problem.code for problem in problems]


def test_another_depth_than_the_pilots_is_said(tmp_path: Path) -> None:
    alike, deeper = _study(tmp_path / "a"), _study(tmp_path / "b", more="depth = 6\nheads = 4")
    assert holdout_caveats(_card(10**9), _ladder(alike)) == ()
    found = holdout_caveats(_card(10**9), _ladder(deeper))
    assert _codes(found) == ["shape_confounded", "shape_confounded"]
    assert "depth 6" in found[0].text
    assert "n_heads 4" in found[1].text


def test_repetition_is_said_and_grave_beyond_four_epochs(tmp_path: Path) -> None:
    ladder = _ladder(_study(tmp_path / "a"))
    (twice,) = holdout_caveats(_card(32_000), ladder)
    assert (twice.code, twice.severity) == ("repeated_data", "note")
    assert "2.0 times" in twice.text
    (often,) = holdout_caveats(_card(8_000), ladder)
    assert often.severity == "warning"


def test_a_diverged_pilot_is_named(trained: StudyFolder) -> None:
    ladder = _ladder(trained)
    lost = ladder.pilots[1].branches[2]
    folder = RunFolder(trained.runs / lost.run_id)
    folder.set_status(Status(state="diverged"))
    (folder.path / "metrics.jsonl").unlink()
    analysis = links.fit_study(trained)
    problem = next(p for p in analysis.problems if p.code == "diverged_runs")
    assert lost.run_id in problem.text
    assert "1 of 12" in problem.text
    assert analysis.n_runs == 11


def test_no_caveat_without_cause(trained: StudyFolder) -> None:
    ladder = _ladder(trained)
    analysis = analyse(links.pilot_table(trained, ladder), n_draws=50)
    assert with_caveats(trained, _card(10**9), ladder, analysis) == analysis


def test_every_held_out_run_keeps_its_own_forecast(trained: StudyFolder) -> None:
    analysis = links.fit_study(trained)
    first = links.forecast_holdout(trained, _ladder(trained), analysis)
    RunFolder.create(trained.runs, _ladder(trained).holdout.trunk)
    other = _study(trained.path, width=40)
    second = links.forecast_holdout(other, _ladder(other), analysis)
    assert first.n_params < second.n_params
    back = _study(trained.path)
    assert links.forecast_holdout(back, _ladder(back), analysis) == first


def test_a_forecast_stays_when_the_fit_changes(trained: StudyFolder) -> None:
    ladder = _ladder(trained)
    first = links.forecast_holdout(trained, ladder, links.fit_study(trained))
    RunFolder.create(trained.runs, ladder.holdout.trunk)
    table = links.pilot_table(trained, ladder)
    changed = analyse({**table, "loss": table["loss"] + 0.1}, n_draws=50)
    assert links.forecast_holdout(trained, ladder, changed) == first


def test_a_run_that_nobody_forecast_is_refused(trained: StudyFolder) -> None:
    ladder = _ladder(trained)
    RunFolder.create(trained.runs, ladder.holdout.branches[0])
    with pytest.raises(RunError, match="to forecast and train it again"):
        links.forecast_holdout(trained, ladder, links.fit_study(trained))


def test_curves_of_other_ladders_stay_out(trained: StudyFolder) -> None:
    ladder = _ladder(trained)
    trunk = replace(ladder.pilots[0].trunk, seed=7)
    foreign = replace(ladder.pilots[0].branches[0], seed=7, trunk=trunk.run_id)
    folder = RunFolder.create(trained.runs, foreign)
    folder.append(Point(step=1, n_tokens=64, flops=1.0, lr=0.0, loss=9.0, kind="final"))
    curves = links._curves(trained, ladder)
    assert foreign.run_id not in curves
    assert set(curves) == ladder.pilot_ids


def test_wishes_of_zero_are_not_ignored(trained: StudyFolder) -> None:
    analysis = links.fit_study(trained)
    with pytest.raises(Exception, match="mfu"):
        links.write_plan(trained, analysis, flops=1e12, mfu=0.0)
    plan = links.write_plan(trained, analysis)
    largest = 6.0 * _ladder(trained).holdout.n_params * 64_000
    assert np.isclose(plan.flops.value, 10 * largest)
