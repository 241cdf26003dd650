"""Training results on disk: one folder a run, files are the truth.

What to use when:
- `RunFolder`: create, append to and read one run folder; safe against torn last lines.
- `read_runs`: any number of study or run folders (or CSV files) -> one table of `final` points.
- `read_curves`: a study -> every point of every run with its learning rate, for `fit_curves`.
"""

from isoflop.runs.folder import RunFolder
from isoflop.runs.records import Point, Status
from isoflop.runs.table import read_curves, read_runs

__all__ = ["Point", "RunFolder", "Status", "read_curves", "read_runs"]
