"""Serving: cache bytes, latency, throughput and money, by identity, by hand and as published."""

from dataclasses import replace

import numpy as np
import pytest
from served_models import DEEPSEEK_V3, LLAMA_2_7B, LLAMA_8B, LLAMA_70B, LLAMA_405B, MIXTRAL

from isoflop._errors import InputError
from isoflop.accounting import (
    Accelerator,
    Architecture,
    Serving,
    count_weights,
    find_accelerator,
    inference_cost,
    kv_bytes,
    kv_bytes_per_token,
)
from isoflop.accounting.serving import decode_seconds, prefill_seconds, read_bytes

H100 = find_accelerator("H100-SXM")
CHAT = Serving(architecture=LLAMA_8B, accelerator=H100, input_tokens=1024, output_tokens=256)

# Bytes of bf16 cache a token. Llama-2-7B and Llama-3-8B and 70B: reference of the laws, section
# 13.4; Mixtral's keys are as Llama-3-8B's (arXiv:2401.04088, table 1); DeepSeek-V3: 61·(512 + 64)·2
# (arXiv:2412.19437, section 4.2); Llama-3.1-405B: 2·126·8·128·2.
CACHES = [
    (LLAMA_2_7B, 524_288), (LLAMA_8B, 131_072), (LLAMA_70B, 327_680), (LLAMA_405B, 516_096),
    (MIXTRAL, 131_072), (DEEPSEEK_V3, 70_272),
]  # fmt: skip


@pytest.mark.parametrize(("model", "expected"), CACHES, ids=lambda v: getattr(v, "name", ""))
def test_cache_as_published(model: Architecture, expected: int) -> None:
    assert kv_bytes_per_token(model) == expected
    assert kv_bytes_per_token(model, 1.0) == expected / 2
    assert kv_bytes(model, 1000) == 1000 * expected


def test_cache_of_full_attention_is_two_widths_a_layer() -> None:
    model = LLAMA_2_7B
    assert model.n_heads * model.head_dim == model.width
    for value_bytes in (1.0, 2.0, 4.0):
        expected = 2 * model.n_layers * model.width * value_bytes
        assert kv_bytes_per_token(model, value_bytes) == expected


def test_a_window_stops_the_cache() -> None:
    model = replace(LLAMA_2_7B, window=4096, window_fraction=0.75)  # as OLMo 3: 24 of 32 layers
    assert kv_bytes(model, 4096) == kv_bytes(LLAMA_2_7B, 4096)
    # 8 layers keep 10,000 positions, 24 keep 4,096; 2·4096·2 = 16,384 bytes each
    assert kv_bytes(model, 10_000) == (8 * 10_000 + 24 * 4096) * 16_384


def toy_device(**fields) -> Accelerator:
    given = {"bf16_tflops": 1.0, "bandwidth_gbps": 1.0, "memory_gb": 4.0, "scale_up_gbps": 300.0}
    given |= {
        "price_low": 1.0,
        "price_high": 4.0,
        "name": "toy",
        "price_date": "",
        "source": "made up",
    } | fields
    return Accelerator(**given)


TOY = Architecture(
    name="toy", n_layers=2, width=8, n_heads=2, n_kv_heads=1, head_dim=4, ff_width=16,
    vocab_size=32,
)  # fmt: skip


def test_hand_computed_times() -> None:
    serving = Serving(architecture=TOY, accelerator=toy_device(), input_tokens=10, output_tokens=4)
    # Weights 1704 (test_training_memory), less the embedding's 256: 1448, 2896 bytes. Cache
    # 2·2·4·2 = 32 bytes a token; halfway 12 tokens: 384 a request. 0.75 GB/s; 2·10 µs of layers.
    assert read_bytes(serving, 1, 5) == 2896
    # 0.6e12 FLOP/s: a token 2·(2·(192 + 384) + 256) + 2·2·(4 + 4)·2 layers·12 = 3584 FLOPs.
    arithmetic = 3 * 3584 / 0.6e12
    expected = (2896 + 3 * 384) / 0.75e9 + arithmetic + 2e-5
    assert decode_seconds(serving, 1, 3) == pytest.approx(expected, rel=1e-12)
    # Prompt: matrices 2·(1152·10 + 256), attention 2·2·(4 + 4)·2·(10·11/2) = 3520: 27,072 FLOPs.
    expected = 27_072 / 0.6e12 + 2896 / 0.75e9 + 2e-5
    assert prefill_seconds(serving, 1) == pytest.approx(expected, rel=1e-12)
    # Two devices halve weights, not the cache of one key head; 4 all-reduces of 10 µs and
    # 2·(1/2)·3·8·2 = 48 bytes over 300 GB/s.
    two = (2896 / 2 + 3 * 384) / 0.75e9 + arithmetic / 2 + 2e-5 + 4 * (1e-5 + 48 / 300e9)
    assert decode_seconds(serving, 2, 3) == pytest.approx(two, rel=1e-12)


