"""The command line: each verb parses, calls a room below and renders; it computes nothing.

What to use when:
- `main`: the entry point of the script `isoflop`; every exit code is decided here.
- `cli.app` holds the verbs, `cli.output` the two streams and the JSON envelope, `cli.doctor` the
  survey of the machine, `cli.template` the study that `init` writes.

Modules of the rooms below are imported inside the verbs: `isoflop --help` takes 0.2 s and needs
neither SciPy nor torch.
"""

from isoflop.cli.entry import main

__all__ = ["main"]
