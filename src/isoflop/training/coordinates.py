"""The coordinate check: does a training step move activations alike at every width and depth?

`python -m isoflop.training.coordinates --kind mup` prints, a JSON object a line, the RMS change of
activations over a few steps of models that differ in width alone, or in depth with `--depths`. A
parametrisation under which a rate transfers keeps every column level; under `standard` the logits
and the layers' outputs grow with width.

Source: Yang et al. 2022, arXiv:2203.03466, appendix D.1; Dey et al. 2025, arXiv:2505.01618.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from isoflop._errors import InputError
from isoflop.specs import ModelShape, Optimiser, Parametrisation
from isoflop.specs.shape import PRESETS
from isoflop.training.model import Transformer
from isoflop.training.optimiser import parameter_groups

_VOCABULARY, _CONTEXT, _SEQUENCES = 256, 32, 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Coordinates:
    """RMS change of activations of one model, by place."""

    width: int
    depth: int
    change: dict[str, float]
    """`attention` and `mlp`: outputs of the last layer's branches; `stream`: what leaves the last
    layer; `logits`."""


def coordinates(
    shape: ModelShape,
    parametrisation: Parametrisation,
    *,
    lr: float,
    n_steps: int = 4,
    n_seeds: int = 1,
) -> Coordinates:
    """RMS over tokens and coordinates of x(after n_steps) - x(start), averaged over seeds.

    AdamW without decay on one batch of random tokens, the same for every shape of a vocabulary.
    """
    totals: dict[str, float] = {}
    for seed in range(n_seeds):
        draw = torch.Generator().manual_seed(seed)
        tokens = torch.randint(shape.vocab_size, (_SEQUENCES, shape.context + 1), generator=draw)
        torch.manual_seed(seed)
        model = Transformer(shape, parametrisation)
        before = _activations(model, tokens[:, :-1])
        _train(model, tokens, parametrisation, lr, n_steps)
        for place, after in _activations(model, tokens[:, :-1]).items():
            change = float((after - before[place]).square().mean().sqrt())
            totals[place] = totals.get(place, 0.0) + change / n_seeds
    return Coordinates(width=shape.width, depth=shape.depth, change=totals)


def _train(
    model: Transformer, tokens: Tensor, parametrisation: Parametrisation, lr: float, n_steps: int
) -> None:
    settings = Optimiser(lr=lr, batch_tokens=tokens[:, 1:].numel(), weight_decay=0.0)
    groups = parameter_groups(model.named_parameters(), model.shape, settings, parametrisation)
    for group in groups:
        group["lr"] = lr * group.pop("lr_factor")
    betas = (settings.beta1, settings.beta2)
    optimiser = torch.optim.AdamW(groups, lr=lr, betas=betas, weight_decay=0.0, fused=True)
    for _ in range(n_steps):
        model(tokens[:, :-1], tokens[:, 1:]).backward()
        optimiser.step()
        optimiser.zero_grad()


@torch.no_grad()
def _activations(model: Transformer, x_BT: Tensor) -> dict[str, Tensor]:
    last = model.get_submodule(f"blocks.{model.shape.depth - 1}")
    places = {
        "attention": last.get_submodule("attention"),
        "mlp": last.get_submodule("mlp"),
        "stream": last,
    }
    found: dict[str, Tensor] = {}

    def keep(place: str) -> "torch.utils.hooks.RemovableHandle":
        def hook(_module: nn.Module, _inputs: object, output: Tensor | tuple[Tensor, ...]) -> None:
            found[place] = output if isinstance(output, Tensor) else output[0]

        return places[place].register_forward_hook(hook)

    handles = [keep(place) for place in places]
    found["logits"] = model.logits(x_BT)
    for handle in handles:
        handle.remove()
    return found


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: write numbers as 64,128") from error


def main(arguments: Sequence[str]) -> int:
    """Print one line a shape; exit code 0, or 2 where a shape is impossible."""
    parser = argparse.ArgumentParser(prog="python -m isoflop.training.coordinates")
    parser.add_argument("--kind", choices=("standard", "mup", "completep"), default="mup")
    parser.add_argument("--widths", type=_numbers, default=(64, 128, 256, 512))
    parser.add_argument("--depths", type=_numbers, default=(2,))
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--lr", type=float, default=1e-2)
    parser.add_argument("--steps", type=int, default=4)
    options = parser.parse_args(arguments)
    width, depth = options.widths[0], options.depths[0]
    own = Parametrisation(kind=options.kind, init_std=width**-0.5)
    try:
        if options.kind != "standard":
            own = replace(own, base_width=width, base_head_width=max(1, width // options.heads))
        if options.kind == "completep":
            own = replace(own, base_depth=depth)
        for shape in (_shape(w, d, options.heads) for w in options.widths for d in options.depths):
            found = coordinates(shape, own, lr=options.lr, n_steps=options.steps)
            line = {"width": found.width, "depth": found.depth, **found.change}
            sys.stdout.write(json.dumps(line) + "\n")
            sys.stdout.flush()
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


def _shape(width: int, depth: int, heads: int) -> ModelShape:
    return ModelShape(
        vocab_size=_VOCABULARY, width=width, depth=depth, n_heads=heads, ff_width=4 * width,
        context=_CONTEXT, **PRESETS["llama"],
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
