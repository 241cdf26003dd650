"""Progress is a bar on a terminal and a line now and then in a log; the ETA is this process's."""

import io

from rich.console import Console

from isoflop.study.progress import _eta, stage_bar


def test_logs_get_lines_and_no_control_characters() -> None:
    stream = io.StringIO()
    with stage_bar(Console(file=stream), "pilots") as stage:
        stage(0.5, "N=[bold]1")
        stage(0.6, "not yet")
    assert stream.getvalue() == "pilots: 50%, eta ?, N=[bold]1\n"


def test_eta_is_work_left_over_speed() -> None:
    assert _eta(10.0, 0.25, 0.5) == "20 s"
    assert _eta(600.0, 0.5, 0.5) == "10 min"
    assert _eta(10.0, 0.0, 1.0) == "?"
    assert _eta(10.0, 0.9, 0.0) == "0 s"
