"""A law of one's own: a plain function of named arguments becomes a `Law`.

Arguments that are columns of the table, or names of columns that isoflop knows, are inputs; the
others are parameters, positive unless annotated: `alpha: Annotated[float, Param(low=0.05,
high=1)]`. An argument with a default stays at it. The function must compute on arrays, element by
element; its derivatives come from complex steps where it takes complex numbers, which is measured
on the table and not supposed, and from central differences elsewhere.
"""

import difflib
import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array, is_share
from isoflop.laws._law import Inputs, Law, Param, Predict, keep_units
from isoflop.laws._probe import (
    check_effect,
    check_shape,
    jacobian_of,
    parameters_to_try,
    quiet,
    rows_to_try,
)

KNOWN_INPUTS = (
    "x", "n_params", "n_tokens", "flops", "n_unique_tokens", "steps", "lr", "batch_tokens",
    "width", "depth", "loss", "bpb", "n_experts", "n_active", "vocab_size", "bits", "n_finetune",
    "n_streams", "sparsity",
)  # fmt: skip
"""Columns that an argument means wherever it has their name; so does `w_<domain>`."""

OWN = " (own)"
"""Ends the name of a law of one's own, so that none is taken for a built-in one."""

TYPOS = 0.85
"""Likeness of an argument to a known column above which it is taken for a misspelling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signature:
    """The arguments of a function, told apart."""

    params: tuple[Param, ...]
    inputs: tuple[str, ...]


def own_law(
    function: Callable[..., Any], columns: Mapping[str, Array], target: str = "loss"
) -> Law:
    """The `Law` of a function of named arguments: `target = function(inputs, parameters)`.

    Args:
        function: computes on NumPy arrays; inputs have shape (R,), parameters (..., 1).
        columns: the table's numeric columns (R,): which arguments are inputs, and rows to try it.
        target: the column that it predicts.

    Raises:
        InputError: no function, no input, no parameter, a misspelled input, a parameter that
            nothing depends on, or a result of another shape than the inputs.
    """
    read = _read_signature(function, columns, target)
    missing = [name for name in read.inputs if name not in columns]
    if missing:
        have = ", ".join(sorted(columns)) or "no columns"
        raise InputError(
            f"{_name(function)} needs the column {missing[0]!r}, but the table has {have}. "
            f"Add the column."
        )
    predict = _predict_of(function, read)
    probe = rows_to_try(columns, read.inputs)
    theta = parameters_to_try(read.params)
    check_shape(_name(function), predict, theta, probe)
    jacobian = jacobian_of(predict, theta, probe)
    check_effect(_name(function), read.params, quiet(jacobian, theta, probe))
    return Law(
        name=f"{function.__name__}{OWN}",
        params=read.params,
        inputs=read.inputs,
        predict=predict,
        jacobian=jacobian,
        rescale=keep_units,
        formula=f"{target} = {function.__name__}({', '.join((*read.inputs, *_names(read)))})",
        source=f"your own function {function.__module__}.{function.__qualname__}",
        range_note="Not known: it is your own.",
        scaled=False,
        target=target,
    )


def _read_signature(
    function: Callable[..., Any], columns: Collection[str], target: str
) -> _Signature:
    if not callable(function) or not hasattr(function, "__name__"):
        raise InputError(
            f"`law` must be a name, a Law or a function, but got {function!r}. "
            f"Write `def my_law(n_params, n_tokens, E, A, alpha): ...`."
        )
    try:
        hints = typing.get_type_hints(function, include_extras=True)
        arguments = inspect.signature(function).parameters.values()
    except (NameError, TypeError, ValueError) as error:
        raise InputError(
            f"The arguments of {_name(function)} must be readable, but {error}. "
            f"Write a plain function with named arguments."
        ) from error
    params: list[Param] = []
    inputs: list[str] = []
    for one in arguments:
        if one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD):
            raise InputError(
                f"Every argument of {_name(function)} must be named, but got {one}. Name them all."
            )
        given = _annotated(hints.get(one.name))
        if given is not None:
            params.append(replace(given, name=one.name))
        elif one.name == target:
            raise InputError(
                f"{_name(function)} must not take the target {target!r} as an argument. Return it."
            )
        elif one.name in columns or one.name in KNOWN_INPUTS or is_share(one.name):
            inputs.append(one.name)
        elif one.default is one.empty:
            _check_spelling(function, one.name, columns)
            params.append(Param(name=one.name))
    _check_some(function, params, inputs, columns)
    return _Signature(params=tuple(params), inputs=tuple(inputs))


def _annotated(hint: Any) -> Param | None:
    found = [one for one in getattr(hint, "__metadata__", ()) if isinstance(one, Param)]
    return found[0] if found else None


def _check_spelling(function: Callable[..., Any], name: str, columns: Collection[str]) -> None:
    known = [*columns, *KNOWN_INPUTS]
    near = difflib.get_close_matches(name, known, n=1, cutoff=TYPOS) if len(name) > 3 else []
    if near:
        raise InputError(
            f"The argument {name!r} of {_name(function)} is no column, but close to {near[0]!r}. "
            f"Rename it, or annotate it with a Param if it is a parameter."
        )


def _check_some(
    function: Callable[..., Any], params: list[Param], inputs: list[str], columns: Collection[str]
) -> None:
    have = ", ".join(sorted(columns)) or "no columns"
    if not inputs:
        raise InputError(
            f"At least one argument of {_name(function)} must be a column, but none of "
            f"{', '.join(p.name for p in params) or 'none'} is (the table has {have}). Name one so."
        )
    if not params:
        raise InputError(
            f"At least one argument of {_name(function)} must be a parameter to fit, but all are "
            f"columns: {', '.join(inputs)}. Add one, e.g. alpha."
        )


def _predict_of(function: Callable[..., Any], read: _Signature) -> Predict:
    names = _names(read)

    def predict(theta: Array, inputs: Inputs) -> Array:
        parts = {name: theta[..., i, None] for i, name in enumerate(names)}
        value = np.asarray(function(**{name: inputs[name] for name in read.inputs}, **parts))
        shape = np.broadcast_shapes((*theta.shape[:-1], 1), inputs[read.inputs[0]].shape)
        return np.broadcast_to(value, shape) if value.shape != shape else value

    return predict


def _names(read: _Signature) -> tuple[str, ...]:
    return tuple(param.name for param in read.params)


def _name(function: Callable[..., Any]) -> str:
    return f"The law {getattr(function, '__name__', function)!r}"
