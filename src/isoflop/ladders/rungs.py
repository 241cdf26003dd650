"""`Rung`: one shape and its horizons; every design of `[ladder]` resolves to a list of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from isoflop._errors import InputError, StudyError
from isoflop.accounting import count_params
from isoflop.ladders.families import FAMILIES, PublishedShape
from isoflop.ladders.shapes import nearest_shape, shape_of, study_shape
from isoflop.specs import ModelSection, ModelShape, StudyConfig

FLOPS_PER_PARAM_TOKEN = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Rung:
    """One shape of the ladder and the tokens at which its branches end, ascending."""

    shape: ModelShape
    horizons: tuple[int, ...]

    @property
    def n_params(self) -> int:
        """Parameters that 6·N·D counts."""
        return count_params(self.shape).under("active")

    def within(self, max_flops: float | None) -> "Rung":
        """The rung without horizons whose 6·N·D is above `max_flops`."""
        if max_flops is None:
            return self
        per_token = FLOPS_PER_PARAM_TOKEN * self.n_params
        return replace(self, horizons=tuple(t for t in self.horizons if per_token * t <= max_flops))


def resolve_rungs(config: StudyConfig) -> list[Rung]:
    """All rungs of a study's ladder, those without a horizon left out.

    Raises:
        StudyError: an impossible shape, sizes that come out alike, or nothing within
            `ladder.max_flops`.
    """
    section = config.ladder
    rungs = _DESIGNS[section.kind](config)
    _refuse_alike(config, rungs)
    # A budget's D = C/6N is cut to whole batches, so that no run of it exceeds the cap.
    kept = [rung.within(section.max_flops) for rung in rungs]
    kept = [rung for rung in kept if rung.horizons]
    if not kept:
        raise StudyError(
            f"ladder.max_flops = {section.max_flops!r}: leaves no run. Raise or remove it."
        )
    return kept


def shortest_horizon(config: StudyConfig, rungs: list[Rung]) -> int:
    """Tokens of the ladder's shortest run; of listed horizons, whether a run has it or not."""
    if config.ladder.kind == "explicit":
        return min(config.ladder.tokens)
    return min(rung.horizons[0] for rung in rungs)


def _explicit(config: StudyConfig) -> list[Rung]:
    section, rungs = config.ladder, []
    for number, width in enumerate(section.widths):
        depth = section.depths[number] if section.depths else config.model.depth
        heads = section.heads[number] if section.heads else config.model.n_heads
        shape = study_shape(config, width, depth, heads, key="ladder.widths")
        rungs.append(Rung(shape=shape, horizons=tuple(sorted(section.tokens))))
    return rungs


def _grid(config: StudyConfig) -> list[Rung]:
    section = config.ladder
    assert section.min_tokens is not None
    assert section.max_tokens is not None
    tokens = _spaced(section.min_tokens, section.max_tokens, section.value("n_horizons"))
    return [Rung(shape=shape, horizons=_whole(tokens)) for shape in _sizes(config)]


def _isoflop(config: StudyConfig) -> list[Rung]:
    """Sizes of one grid in ln N, so that budgets share shapes and a shape's budgets its trunk."""
    section = config.ladder
    assert section.min_flops is not None
    assert section.max_flops is not None
    count, best = int(section.value("n_sizes")), section.value("tokens_per_param")
    budgets = _spaced(section.min_flops, section.max_flops, section.value("n_budgets"))
    step = np.log(section.value("span")) / max(count - 1, 1)
    optimum = np.sqrt(budgets / (FLOPS_PER_PARAM_TOKEN * best))
    budgets_of: dict[int, list[float]] = {}
    for budget, center in zip(budgets, optimum, strict=True):
        middle = np.log(center / optimum[-1]) / step
        first = round(middle - (count - 1) / 2)
        for place in range(first, first + count):
            budgets_of.setdefault(place, []).append(float(budget))
    rungs = []
    for place in sorted(budgets_of):
        shape = nearest_shape(config, float(optimum[-1] * np.exp(place * step)))
        per_token = FLOPS_PER_PARAM_TOKEN * count_params(shape).under("active")
        horizons = tuple(int(budget / per_token) for budget in budgets_of[place])
        rungs.append(Rung(shape=shape, horizons=horizons))
    return rungs


def _envelope(config: StudyConfig) -> list[Rung]:
    section = config.ladder
    reach, best = section.value("span") ** 0.5, section.value("tokens_per_param")
    rungs = []
    for shape in _sizes(config):
        middle = best * count_params(shape).under("active")
        tokens = _spaced(middle / reach, middle * reach, section.value("n_horizons"))
        rungs.append(Rung(shape=shape, horizons=_whole(tokens)))
    return rungs


def _ray(config: StudyConfig) -> list[Rung]:
    best = config.ladder.value("tokens_per_param")
    return [
        Rung(shape=shape, horizons=(round(best * count_params(shape).under("active")),))
        for shape in _sizes(config)
    ]


