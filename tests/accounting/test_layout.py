"""Layouts: what divides, and which exist for a number of devices."""

import math
from dataclasses import replace

import pytest
from served_models import DEEPSEEK_V3, LLAMA_8B, LLAMA_70B, MIXTRAL

from isoflop._errors import InputError
from isoflop.accounting import Layout, layout_faults, layouts

CASES = [
    # (model, layout, batch, words of the sentence)
    (LLAMA_8B, Layout(tp=3), None, "n_heads = 32 is not a multiple of tp = 3"),
    (LLAMA_8B, Layout(pp=3), None, "n_layers = 32 is not a multiple of pp * virtual_stages = 3"),
    (LLAMA_8B, Layout(pp=4, virtual_stages=3), None, "virtual_stages = 12"),
    (LLAMA_8B, Layout(virtual_stages=2), None, "needs a pipeline, but pp=1"),
    (LLAMA_8B, Layout(cp=3), None, "context = 8192 is not a multiple of cp = 3"),
    (LLAMA_8B, Layout(dp=4, ep=4), None, "Llama-3.1-8B has none"),
    (MIXTRAL, Layout(dp=16, ep=16), None, "n_experts = 8 is not a multiple of ep = 16"),
    (MIXTRAL, Layout(dp=2, ep=4), None, "dp * cp = 2 is not a multiple of ep = 4"),
    (LLAMA_8B, Layout(dp=8, micro_batch=2), 24, "24 is not a multiple of dp * micro_batch = 16"),
    (LLAMA_8B, Layout(dp=64), 32, "some ranks would have nothing to do"),
    (LLAMA_8B, Layout(dp=2, pp=4, virtual_stages=2), 4, "micro-batches of a step = 2"),
    (DEEPSEEK_V3, Layout(pp=16), None, "n_layers = 61"),
]


@pytest.mark.parametrize(("model", "layout", "batch", "words"), CASES, ids=lambda v: str(v)[:12])
def test_one_sentence_a_fault(model, layout, batch, words):
    faults = layout_faults(model, layout, context=8192, batch_sequences=batch)
    assert [fault for fault in faults if words in fault], faults
    assert all(fault.endswith(".") for fault in faults)


def test_key_heads_are_copied_when_ranks_are_a_multiple_of_them():
    assert not layout_faults(LLAMA_70B, Layout(tp=16), context=8192)
    twelve_keys = replace(LLAMA_70B, n_heads=48, n_kv_heads=12)
    assert "n_kv_heads = 12" in layout_faults(twelve_keys, Layout(tp=8), context=8192)[0]


@pytest.mark.parametrize("model", [LLAMA_8B, MIXTRAL], ids=lambda m: m.name)
@pytest.mark.parametrize("n_devices", [1, 12, 64])
def test_layouts_use_all_devices_and_have_no_fault(model, n_devices):
    found = layouts(n_devices, model, context=8192, batch_sequences=192, max_cp=2)
    assert len(set(found)) == len(found)
    for layout in found:
        assert layout.n_devices == n_devices
        assert layout.tp <= 8
        assert not layout_faults(model, layout, context=8192, batch_sequences=192)


def test_layouts_are_all_divisions():
    # 8 devices, 32 layers, 32 and 8 heads: tp·pp divides 8, i.e. (t, p) in 2^a·2^b, a + b <= 3:
    # 10 pairs. 9 of them leave dp > 1... those with a + b = 3 (4 pairs) have dp = 1, zero 0 only;
    # the other 6 come with zero 1 and 3. Each with three kinds of recomputation.
    found = layouts(8, LLAMA_8B, context=8192, batch_sequences=64)
    assert len(found) == (4 + 6 * 2) * 3
    experts = {layout.ep for layout in layouts(8, MIXTRAL, context=8192, batch_sequences=64)}
    assert experts == {1, 2, 4, 8}


def test_more_devices_than_sequences_and_layers_is_one_line():
    with pytest.raises(InputError, match=r"no layout of Llama-3\.1-8B on n_devices=2048") as told:
        layouts(2048, LLAMA_8B, context=8192, batch_sequences=1, devices_per_node=8)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("name", ["n_devices", "context", "batch_sequences", "max_cp"])
def test_counts_of_nothing_are_named(name):
    sizes = {"n_devices": 8, "context": 8192, "batch_sequences": 8, "max_cp": 1} | {name: 0}
    with pytest.raises(InputError, match=f"{name}=0"):
        layouts(architecture=LLAMA_8B, **sizes)


@pytest.mark.parametrize(
    "wrong",
    [{"dp": 0}, {"tp": -1}, {"micro_batch": 0}, {"zero": 4}, {"recompute": "some"},
     {"optimiser_bytes": -1.0}, {"gradient_bytes": math.nan}],
    ids=str,
)  # fmt: skip
def test_a_layout_that_cannot_be(wrong):
    (name,) = wrong
    with pytest.raises(InputError, match=name):
        Layout(**wrong)
