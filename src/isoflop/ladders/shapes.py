"""The model of a rung: from the study's sections, or the one whose size is nearest to a wish."""

from isoflop._errors import InputError, StudyError
from isoflop.accounting import count_params
from isoflop.specs import ModelShape, StudyConfig
from isoflop.specs.section import MAX_WIDTH


def shape_of(config: StudyConfig, *, width: int, depth: int, heads: int) -> ModelShape:
    """The model of one rung."""
    model = config.model
    return ModelShape(
        vocab_size=config.data.n_ids,
        width=width,
        depth=depth,
        n_heads=heads,
        ff_width=model.ff_width(width),
        context=model.context,
        **model.kind(),
    )


def study_shape(config: StudyConfig, width: int, depth: int, heads: int, *, key: str) -> ModelShape:
    """`shape_of`, with `key` of the study named where the shape is impossible."""
    if config.model.ff_width(width) < 1:
        raise StudyError(
            f"model.ff_ratio = {config.model.ff_ratio!r}: `ff_ratio * width >= 1` must hold, but "
            f"{key} has {width}. Raise one of the two."
        )
    try:
        return shape_of(config, width=width, depth=depth, heads=heads)
    except InputError as error:
        raise StudyError(f"{key} = {width}: {error}") from error


def nearest_shape(config: StudyConfig, n_params: float) -> ModelShape:
    """The shape of a design whose N (as 6·N·D counts it) is nearest to `n_params`, in ln N.

    Widths are whole heads (of an even size where positions are rotary). Depth is width over
    `ladder.aspect`, at least 1, or model.depth; heads are width over `ladder.head_dim`, or
    model.n_heads. N grows with the width, so the two shapes around the wish are found by halving.

    Raises:
        StudyError: no such shape, or `n_params` is far below the smallest.
    """
    low, high = 1, 2
    while _count(config, high) < n_params:
        low, high = high, 2 * high
        if high * _quantum(config) > MAX_WIDTH:
            raise StudyError(
                f"ladder: no width up to {MAX_WIDTH} has N = {n_params:.4g}. Ask for smaller sizes."
            )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if _count(config, middle) >= n_params else (middle, high)
    best = min((low, high), key=lambda k: abs(_distance(_count(config, k), n_params)))
    shape = _shape(config, best)
    found = count_params(shape).under("active")
    if found > 2 * n_params:
        raise StudyError(
            f"ladder: the smallest shape, width {shape.width} and depth {shape.depth}, has N = "
            f"{found}, but a size of {n_params:.4g} is asked for. Ask for larger sizes, use fewer "
            "heads or a smaller data.vocab_size."
        )
    return shape


def _distance(found: int, wanted: float) -> float:
    return max(found / wanted, wanted / found)


def _quantum(config: StudyConfig) -> int:
    """Step of the width."""
    if config.ladder.head_dim is not None:
        return config.ladder.head_dim
    return config.model.n_heads * (
        2 if config.model.kind().get("positions", "rope") == "rope" else 1
    )


def _shape(config: StudyConfig, steps: int) -> ModelShape:
    section, width = config.ladder, steps * _quantum(config)
    depth = config.model.depth
    if section.aspect is not None:
        depth = max(1, round(width / section.aspect))
    heads = config.model.n_heads if section.head_dim is None else width // section.head_dim
    key = "ladder.head_dim gives width" if section.head_dim else "ladder.design gives width"
    return study_shape(config, width, depth, heads, key=key)


def _count(config: StudyConfig, steps: int) -> int:
    return count_params(_shape(config, steps)).under("active")
