"""`HfValues`: the keys of a Hugging Face `config.json`, each checked when it is read."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from isoflop._errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class HfValues:
    """Values of a `config.json`; a key that is null counts as absent, as in `transformers`."""

    place: Path
    values: Mapping[str, Any]

    def count(self, key: str, default: int | None = None) -> int:
        """A positive whole number.

        Raises:
            InputError: the key is missing and has no default, or holds something else.
        """
        value = self.values.get(key)
        if value is None:
            value = default
        if value is None:
            raise InputError(
                f"{self.place} has no key {key!r}, which model_type {self.model_type!r} needs. "
                "Give the model's whole config.json."
            )
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.wrong(key, "a positive whole number")
        return value

    def optional_count(self, key: str) -> int | None:
        """A positive whole number, or None where the key is absent or null.

        Raises:
            InputError: the key holds something else.
        """
        return None if self.values.get(key) is None else self.count(key)

    def number(self, key: str, default: int | None = None) -> int:
        """A whole number that may be 0.

        Raises:
            InputError: the key is missing and has no default, or holds something else.
        """
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        zero = value == 0 and not isinstance(value, bool)
        return 0 if zero else self.count(key)

    def flag(self, key: str, default: bool) -> bool:
        """True or false.

        Raises:
            InputError: the key holds something else.
        """
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def items(self, key: str) -> list[Any] | None:
        """A list, or None where the key is absent or null.

        Raises:
            InputError: the key holds something else.
        """
        value = self.values.get(key)
        if value is not None and not isinstance(value, list):
            raise self.wrong(key, "a list")
        return value

    @property
    def model_type(self) -> str:
        """What kind of model the file says it describes; "" where it does not say."""
        return str(self.values.get("model_type") or "")

    def wrong(self, key: str, wanted: str) -> InputError:
        """The error for a key that holds something else than it must."""
        return InputError(
            f"{self.place}: `{key}` must be {wanted}, but got {self.values.get(key)!r}. "
            "Correct the file."
        )


def read_hf_values(path: str | Path) -> HfValues:
    """The values of a `config.json`, or of that in a folder.

    Raises:
        InputError: no such file, or it is no JSON object.
    """
    place = Path(path)
    if place.is_dir():
        place = place / "config.json"
    try:
        values = json.loads(place.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"cannot read {place}: {error.strerror}. Give a Hugging Face config.json or its folder."
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{place} is not JSON: {error}. Give a Hugging Face config.json."
        ) from error
    if not isinstance(values, dict):
        raise InputError(
            f"{place} holds {type(values).__name__}, not an object of keys. "
            "Give a Hugging Face config.json."
        )
    return HfValues(place=place, values=values)
