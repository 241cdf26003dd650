"""AdamW over groups of parameters, each with the rate, decay and eps of its role."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from isoflop.specs import ModelShape, Optimiser, Parametrisation, RunConfig
from isoflop.specs.parametrisation import Role
from isoflop.training.initial import role_of

_EMBEDDINGS = ("embedding", "positions")
_VECTORS = ("vector", "final_vector")
# The order in which checkpoints hold the groups of a `plain` run.
_FAMILIES = ("matrices", "embeddings", "vectors")


def make_optimiser(model: nn.Module, config: RunConfig) -> torch.optim.AdamW:
    """AdamW whose groups carry `lr_factor`: the group's rate as a multiple of the schedule's.

    Matrices decay, vectors do not; embeddings do except under `plain`.
    """
    named = model.named_parameters()
    groups = parameter_groups(named, config.shape, config.optimiser, config.parametrisation)
    settings = config.optimiser
    return torch.optim.AdamW(
        groups,
        lr=settings.lr,
        betas=(settings.beta1, settings.beta2),
        eps=settings.eps,
        weight_decay=0.0,
        fused=True,
    )


def parameter_groups(
    named: Iterable[tuple[str, nn.Parameter]],
    shape: ModelShape,
    settings: Optimiser,
    parametrisation: Parametrisation,
) -> list[dict[str, Any]]:
    """One group for all parameters of a family that share rate, decay and eps."""
    found: dict[tuple[int, float, float, float], list[nn.Parameter]] = {}
    for name, parameter in named:
        role = role_of(name)
        rule = parametrisation.rule(role, shape)
        lr = rule.lr * (settings.embedding_lr_factor if role in _EMBEDDINGS else 1.0)
        decay = settings.weight_decay * rule.weight_decay
        if role in _VECTORS or (role in _EMBEDDINGS and parametrisation.kind == "plain"):
            decay = 0.0
        key = (_FAMILIES.index(_family(role)), lr, decay, settings.eps * rule.eps)
        found.setdefault(key, []).append(parameter)
    return [
        {"params": parameters, "lr_factor": lr, "weight_decay": decay, "eps": eps}
        for (_, lr, decay, eps), parameters in sorted(found.items(), key=lambda item: item[0])
    ]


def _family(role: Role) -> str:
    if role in _EMBEDDINGS:
        return "embeddings"
    return "vectors" if role in _VECTORS else "matrices"