def test_hand_computed_money() -> None:
    serving = replace(
        CHAT, price_usd_per_hour=(2.0, 8.0), utilisation=0.25, n_devices=2, input_share=0.75
    )
    cost = inference_cost(serving)
    # The middle of 2 and 8 USD is 4 USD an hour; two devices, a quarter used: 32 USD an hour.
    usd = cost.usd_per_million()
    assert cost.price() == pytest.approx(4.0)
    assert usd.input == pytest.approx(32e6 / 3600 / cost.input_tokens_per_s.median)
    assert usd.output == pytest.approx(32e6 / 3600 / cost.output_tokens_per_s.median)
    assert usd.blended == pytest.approx(0.75 * usd.input + 0.25 * usd.output)
    own_mix = inference_cost(replace(serving, input_share=None)).usd_per_million()
    assert own_mix.blended == pytest.approx(0.8 * usd.input + 0.2 * usd.output)  # 1024 : 256


def test_experts_read_what_a_batch_hits() -> None:
    serving = replace(CHAT, architecture=MIXTRAL)
    count = count_weights(MIXTRAL)
    dense = count.total - count.embedding - count.routed_experts
    for batch, hit in ((1, 2 / 8), (2, 1 - 0.75**2), (10_000, 1.0)):  # k/E = 2/8
        expected = 2 * (dense + hit * count.routed_experts)
        assert read_bytes(serving, 1, batch) == pytest.approx(expected, rel=1e-12)


def test_latency_falls_with_bandwidth_and_grows_with_the_batch() -> None:
    times = [
        decode_seconds(replace(CHAT, accelerator=replace(H100, bandwidth_gbps=gbps)), 1, 8)
        for gbps in (500, 1000, 2000, 4000)
    ]
    assert times == sorted(times, reverse=True)
    by_batch = [decode_seconds(CHAT, 1, batch) for batch in (1, 2, 8, 64, 512)]
    assert by_batch == sorted(by_batch)


def test_throughput_grows_until_compute_binds() -> None:
    # Without a cache to speak of a token costs FLOPs/peak + (weights read)/(B·bandwidth). Both are
    # equal at B = 0.6·989.5e12/(0.75·3350e9) = 236.3: half the throughput of endless batches.
    short = replace(CHAT, input_tokens=1, output_tokens=1)
    rates = {b: b / decode_seconds(short, 1, b) for b in (1, 50, 236, 1000, 10_000, 1_000_000)}
    assert list(rates.values()) == sorted(rates.values())
    peak = 0.6 * 989.5e12 / (2 * count_weights(LLAMA_8B).matmul_per_token)
    assert rates[236] == pytest.approx(peak / 2, rel=0.05)
    assert rates[1_000_000] == pytest.approx(peak, rel=0.01)


@pytest.mark.parametrize(
    ("device", "request_tokens", "batch", "measured_s"),
    [
        # vLLM, bf16, Llama-3.1-8B; A100: johnmusgrave.com/p/vllm-throughput-latency-sweep-on, 75
        # tokens/s; H100: yobitelcomm.github.io/bench/recipes/concurrency-sweep (prompts short).
        ("A100-SXM-40GB", (1024, 128), 1, 1 / 75),
        ("H100-SXM", (128, 128), 1, 6.48e-3),
        ("H100-SXM", (128, 128), 4, 6.59e-3),
    ],
)
def test_time_of_a_token_as_measured(device, request_tokens, batch, measured_s) -> None:
    serving = replace(
        CHAT,
        accelerator=find_accelerator(device),
        input_tokens=request_tokens[0],
        output_tokens=request_tokens[1],
    )
    # The constants were chosen with these rows, so this guards them and predicts nothing.
    assert decode_seconds(serving, 1, batch) == pytest.approx(measured_s, rel=0.05)


def test_the_batch_is_the_largest_that_fits_and_meets_the_limit() -> None:
    cost = inference_cost(replace(CHAT, n_devices=1))
    # 0.9·80 GiB less 2·8,030,261,248 bytes less 1.5 GiB, by 131,072·1,280 bytes: 355.2
    assert cost.batch == cost.batch_that_fits == 355
    limited = inference_cost(replace(CHAT, n_devices=1, max_token_s=0.02))
    assert limited.batch_that_fits == 355
    assert decode_seconds(CHAT, 1, limited.batch) <= 0.02
    assert decode_seconds(CHAT, 1, limited.batch + 1) > 0.02
    assert limited.output_tokens_per_s.median < cost.output_tokens_per_s.median


