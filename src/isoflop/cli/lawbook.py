"""The laws and the published constants, as data and as tables."""

from typing import TYPE_CHECKING, Any

from isoflop._errors import InputError

if TYPE_CHECKING:
    from rich.table import Table


def entries(name: str | None = None) -> dict[str, list[dict[str, Any]]]:
    """The laws and constants as plain data, or only those called `name`.

    Raises:
        InputError: neither a law nor a set of constants has that name.
    """
    from isoflop.laws import CURVE_LAWS, LAWS, PUBLISHED

    laws: list[dict[str, Any]] = [
        {
            "name": law.name,
            "formula": law.formula,
            "inputs": list(law.inputs),
            "params": {p.name: {"low": p.low, "high": p.high, "unit": p.unit} for p in law.params},
            "source": law.source,
            "range_note": law.range_note,
        }
        for law in (*LAWS, *CURVE_LAWS)
    ]
    constants: list[dict[str, Any]] = [
        {
            "name": item.name,
            "title": item.title,
            "law": item.estimate.components[0].law.name,
            "theta": dict(
                zip(
                    item.estimate.components[0].law.names,
                    item.estimate.components[0].theta.tolist(),
                    strict=True,
                )
            ),
            "n_params_convention": item.estimate.n_params_convention,
            "source": item.source,
            "caveats": list(item.caveats),
            "problems": [problem.code for problem in item.estimate.problems],
        }
        for item in PUBLISHED
    ]
    book = {"laws": laws, "published": constants}
    if name is None:
        return book
    chosen = {part: [e for e in group if e["name"] == name] for part, group in book.items()}
    if not any(chosen.values()):
        names = ", ".join(entry["name"] for group in book.values() for entry in group)
        raise InputError(f"no law or constants are called {name!r}. There are: {names}.")
    return chosen


def tables(book: dict[str, list[dict[str, Any]]]) -> "list[Table]":
    """The two tables for people; an empty one is left out."""
    from rich.markup import escape
    from rich.table import Table

    laws = Table(title="Laws", title_justify="left")
    for heading in ("name", "formula", "source", "mind"):
        laws.add_column(heading, overflow="fold", no_wrap=heading == "name")
    for law in book["laws"]:
        laws.add_row(*(escape(law[key]) for key in ("name", "formula", "source", "range_note")))
    constants = Table(title="Published constants", title_justify="left")
    for heading in ("name", "constants", "source", "mind"):
        constants.add_column(heading, overflow="fold", no_wrap=heading == "name")
    for item in book["published"]:
        theta = " ".join(f"{key}={value:.6g}" for key, value in item["theta"].items())
        mind = " ".join([*item["caveats"], *(f"[{code}]" for code in item["problems"])])
        row = (item["name"], f"{item['law']}: {theta}", item["source"], mind)
        constants.add_row(*map(escape, row))
    return [table for table in (laws, constants) if table.rows]
