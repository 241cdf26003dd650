"""How tests are shared out among the worker processes of `pytest -n`: file by file."""

from xdist.scheduler import LoadScopeScheduling

MACHINE = (
    "ladders/test_launcher_contract.py", "ladders/test_slurm.py", "ladders/test_ray.py",
    "ladders/test_several_nodes.py", "training/test_several.py", "data/test_dedup_ray.py",
    "training/test_trial.py", "data/test_corpus_memory.py",
)  # fmt: skip
"""Daemons on ports, trainings of several processes, seconds and megabytes that are measured: one
worker runs all of these, so that none of them runs beside another."""

LONG = (
    "fitting/test_coverage.py", "study/test_study_arms.py", "study/test_chain.py",
    "fitting/test_problem_odds.py", "fitting/test_compare.py", "fitting/test_propose.py",
    "laws/test_properties.py", "training/test_score.py", "docs/test_docs.py",
    "fitting/test_next_runs.py", "training/test_coordinates.py", "data/test_resume.py",
)  # fmt: skip
"""Files of half a minute and more, longest first: begun last, they would be waited for."""


def turn(nodeid: str) -> int:
    """When the file of a test is handed out: the machine's own first, then the long ones."""
    order = (*MACHINE, *LONG)
    return order.index(file) if (file := _file(nodeid)) in order else len(order)


def _file(nodeid: str) -> str:
    return nodeid.partition("::")[0].removeprefix("tests/")


class ByFile(LoadScopeScheduling):
    """A worker takes a whole file, whose fixtures are then made once; `MACHINE` counts as one."""

    def _split_scope(self, nodeid: str) -> str:
        return "machine" if _file(nodeid) in MACHINE else _file(nodeid)
