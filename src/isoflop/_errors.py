"""Every error that isoflop raises on purpose.

```
IsoflopError
├── InputError (also a ValueError)   the user's input; the command line exits with 2
│   ├── StudyError                   a key of study.toml
│   ├── DataError                    a corpus, a shard, a data card
│   ├── RunError                     a run folder, a table of runs
│   └── FitError                     a table that cannot support the fit asked for
├── MissingExtraError                an optional dependency is not installed; exits with 2
└── WorkerError                      a process that isoflop started has failed; exits with 1
```

A bad *fit* is no error: it is a result with `problems`.
"""


class IsoflopError(Exception):
    """Base of all errors raised on purpose; its text is one line that names the remedy."""


class InputError(IsoflopError, ValueError):
    """The input is wrong: the text names the value, the place and what to do."""


class StudyError(InputError):
    """A key of a study file is unknown, missing or impossible."""


class DataError(InputError):
    """A corpus, shard or data card cannot be used."""


class RunError(InputError):
    """A run folder or a table of runs cannot be used."""


class FitError(InputError):
    """The table cannot support the fit that was asked for."""


class MissingExtraError(IsoflopError):
    """An optional dependency is not installed."""

    def __init__(self, package: str, *, extra: str, needed_for: str) -> None:
        super().__init__(
            f"{needed_for} needs the package {package!r}, which is not installed. "
            f"Run: pip install 'isoflop[{extra}]'."
        )


class WorkerError(IsoflopError):
    """A process that isoflop started has failed."""
