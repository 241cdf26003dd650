"""The commented study that `isoflop init` writes: small enough for two cores, true to the end."""

from importlib.resources import files
from pathlib import Path

from isoflop._errors import InputError


def template_text() -> str:
    """The text of the template, a valid study."""
    return files("isoflop.cli").joinpath("template.toml").read_text(encoding="utf-8")


def write_template(path: Path) -> Path:
    """Write the template to `path` (or to `path/study.toml`); an existing file is kept.

    Raises:
        InputError: the file exists, or its folder cannot be written.
    """
    target = path if path.suffix == ".toml" else path / "study.toml"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as stream:
            stream.write(template_text())
    except FileExistsError as error:
        raise InputError(f"{target}: exists and is kept. Name another file.") from error
    except OSError as error:
        raise InputError(
            f"{target}: cannot be written ({error.strerror}). Name another place."
        ) from error
    return target
