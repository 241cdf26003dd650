"""`Law`: a record of pure functions, and the parameters it is written in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

import numpy as np

from isoflop._errors import InputError
from isoflop._types import Array

Inputs = Mapping[str, Array]
"""Input columns by name, each of shape (R,)."""

Predict = Callable[[Array, Inputs], Array]
"""theta (..., P) and inputs (R,) -> (..., R)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Param:
    """One parameter with the range a fit may use: `low <= value <= high`, in `unit`.

    A positive one is searched in its logarithm, a `real` one (which may be negative) as it is.
    A law of one's own annotates its arguments with it: `Annotated[float, Param(low=-2, high=2)]`.

    Raises:
        InputError: no range, or a start outside it.
    """

    name: str = ""
    """Taken from the argument where a function's argument is annotated."""
    low: float = 1e-100
    high: float = 1e100
    unit: str = ""
    real: bool = False
    """Whether it may be negative; a range from zero or below implies it."""
    start: float | None = None
    """A value to start from; a law of one's own is started from many places without."""

    def __post_init__(self) -> None:
        if not -inf < self.low < self.high < inf:
            raise InputError(
                f"`low < high` must hold, but got low={self.low} and high={self.high} for the "
                f"parameter {self.name!r}. Give a finite range."
            )
        if self.low <= 0:
            object.__setattr__(self, "real", True)
        if self.start is not None and not self.low <= self.start <= self.high:
            raise InputError(
                f"`low <= start <= high` must hold, but got start={self.start} for the parameter "
                f"{self.name!r} from {self.low} to {self.high}. Start inside."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """`theta[amplitude] * inputs[input] ** -theta[exponent]`: one power of an additive law."""

    amplitude: int
    exponent: int
    input: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Law:
    """One functional form: `target = predict(theta, inputs)`, a loss [nats/token] unless told.

    `predict` maps theta (..., P) and inputs (R,) to (..., R); `jacobian` gives the derivative
    with respect to theta, (..., R, P). `rescale` gives the theta that fits the same losses after
    every input was divided by its scale: a fit works in such units, where all inputs are near 1.
    """

    name: str
    params: tuple[Param, ...]
    inputs: tuple[str, ...]
    predict: Predict
    jacobian: Predict
    rescale: Callable[[Array, Mapping[str, float]], Array]
    formula: str
    source: str
    range_note: str
    starts: Callable[[Inputs, Array], Array] | None = None
    """Starts (S, P) for inputs in units near 1 and a target (R,); a wide scatter without."""
    terms: tuple[Term, ...] = ()
    """Where the law is `theta[0] + sum of terms`: its curvature is then known in closed form."""
    scaled: bool = True
    """Whether a fit may divide the inputs by their typical size (`rescale` undoes it)."""
    unscaled: tuple[str, ...] = ()
    """Inputs that a fit leaves in their units, because `rescale` cannot undo it."""
    same_unit: tuple[str, ...] = ()
    """Inputs that the law adds or compares: a fit divides them by one scale."""
    optional: tuple[str, ...] = ()
    """Inputs that a prediction may leave out, unlike a fit; the formula says what then holds."""
    target: str = "loss"
    """What the law predicts: a column name, or a prefix such as `acc_`."""

    @property
    def needed(self) -> tuple[str, ...]:
        """Inputs that a prediction needs."""
        return tuple(name for name in self.inputs if name not in self.optional)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in the order of theta."""
        return tuple(param.name for param in self.params)

    @property
    def real(self) -> np.ndarray:
        """Mask (P,) of the parameters that are searched as they are, not in logs."""
        return np.array([param.real for param in self.params])

    def to_theta(self, z: Array) -> Array:
        """Parameters (..., P) from search coordinates z: exp where positive."""
        real = self.real
        if not real.any():
            return np.asarray(np.exp(z))
        return np.asarray(np.where(real, z, np.exp(np.where(real, 0.0, z))))

    def to_z(self, theta: Array) -> Array:
        """Search coordinates (..., P) of parameters: log where positive."""
        real = self.real
        return np.asarray(np.where(real, theta, np.log(np.where(real, 1.0, theta))))

    def d_theta(self, theta: Array) -> Array:
        """d theta / d z (..., P): theta where positive, else 1."""
        return np.where(self.real, 1.0, theta)


def keep_units(theta: Array, scales: Mapping[str, float]) -> Array:
    """The `rescale` of a law whose inputs have no unit to change (shares, ratios)."""
    del scales
    return np.asarray(theta, dtype=np.float64).copy()


def softplus(z: Array) -> Array:
    """`ln(1 + e^z)` without overflow, also of complex numbers (np.logaddexp takes none)."""
    big = z.real > 0
    return np.asarray(np.where(big, z, 0.0) + np.log1p(np.exp(np.where(big, -z, z))))


def complex_step(predict: Predict) -> Predict:
    """The Jacobian (..., R, P) of a real-analytic law by complex step, exact to rounding."""

    def jacobian(theta: Array, inputs: Inputs) -> Array:
        columns = []
        for i in range(theta.shape[-1]):
            shifted = theta.astype(np.complex128)
            step = 1e-30 * np.maximum(np.abs(theta[..., i]), 1e-100)
            shifted[..., i] += 1j * step
            value = predict(shifted, inputs)  # type: ignore[arg-type]
            columns.append(value.imag / step[..., None])
        return np.stack(columns, axis=-1)

    return jacobian


def find_in(name: str, known: Mapping[str, object], what: str) -> None:
    """Refuse a name that is not known, listing those that are.

    Raises:
        InputError: `name` is not a key of `known`.
    """
    if name not in known:
        raise InputError(
            f"{what!r} must be one of {', '.join(sorted(known))}, but got {name!r}. "
            f"Choose one of these names."
        )