def _large_d(config: StudyConfig) -> list[Rung]:
    """The same tokens for all sizes: what data still bind is then the same for all."""
    section, shapes = config.ladder, _sizes(config)
    longest = section.value("tokens_per_param") * count_params(shapes[-1]).under("active")
    tokens = _spaced(longest / section.value("span"), longest, section.value("n_horizons"))
    return [Rung(shape=shape, horizons=_whole(tokens)) for shape in shapes]


def _large_n(config: StudyConfig) -> list[Rung]:
    section = config.ladder
    assert section.max_params is not None
    assert section.min_tokens is not None
    assert section.max_tokens is not None
    shape = nearest_shape(config, section.max_params)
    most = section.value("tokens_per_param") * count_params(shape).under("active")
    if section.max_tokens > most:
        raise StudyError(
            f"ladder.max_tokens = {section.max_tokens:g}: `max_tokens <= {most:g}` must hold, "
            f"{section.value('tokens_per_param'):g} tokens for each of the model's parameters, or "
            "its size binds too. Raise max_params or tokens_per_param, or shorten the runs."
        )
    tokens = _spaced(section.min_tokens, section.max_tokens, section.value("n_horizons"))
    return [Rung(shape=shape, horizons=_whole(tokens))]


def _family(config: StudyConfig) -> list[Rung]:
    section = config.ladder
    assert section.family is not None
    ladder, plain = FAMILIES[section.family](), ModelSection()
    for key in ("depth", "n_heads", "ff_ratio"):
        if getattr(config.model, key) != getattr(plain, key):
            raise StudyError(
                f"model.{key} = {getattr(config.model, key)!r}: ladder.family brings its own "
                "depths, heads and MLP widths. Remove the key."
            )
    rungs = []
    for one in ladder.shapes:
        shape = _published_shape(config, one)
        n_params = count_params(shape).under("active")
        if section.tokens_per_param is not None:
            horizons: tuple[int, ...] = (round(section.tokens_per_param * n_params),)
        elif ladder.budgets:
            horizons = _near_optimum(ladder.budgets, n_params)
        else:
            horizons = tuple(round(tokens) for tokens in one.tokens)
        rungs.append(Rung(shape=shape, horizons=horizons))
    return rungs


def _published_shape(config: StudyConfig, one: PublishedShape) -> ModelShape:
    try:
        shape = shape_of(config, width=one.width, depth=one.depth, heads=one.n_heads)
        return replace(shape, ff_width=one.ff_width)
    except InputError as error:
        raise StudyError(f"ladder.family = {config.ladder.family!r}: {error}") from error


def _near_optimum(budgets: tuple[float, ...], n_params: int) -> tuple[int, ...]:
    """Horizons C/6N of the budgets for which N is within a factor 4 of sqrt(C/120)."""
    near = [c for c in budgets if 0.25 <= n_params / np.sqrt(c / 120) <= 4]
    return tuple(int(c / (FLOPS_PER_PARAM_TOKEN * n_params)) for c in near)


def _sizes(config: StudyConfig) -> list[ModelShape]:
    """Shapes of `n_sizes` sizes from min_params to max_params, evenly spaced in ln N."""
    section = config.ladder
    assert section.min_params is not None
    assert section.max_params is not None
    sizes = _spaced(section.min_params, section.max_params, section.value("n_sizes"))
    return [nearest_shape(config, float(size)) for size in sizes]


def _spaced(low: float, high: float, count: float) -> np.ndarray:
    """`count` values from low to high, evenly spaced in the logarithm; one alone is the highest."""
    return np.geomspace(low, high, int(count)) if count > 1 else np.array([high])


def _whole(tokens: np.ndarray) -> tuple[int, ...]:
    return tuple(round(float(t)) for t in tokens)


def _refuse_alike(config: StudyConfig, rungs: list[Rung]) -> None:
    """Two rungs of one shape, or two horizons of the same number of batches, are one run twice."""
    batch, section = config.train.batch_tokens, config.ladder
    for first, second in pairwise(rungs):
        if first.shape == second.shape:
            raise StudyError(
                f"ladder.n_sizes = {int(section.value('n_sizes'))}: two sizes come out as the same "
                f"shape, width {first.shape.width} and depth {first.shape.depth} with N = "
                f"{first.n_params}. Ask for fewer sizes, space them wider, or use fewer heads."
            )
    key = "ladder.tokens" if section.kind == "explicit" else f"ladder.{section.kind} tokens"
    for rung in rungs:
        for short, long in pairwise(rung.horizons):
            if short // batch == long // batch:
                raise StudyError(
                    f"{key} = {list(rung.horizons)}: {short} and {long} are both "
                    f"{short // batch} batches of train.batch_tokens = {batch}. Leave one out or "
                    "set them further apart."
                )


_DESIGNS: dict[str, Callable[[StudyConfig], list[Rung]]] = {
    "explicit": _explicit,
    "grid": _grid,
    "isoflop": _isoflop,
    "envelope": _envelope,
    "ray": _ray,
    "large_d": _large_d,
    "large_n": _large_n,
    "family": _family,
}
