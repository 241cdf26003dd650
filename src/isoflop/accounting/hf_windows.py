"""Which layers of a Hugging Face model attend a sliding window."""

from collections.abc import Callable

from isoflop.accounting.hf_values import HfValues

Windowed = Callable[[HfValues, int], bool]
"""Whether a layer, counted from 0, has the window, where the file lists no `layer_types`."""


def window_of(c: HfValues, windowed: Windowed | None) -> tuple[int | None, float]:
    """Width of the sliding window and the share of layers that have it.

    Raises:
        InputError: a layer is neither full nor sliding attention.
    """
    layers, kinds = c.count("num_hidden_layers"), c.items("layer_types")
    if kinds is not None:
        known = all(kind in ("full_attention", "sliding_attention") for kind in kinds)
        if len(kinds) != layers or not known:
            raise c.wrong("layer_types", f"{layers} of full_attention or sliding_attention")
        n_windowed = kinds.count("sliding_attention")
    elif windowed is None or c.optional_count("sliding_window") is None:
        n_windowed = 0
    else:
        n_windowed = sum(windowed(c, layer) for layer in range(layers))
    return (c.count("sliding_window"), n_windowed / layers) if n_windowed else (None, 1.0)


def every_layer(c: HfValues, layer: int) -> bool:
    """Mistral and Mixtral."""
    return True


def upper_layers(c: HfValues, layer: int) -> bool:
    """Qwen: the layers from `max_window_layers` on, where windows are in use."""
    return c.flag("use_sliding_window", False) and layer >= c.number("max_window_layers", 28)


def every_second(c: HfValues, layer: int) -> bool:
    """Gemma 2: the first, third, ... layer."""
    return layer % 2 == 0


def three_of_four(c: HfValues, layer: int) -> bool:
    """OLMo 3: all but every fourth layer."""
    return (layer + 1) % 4 != 0


def five_of_six(c: HfValues, layer: int) -> bool:
    """Gemma 3: all but every sixth layer."""
    return (layer + 1) % c.count("sliding_window_pattern", 6) != 0
