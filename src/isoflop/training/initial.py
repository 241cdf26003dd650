"""Initial weights, and the role by which each parameter scales with width and depth."""

from collections.abc import Mapping

from torch import nn

from isoflop.specs import ModelShape, Parametrisation
from isoflop.specs.parametrisation import Role

_ROLES: Mapping[str, Role] = {
    "embedding": "embedding",
    "positions": "positions",
    "qkv": "hidden",
    "out": "residual",
    "up": "hidden",
    "down": "residual",
    "router": "router",
    "head": "head",
    "final_norm": "final_vector",
    "final_norm_bias": "final_vector",
}
_CONSTANTS = {"attention_norm": 1.0, "mlp_norm": 1.0, "final_norm": 1.0, "gain": 1.0, "shift": 0.5}
_BIASES = ("qkv_bias", "out_bias", "up_bias", "down_bias")
_NORM_BIASES = ("attention_norm_bias", "mlp_norm_bias", "final_norm_bias")


def role_of(name: str) -> Role:
    """The role of a parameter by its name in the model; a name without one is our mistake."""
    leaf = name.rpartition(".")[2]
    assert leaf in _ROLES or leaf in _CONSTANTS or leaf in _BIASES + _NORM_BIASES, name
    return _ROLES.get(leaf, "vector")


def initialise(model: nn.Module, shape: ModelShape, parametrisation: Parametrisation) -> None:
    """Draw every parameter anew, in the order in which the model names them.

    Zeros draw nothing, so that a model's draws do not depend on what starts at zero.
    """
    for name, parameter in model.named_parameters():
        leaf = name.rpartition(".")[2]
        role = role_of(name)
        if role in ("vector", "final_vector"):
            nn.init.constant_(parameter, _CONSTANTS.get(leaf, 0.0))
            continue
        std = parametrisation.rule(role, shape).std
        if std:
            nn.init.normal_(parameter, std=std)
        else:
            nn.init.zeros_(parameter)
