"""Every ending has its exit code and one clear line; with --json one object on stdout."""

import json

import pytest

from isoflop._errors import InputError, MissingExtraError, WorkerError
from isoflop._types import Interval, Problem
from isoflop.cli import entry
from isoflop.cli.output import Output, plain, print_failure


def bad(code="few_runs", severity="disqualifying"):
    return Problem(code=code, severity=severity, text="Too few.", remedy="Train more.")


@pytest.fixture
def failing(monkeypatch):
    """Makes `isoflop report` end with the given exception."""

    def install(error):
        def raising(**_):
            raise error

        monkeypatch.setattr(entry, "app", raising)

    return install


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InputError("x = -1: `x > 0` must hold."), 2),
        (MissingExtraError("torch", extra="train", needed_for="isoflop run"), 2),
        (WorkerError("run abc failed"), 1),
        (ZeroDivisionError("ours"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_exit_codes(failing, capsys, error, code):
    failing(error)
    assert entry.run(["report", "--json"]) == code
    out, err = capsys.readouterr()
    last = err.rstrip().splitlines()[-1]
    assert last.startswith("error: ")
    answer = json.loads(out)
    assert answer == {
        "ok": False,
        "verb": "report",
        "result": None,
        "problems": [],
        "error": last.removeprefix("error: "),
    }


def test_only_our_faults_show_a_traceback(failing, capsys):
    failing(InputError("bad\nvalue"))
    entry.run(["report"])
    assert capsys.readouterr().err == "error: bad value\n"
    failing(ZeroDivisionError("ours"))
    entry.run(["report"])
    assert "Traceback" in capsys.readouterr().err


def test_interruption_says_how_to_go_on(failing, capsys):
    failing(KeyboardInterrupt())
    assert entry.run(["run", "my study.toml"]) == 130
    assert "isoflop run 'my study.toml'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["no-such-verb"],
        ["plan", "--flops", "many"],
        ["plan", "--no-such-option"],
        ["run", "a", "b"],
    ],
)
def test_wrong_usage_is_bad_input(capsys, words):
    assert entry.run([*words, "--json"]) == 2
    out, err = capsys.readouterr()
    assert err.startswith("error: ")
    assert "--help" in err
    assert len(err.splitlines()) == 1
    assert json.loads(out)["ok"] is False


def test_disqualified_is_three_unless_forced(capsys):
    out = Output("fit", as_json=True)
    assert out.finish({}, [bad()]) == 3
    assert out.finish({}, [bad()], forced=True) == 0
    assert out.finish({}, [bad(severity="warning")]) == 0
    objects = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [o["problems"][0]["code"] for o in objects] == ["few_runs"] * 3
    assert all(o["ok"] for o in objects)


def test_without_json_stdout_has_only_the_text(capsys):
    out = Output("x", as_json=False)
    out.show("a [bold]literal[/bold] line")
    assert out.finish({}) == 0
    assert capsys.readouterr().out == "a [bold]literal[/bold] line\n"


def test_with_json_text_goes_to_stderr(capsys):
    out = Output("x", as_json=True)
    out.show("for people")
    out.finish({"a": 1})
    streams = capsys.readouterr()
    assert streams.err == "for people\n"
    assert json.loads(streams.out)["result"] == {"a": 1}


def test_json_has_no_nan(capsys):
    import numpy as np

    value = {
        "nan": float("nan"),
        "array": np.array([1.0, np.inf]),
        "interval": Interval(value=1.0, low=0.5, high=2.0),
        "count": np.int64(3),
        "flag": np.bool_(True),
    }
    assert plain(value) == {
        "nan": None,
        "array": [1.0, None],
        "interval": {"value": 1.0, "low": 0.5, "high": 2.0, "level": 0.9},
        "count": 3,
        "flag": True,
    }


def test_failure_is_one_line(capsys):
    print_failure([], "two\n  lines")
    assert capsys.readouterr().err == "error: two lines\n"
