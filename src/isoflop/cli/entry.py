"""`main`: runs a verb and turns every ending into an exit code and one clear line.

0 done · 1 our fault · 2 bad input · 3 done but disqualified · 4, 5, 6 what `watch` found ·
130 interrupted.
"""

import shlex
import sys
import traceback
from collections.abc import Sequence

import typer

from isoflop._errors import InputError, IsoflopError, MissingExtraError
from isoflop.cli.app import app
from isoflop.cli.output import print_failure

EXIT_FAULT, EXIT_INPUT, EXIT_DISQUALIFIED, EXIT_INTERRUPTED = 1, 2, 3, 130

# Older Typer raises click's exceptions, newer Typer those of its own copy: both are reached here.
_UsageError: type[Exception] = next(
    base for base in typer.BadParameter.__mro__ if base.__name__ == "ClickException"
)


def main(args: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    argv = list(sys.argv[1:] if args is None else args)
    sys.exit(run(argv))


def run(argv: list[str]) -> int:
    """The exit code of one command line; errors are one line on stderr, never a traceback.

    A fault of ours (any other exception) keeps its traceback, so that it can be reported.
    """
    try:
        code = app(args=argv, prog_name="isoflop", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except (KeyboardInterrupt, typer.Abort):
        again = shlex.join(["isoflop", *argv])
        print_failure(argv, f"interrupted. Nothing is lost; to go on, run again: {again}")
        return EXIT_INTERRUPTED
    except _UsageError as error:
        return _usage(argv, error)
    except (InputError, MissingExtraError) as error:
        print_failure(argv, str(error))
        return EXIT_INPUT
    except IsoflopError as error:
        print_failure(argv, str(error))
        return EXIT_FAULT
    except BrokenPipeError:  # `isoflop laws | head`: nobody reads on, and that is no error
        sys.stderr.close()
        return 0
    except Exception as error:  # noqa: BLE001 the last stop: an exit code and, with --json, an object
        traceback.print_exc()
        print_failure(argv, f"a fault of isoflop, please report it: {error!r}")
        return EXIT_FAULT


def _usage(argv: list[str], error: BaseException) -> int:
    text = str(getattr(error, "format_message", error.__str__)()).strip()
    if not text:  # `isoflop` alone: the help has been shown
        return EXIT_INPUT
    verb = next((word for word in argv if not word.startswith("-")), "")
    where = f"isoflop {verb} --help" if verb in known_verbs() else "isoflop --help"
    print_failure(argv, f"{text.rstrip('.')}. See `{where}`.")
    return EXIT_INPUT


def known_verbs() -> list[str]:
    """The verbs in the order of the help."""
    return [str(c.name or c.callback.__name__) for c in app.registered_commands if c.callback]
