"""Under muP and CompleteP a step moves activations alike at every width and depth."""

import json
from dataclasses import replace

import pytest

from isoflop.specs import ModelShape, Parametrisation
from isoflop.specs.shape import PRESETS
from isoflop.training.coordinates import coordinates, main

NARROW = ModelShape(
    vocab_size=256, width=64, depth=2, n_heads=4, ff_width=256, context=32, **PRESETS["llama"]
)
MUP = Parametrisation(kind="mup", base_width=64, base_head_width=16, init_std=0.125)
STANDARD = Parametrisation(kind="standard", init_std=0.125)
COMPLETEP = replace(MUP, kind="completep", base_depth=2)
WIDTHS = (64, 128, 256, 512)
PLACES = ("attention", "mlp", "stream", "logits")


def spread(own: Parametrisation, shapes: list[ModelShape]) -> dict[str, float]:
    """Largest over smallest change of activations over the shapes, by place."""
    found = [coordinates(shape, own, lr=1e-2, n_steps=3) for shape in shapes]
    changes = {place: [one.change[place] for one in found] for place in PLACES}
    assert all(value > 0.02 for values in changes.values() for value in values)
    return {place: max(values) / min(values) for place, values in changes.items()}


@pytest.fixture(scope="module")
def wide() -> list[ModelShape]:
    return [replace(NARROW, width=width, ff_width=4 * width) for width in WIDTHS]


@pytest.fixture(scope="module")
def deep() -> list[ModelShape]:
    return [replace(NARROW, depth=depth) for depth in (2, 4, 8, 16)]


@pytest.mark.parametrize("own", [MUP, COMPLETEP], ids=lambda own: own.kind)
def test_width_leaves_the_change_alone(own: Parametrisation, wide: list[ModelShape]) -> None:
    assert max(spread(own, wide).values()) < 1.4


def test_width_does_under_a_mixture_of_experts(wide: list[ModelShape]) -> None:
    mixed = [replace(shape, n_experts=4, n_shared_experts=1) for shape in wide[:3]]
    assert max(spread(MUP, mixed).values()) < 1.4


def test_standard_blows_up_with_width(wide: list[ModelShape]) -> None:
    """Eight times as wide: a layer's change grows about as the width does."""
    grown = spread(STANDARD, wide)
    assert min(grown["attention"], grown["mlp"], grown["stream"]) > 8
    assert grown["logits"] > 2


def test_depth_leaves_it_alone_under_completep_only(deep: list[ModelShape]) -> None:
    assert max(spread(COMPLETEP, deep).values()) < 2
    assert spread(MUP, deep)["stream"] > 4


def test_the_command_prints_a_line_a_shape(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--kind", "completep", "--widths", "16,32", "--depths", "1,2", "--steps", "1"]
    assert main(words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["width"], line["depth"]) for line in lines] == [
        (16, 1),
        (16, 2),
        (32, 1),
        (32, 2),
    ]
    assert main(["--widths", "18"]) == 2
    assert "width % n_heads" in capsys.readouterr().err
