"""Training results on disk: one folder a run, files are the truth.

What to use when:
- `RunFolder`: create, append to and read one run folder; safe against torn last lines.
- `read_runs`: study and run folders, tables, other tools' files -> one table of `final` points.
- `read_curves`: a study -> every point of every run with its learning rate, for `fit_curves`.
- `read_foreign`: other tools' files -> `ImportedRun`s in our words and units, and what is missing;
  `import_runs` keeps them in a study's folder. `Asked`: what the user says of names and units.
- `list_runs`: one line a run of a folder, quickly, from an index that is never trusted.
- `write_table`: a table -> CSV, JSON, JSON lines or Parquet.
"""

from isoflop.runs.export import write_table
from isoflop.runs.folder import RunFolder
from isoflop.runs.foreign import ForeignRun, Series
from isoflop.runs.imported import ImportedRun
from isoflop.runs.importing import Reading, import_runs, read_foreign
from isoflop.runs.index import RunSummary, list_runs
from isoflop.runs.records import Point, Status
from isoflop.runs.table import read_curves, read_runs
from isoflop.runs.understand import Missing
from isoflop.runs.vocabulary import Asked

__all__ = [
    "Asked",
    "ForeignRun",
    "ImportedRun",
    "Missing",
    "Point",
    "Reading",
    "RunFolder",
    "RunSummary",
    "Series",
    "Status",
    "import_runs",
    "list_runs",
    "read_curves",
    "read_foreign",
    "read_runs",
    "write_table",
]
