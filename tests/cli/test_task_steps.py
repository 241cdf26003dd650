"""The two steps behind `--score --task`: runs with a task, published constants, refusals."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest

from isoflop._errors import InputError
from isoflop.cli.task_steps import refuse_half, task_steps
from isoflop.fitting import fit_task
from isoflop.laws import find_published
from isoflop.planning.frontier import frontier_of_draws
from isoflop.planning.score import loss_for_score
from isoflop.planning.solve import Asked, solve

REPOSITORY = Path(__file__).parents[2]
TASKS = REPOSITORY / "examples" / "tasks.csv"


@pytest.fixture(scope="module")
def quiz():
    return task_steps(TASKS, None, "quiz")


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(str(REPOSITORY / "scripts"))
    import example_tasks

    return example_tasks


def test_the_example_is_what_its_script_writes(example):
    assert TASKS.read_text(encoding="utf-8") == example.table()


def test_a_table_of_a_task_gives_both_steps(quiz):
    assert (quiz.first.target, quiz.second.target) == ("bpb_quiz", "acc_quiz")
    assert quiz.second.best.law.name == "sigmoid_to_one"
    assert quiz.problems == ()


@pytest.mark.parametrize("score", [0.6, 0.7, 0.8])
def test_the_example_plans_to_the_stated_law(quiz, example, score):
    """The file is fixed, so is the answer: the truth behind it lies in the 90 % intervals."""
    size = len(frontier_of_draws(quiz.first))
    target = loss_for_score(quiz.second, score, size)
    floor, slope, place = example.ACCURACY
    truth = place + np.log((1 - floor) / (score - floor) - 1) / slope
    low, high = np.exp(np.quantile(target.log_draws, [0.05, 0.95]))
    assert low < truth < high
    asked = Asked(
        values={"loss": target.loss}, log_loss_draws=target.log_draws - np.log(target.loss)
    )
    wide = solve(quiz.first, asked, 0.9).log_flops_draws
    narrow = solve(quiz.first, {"loss": target.loss}, 0.9).log_flops_draws
    # C at which E + A/N^a + B/D^b gets to the loss that the stated second step needs.
    compute = needed(truth, example.LOSS)
    assert np.quantile(wide, 0.05) < compute < np.quantile(wide, 0.95)
    # The second step's doubt comes on top of the first's.
    assert np.ptp(np.quantile(wide, [0.05, 0.95])) > 1.5 * np.ptp(np.quantile(narrow, [0.05, 0.95]))


def test_published_constants_of_error_join_a_law_of_loss():
    steps = task_steps(None, "gadre_c4", "gadre_error_c4_17")
    assert steps.first is find_published("gadre_c4").estimate
    assert steps.second is find_published("gadre_error_c4_17").estimate
    assert steps.problems == ()
    (problem,) = task_steps(None, "besiroglu", "gadre_error_c4_17").problems
    assert (problem.code, problem.severity) == ("other_evaluation", "warning")
    assert "same evaluation text" in problem.text
    # The error law of models trained on other data.
    assert task_steps(None, "gadre_c4", "gadre_error_redpajama_17").problems
    runs = task_steps(REPOSITORY / "examples" / "runs.csv", None, "gadre_error_c4_17")
    assert runs.first.target == "loss"
    assert [one.code for one in runs.problems] == ["other_evaluation"]


def test_our_own_records_call_the_loss_of_a_task_another_name(quiz, tmp_path):
    with TASKS.open(newline="") as file:
        rows = list(csv.DictReader(file))
    place = tmp_path / "own.csv"
    with place.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["run", "n_params", "n_tokens", "task_loss_quiz", "acc_quiz"])
        for row in rows:
            writer.writerow(row.values())
        # A run that was not asked has neither.
        writer.writerow(["other", 1e9, 1e11, "nan", "nan"])
    found = task_steps(place, None, "quiz")
    for own, shown in ((found.first, quiz.first), (found.second, quiz.second)):
        np.testing.assert_array_equal(own.best.draws, shown.best.draws)


@pytest.mark.parametrize(
    ("source", "law", "task", "words"),
    [
        (TASKS, None, "mmlu", "must have the columns 'bpb_mmlu' and 'acc_mmlu'"),
        (None, "besiroglu", "quiz", "needs a CSV of runs with the columns bpb_quiz and acc_quiz"),
        (None, None, "gadre_error_c4_17", "name what gives the law of loss"),
        (TASKS, "besiroglu", "quiz", "give a source or --law"),
        (None, "nobody", "gadre_error_c4_17", "'nobody'"),
    ],
)
def test_what_does_not_go_together_is_refused(source, law, task, words):
    with pytest.raises(InputError, match=words):
        task_steps(source, law, task)


def test_a_score_and_a_task_belong_together():
    refuse_half(None, None)
    refuse_half(0.7, "quiz")
    for score, task in ((0.7, None), (None, "quiz")):
        with pytest.raises(InputError, match="--score and --task belong together"):
            refuse_half(score, task)


@pytest.mark.slow
def test_intervals_of_simulated_ladders_hold_loss_and_compute(example, monkeypatch):
    """20 ladders by the stated law, three scores, 90 % intervals of what a new run needs.

    Honest ones hold fewer than 46 of 60 with odds of 1e-3 at most, were all 60 independent. On 40
    ladders 0.95 to 1.00 of the losses were held, 0.95 to 1.00 of the compute: the noise of scores
    near chance, relative to the score, is taken for that of all.
    """
    floor, slope, place = example.ACCURACY
    losses, computes = 0, 0
    for seed in range(20):
        monkeypatch.setattr(example, "SEED", 100 + seed)
        steps = fit_task(columns_of(example.table()), "quiz", n_draws=200)
        size = len(frontier_of_draws(steps.first))
        rng = np.random.default_rng(seed)
        for score in (0.5, 0.6, 0.7):
            target = loss_for_score(steps, score, size)
            # The luck of a new run: of its questions, then of its loss.
            law = score - np.sqrt(score * (1 - score) / example.QUESTIONS) * rng.standard_normal()
            loss = place + np.log((1 - floor) / (law - floor) - 1) / slope
            low, high = np.exp(np.quantile(target.log_draws, [0.05, 0.95]))
            losses += low <= loss <= high
            asked = Asked(
                values={"loss": target.loss}, log_loss_draws=target.log_draws - np.log(target.loss)
            )
            draws = solve(steps.first, asked, 0.9).log_flops_draws
            low, high = np.quantile(draws, [0.05, 0.95], method="inverted_cdf")
            lucky = loss * np.exp(-example.NOISE * rng.standard_normal())
            computes += low <= needed(lucky, example.LOSS) <= high
    assert losses >= 46
    assert computes >= 46


def columns_of(text):
    rows = list(csv.DictReader(io.StringIO(text)))
    names = ("n_params", "n_tokens", "bpb_quiz", "acc_quiz")
    return {name: np.array([float(row[name]) for row in rows]) for name in names}


def needed(loss, law):
    """ln C of the cheapest run with E + A/N^a + B/D^b = loss, by a fine grid of sizes."""
    entropy, a, alpha, b, beta = law
    log_n = np.linspace(np.log(1e7), np.log(1e14), 20_001)
    rest = loss - entropy - a / np.exp(alpha * log_n)
    log_d = -np.log(np.where(rest > 0, rest, np.nan) / b) / beta
    return np.nanmin(np.log(6) + log_n + log_d)
