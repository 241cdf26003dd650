"""How a study's rate, initial weights and multipliers follow width and depth."""

from isoflop.specs import Parametrisation, StudyConfig, TrainSection
from isoflop.specs.train import PARAMETRISED

_PLAIN_WIDTH_EXPONENT = -0.5


def base_rate(train: TrainSection, width: int) -> float:
    """lr = base_lr · (width/base_width)^lr_width_exponent; the parametrisation does the rest."""
    exponent = train.lr_width_exponent
    if exponent is None:
        exponent = _PLAIN_WIDTH_EXPONENT if train.parametrisation == "plain" else 0.0
    return train.base_lr * float((width / train.base_width) ** exponent)


def parametrisation_of(config: StudyConfig) -> Parametrisation:
    """The parametrisation of every training of a study, its base shape settled."""
    train, model, ladder = config.train, config.model, config.ladder
    given = {name: getattr(train, name) for name in PARAMETRISED}
    kind = train.parametrisation
    if kind in ("mup", "completep"):
        given["base_width"] = train.base_width
    if kind in ("mup", "completep") and train.base_head_width is None:
        heads = model.n_heads
        if ladder.head_dim is not None:
            heads = max(1, train.base_width // ladder.head_dim)
        elif ladder.heads is not None and train.base_width in ladder.widths:
            heads = ladder.heads[ladder.widths.index(train.base_width)]
        given["base_head_width"] = max(1, train.base_width // heads)
    if kind == "completep" and train.base_depth is None:
        given["base_depth"] = model.depth
    return Parametrisation(
        kind=kind, **{name: value for name, value in given.items() if value is not None}
    )