def test_the_number_of_devices_is_the_cheapest() -> None:
    serving = replace(CHAT, architecture=LLAMA_70B)
    chosen = inference_cost(serving)
    for n_devices in (2, 4, 8):  # 70B in bf16 needs two at least
        other = inference_cost(replace(serving, n_devices=n_devices))
        assert chosen.usd_per_million().blended <= other.usd_per_million().blended


def test_spreads_and_draws() -> None:
    cost = inference_cost(CHAT)
    assert cost.first_token_s.at(1.0) == pytest.approx(1.2 * cost.first_token_s.median)
    assert cost.token_s.at(-1.0) == pytest.approx(cost.token_s.median / 1.15)
    assert cost.output_tokens_per_s.high == pytest.approx(
        cost.output_tokens_per_s.median * 1.25**1.645, rel=1e-3
    )
    z = np.array([0.0, 1.0, -1.0])
    usd = cost.usd_per_million(z, z, np.array([0.5, 0.5, 0.5]))
    middle = cost.usd_per_million()
    assert usd.output[0] == pytest.approx(middle.output)
    assert usd.output[1] == pytest.approx(middle.output / 1.25)
    assert usd.input[2] == pytest.approx(middle.input * 1.2)
    low, high = cost.usd_interval()
    for name in ("input", "output", "blended"):
        assert getattr(low, name) < getattr(middle, name) < getattr(high, name)
    assert cost.usd_interval() == (low, high)


def test_without_a_link_a_replica_is_one_device() -> None:
    alone = replace(CHAT, accelerator=replace(H100, scale_up_gbps=None))
    assert inference_cost(alone).n_devices == 1
    with pytest.raises(InputError, match="no link between several H100-SXM is known"):
        inference_cost(replace(alone, n_devices=2))
    with pytest.raises(InputError, match="does not fit into the memory of 1 H100-SXM"):
        inference_cost(replace(alone, architecture=LLAMA_70B))
    assert inference_cost(replace(alone, n_devices=2, link_gbps=450.0)).n_devices == 2


def test_latent_cache_serves_many_but_copies_attention() -> None:
    serving = replace(
        CHAT, architecture=DEEPSEEK_V3, accelerator=find_accelerator("H200"), weight_bytes=1.0
    )
    attention = count_weights(DEEPSEEK_V3).attention
    one, eight = (read_bytes(serving, n, 10**6) for n in (1, 8))
    assert eight == pytest.approx((one - attention) / 8 + attention)
    assert inference_cost(serving).n_devices == 8


REFUSED = [
    ({"architecture": DEEPSEEK_V3}, r"DeepSeek-V3 with one request of 1280 tokens does not fit"),
    ({"n_devices": 16}, "devices_per_node=8"),
    ({"n_devices": 3}, "n_heads=32, n_devices=3"),
    ({"max_token_s": 1e-4}, "`max_token_s` = 0.0001 cannot be met"),
    ({"input_tokens": 0}, "input_tokens=0"),
    ({"output_tokens": 0}, "output_tokens=0"),
    ({"utilisation": 0.0}, "utilisation=0"),
    ({"utilisation": 1.5}, "utilisation=1.5"),
    ({"input_share": -0.1}, "input_share=-0.1"),
    ({"weight_bytes": 0.0}, "weight_bytes=0"),
    ({"link_gbps": -1.0}, "link_gbps=-1"),
    ({"price_usd_per_hour": (-1.0, 2.0)}, r"price_usd_per_hour`, but got \(-1.0, 2.0\)"),
    ({"price_usd_per_hour": (3.0, 2.0)}, r"\(3.0, 2.0\)"),
]


@pytest.mark.parametrize(("wrong", "words"), REFUSED, ids=lambda v: str(v)[:30])
def test_one_line_for_what_cannot_be(wrong, words) -> None:
    with pytest.raises(InputError, match=words) as told:
        inference_cost(replace(CHAT, **wrong))
    assert "\n" not in str(told.value)


def test_no_known_rent_is_told_when_money_is_asked_for() -> None:
    cost = inference_cost(replace(CHAT, accelerator=find_accelerator("B300-SXM")))
    with pytest.raises(InputError, match="no rent of B300-SXM is known"):
        cost.usd_per_million()
    with pytest.raises(InputError, match="context=0"):
        kv_bytes(LLAMA_8B, 0)
    with pytest.raises(InputError, match="value_bytes=0"):
        kv_bytes_per_token(LLAMA_8B, 0)
