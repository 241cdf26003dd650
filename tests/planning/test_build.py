"""A planned size as a decoder with settings and a place: identities, published settings, limits."""

import json
import math
from dataclasses import asdict, replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from isoflop._errors import InputError
from isoflop._types import PROBLEM_CODES
from isoflop.accounting import (
    Architecture,
    Experts,
    ShapeRule,
    count_weights,
    find_accelerator,
    layout_faults,
    size_under,
    token_flops,
)
from isoflop.laws import find_published, near_optimal
from isoflop.planning import plan
from isoflop.planning.build import BuildWish, build
from isoflop.planning.hyperparameters import BatchRoom, advise, batch_room
from isoflop.planning.placement import FITS, Site, place

H100 = find_accelerator("H100-SXM")
LAW = replace(find_published("besiroglu").estimate, n_params_convention="non_embedding_with_head")
LLAMA_70B = Architecture(
    name="Llama-3-70B", n_layers=80, width=8192, n_heads=64, n_kv_heads=8, head_dim=128,
    ff_width=28672, vocab_size=128_256,
)  # fmt: skip
DEEPSEEK_7B = Architecture(
    name="DeepSeek-LLM-7B", n_layers=30, width=4096, n_heads=32, n_kv_heads=32, head_dim=128,
    ff_width=11008, vocab_size=102_400,
)  # fmt: skip
DEEPSEEK_67B = Architecture(
    name="DeepSeek-LLM-67B", n_layers=95, width=8192, n_heads=64, n_kv_heads=8, head_dim=128,
    ff_width=22016, vocab_size=102_400,
)  # fmt: skip
MIXTRAL = Architecture(
    name="Mixtral-8x7B", n_layers=32, width=4096, n_heads=32, n_kv_heads=8, head_dim=128,
    ff_width=14336, vocab_size=32_000,
    experts=Experts(n_experts=8, experts_per_token=2, ff_width=14336),
)  # fmt: skip


def built(n_params, n_tokens=None, *, n_devices=None, device=H100, near=None, **wish):
    """The build of a size, on 20 tokens a parameter unless told, all sizes near it allowed."""
    return build(
        LAW,
        n_params=n_params,
        n_tokens=20 * n_params if n_tokens is None else n_tokens,
        near=near or (n_params / 1.6, n_params * 1.6),
        device=device,
        n_devices=n_devices,
        wish=BuildWish(**wish),
    )


def site_of(one, device=H100):
    """Where it was placed."""
    return Site(device=device, context=one.context, room=batch_room(one.advice, one.context, None))


class TestShape:
    @pytest.mark.parametrize("n_params", [1e6, 3e7, 1e9, 7e9, 7e10, 4e11])
    def test_counts_are_those_of_the_decoder_and_6nd_is_kept(self, n_params):
        one = built(n_params)
        count = count_weights(one.architecture)
        assert one.counts.total == count.total
        assert one.counts.active == count.matmul_per_token
        assert one.counts.non_embedding == count.non_embedding
        assert one.n_params == one.counts.non_embedding_with_head == count.under()
        assert one.flops_6nd == pytest.approx(6 * n_params * 20 * n_params, rel=1e-12)
        assert one.flops_per_token == token_flops(one.architecture, one.context)
        assert one.flops == pytest.approx(one.flops_per_token * one.n_tokens)
        assert one.ratio == pytest.approx(one.flops / (6 * one.n_params * one.n_tokens))

    @pytest.mark.parametrize("convention", ["total", "non_embedding", "active"])
    def test_n_is_what_the_law_counts(self, convention):
        law = replace(LAW, n_params_convention=convention)
        one = build(law, n_params=2e9, n_tokens=4e10, near=(1.5e9, 3e9), device=H100)
        assert one.n_params == size_under(one.architecture, convention)
        assert one.n_params * one.n_tokens == pytest.approx(8e19)

    @pytest.mark.parametrize("flops", [1e21, 1e23, 1e25])
    def test_shape_loses_no_more_than_the_near_optimal_set(self, flops):
        """Loss at N of the shape over that at the optimum, on the same 6·N·D."""
        near = near_optimal(LAW, flops)[0]
        n_params = math.sqrt(near.n_low * near.n_high)
        one = built(n_params, flops / 6 / n_params, near=(near.n_low, near.n_high))
        assert near.n_low <= one.n_params <= near.n_high
        assert 0 <= one.loss_above <= near.share * (1 + 1e-6)

    @pytest.mark.parametrize("n_params", [3e9, 3e10, 7e10, 4e11])
    def test_large_shapes_divide_by_tiles_nodes_and_stages(self, n_params):
        shape = built(n_params).architecture
        assert (shape.width % 128, shape.n_heads % 8, shape.n_layers % 4) == (0, 0, 0)
        assert shape.n_kv_heads == 8
        assert 96 <= shape.width / shape.n_layers <= 170  # the rule's 128, a quarter either way

    def test_a_size_without_room_still_gets_a_round_shape(self):
        """The nearest decoder to 70 billion has 68 heads, which a node does not divide."""
        assert ShapeRule().nearest(7e10).n_heads == 68
        shape = built(7e10, near=(7e10, 7e10)).architecture
        assert shape.n_heads % 8 == 0
        assert size_under(shape, "unknown") == pytest.approx(7e10, rel=0.05)

    def test_the_nearest_decoder_where_no_size_is_allowed(self):
        """Tiny ones lie far apart."""
        one = built(2e6, near=(2e6, 2e6))
        assert one.architecture == ShapeRule().nearest(2e6)

    def test_tokens_that_are_fixed_stay(self):
        one = built(1e9, 3e10, fixed_tokens=True)
        assert one.n_tokens == 3e10

    def test_a_given_decoder_fixes_the_size(self):
        one = built(1e9, 1e12, architecture=LLAMA_70B, n_devices=1024)
        assert one.architecture is LLAMA_70B
        assert one.n_params * one.n_tokens == pytest.approx(1e21)

    def test_a_plan_too_small_for_a_decoder_says_so(self):
        made = plan(find_published("besiroglu"), flops=1e12, explain=True)
        assert made.build is None
        assert made.explanation is None
        assert "no_shape" in {problem.code for problem in made.problems}
        assert made.exact_flops == made.flops

    def test_no_shape_of_the_size_is_told(self):
        with pytest.raises(InputError, match="no decoder of this family has N near 1e"):
            built(1e5)


class TestSettings:
    def test_step_law_is_the_published_one(self):
        """Li et al. 2025, arXiv:2503.04715, rounded constants, N = 1e9, D = 1e11."""
        shape = ShapeRule().nearest(1e9, "non_embedding")
        size = size_under(shape, "non_embedding")
        advice = advise(shape, 1e11, context=4096, law="step_law", level=0.9)
        assert advice.batch_tokens.value == pytest.approx(1.1077e6, rel=1e-4)
        assert advice.lr.value == pytest.approx(1.6325e-3 * (size / 1e9) ** -0.713, rel=1e-4)
        assert advice.lr.low < advice.lr.value < advice.lr.high
        assert advice.beyond == pytest.approx(1)

    @pytest.mark.parametrize(
        ("shape", "lr", "sequences"), [(DEEPSEEK_7B, 4.2e-4, 2304), (DEEPSEEK_67B, 3.2e-4, 4608)]
    )
    def test_deepseek_chose_what_its_law_says(self, shape, lr, sequences):
        """DeepSeek LLM, arXiv:2401.02954, table 2: 2e12 tokens of 4096; printed to two digits.

        Batches are multiples of 2304, hence within a tenth.
        """
        advice = advise(shape, 2e12, context=4096, law="deepseek", level=0.9)
        assert advice.lr.value == pytest.approx(lr, rel=0.02)
        assert advice.batch_tokens.value / 4096 == pytest.approx(sequences, rel=0.1)

    def test_deepseeks_compute_is_its_papers(self):
        """72·L·d² + 12·L·d·T a token, 45.1e9 at 32 x 4096 (table 3), whatever the vocabulary."""
        shape = replace(DEEPSEEK_7B, n_layers=32, mlp_matrices=2, ff_width=4 * 4096)
        at = advise(shape, 1e20 / 45.1e9, context=4096, law="deepseek", level=0.9)
        assert at.lr.value == pytest.approx(9.860e-4, rel=1e-3)  # C = 1e20
        assert at.batch_tokens.value == pytest.approx(1.017e6, rel=2e-3)

    def test_batch_is_rounded_within_a_factor_two(self):
        one = built(3e9, 6e10, n_devices=64)
        law = one.advice.batch_tokens.value
        assert law / 2 <= one.batch_tokens.value <= 2 * law
        assert one.batch_tokens.value == one.batch_sequences * one.context
        assert one.steps.value * one.batch_tokens.value == pytest.approx(one.n_tokens)
        assert one.steps.low <= one.steps.value <= one.steps.high

    def test_a_given_batch_is_the_most(self):
        one = built(3e9, 6e10, n_devices=64, batch_tokens=1_000_000)
        assert one.batch_sequences == 192  # 244 in a million, 3 · 64 of them
        assert one.batch_tokens.low == one.batch_tokens.high == 192 * 4096

    def test_settings_beyond_their_sweep_are_told(self):
        (problem,) = built(7e10, n_devices=256).problems
        assert problem.code == "settings_off_law"
        assert problem.severity == "warning"
        assert "times beyond the sweep of step_law (n_params 6e+07 to 1.1e+09" in problem.text
        assert built(4e8, 1e10).problems == ()

    def test_a_batch_apart_from_its_law_is_told(self):
        (problem,) = built(4e8, 1e10, batch_tokens=4096 * 4).problems
        assert problem.code == "settings_off_law"
        assert "the learning rate goes with that one" in problem.text

    @given(wanted=st.floats(1, 1e5), multiple=st.integers(1, 5000), room=st.floats(1.0, 2.0))
    def test_rounding_takes_the_nearest_multiple(self, wanted, multiple, room):
        least, most = math.ceil(wanted / room), math.floor(wanted * room)
        found = BatchRoom(wanted=wanted, least=least, most=most).sequences(multiple)
        multiples = [m for m in range(multiple, most + 1, multiple) if m >= least]
        if found is None:
            assert not multiples
        else:
            nearest = min(abs(math.log(m / wanted)) for m in multiples)
            assert abs(math.log(found / wanted)) == pytest.approx(nearest)


class TestPlace:
    def test_llama_70b_on_1024_h100(self):
        """Trained at 16 million tokens a step on thousands of them (arXiv:2407.21783)."""
        one = built(7e10, 1.5e13, architecture=LLAMA_70B, n_devices=1024)
        assert one.p_fits >= FITS
        assert one.memory_gb.low < one.memory_gb.value < one.memory_gb.high <= 80
        assert one.layout.n_devices == 1024
        rate = one.flops_per_token * one.batch_tokens.value / one.step_s / 1024
        assert 0.25 < rate / (H100.bf16_tflops * 1e12) <= 0.39  # the prior of a step, and less

    def test_the_step_of_llama_405b_is_met_within_a_fifth(self):
        """400 TFLOP/s a device on 16,384 H100 at 16 Mi tokens of 8,192.

        Source: Llama 3, arXiv:2407.21783, table 4. Its layout had a pipeline, chosen by hand; the
        efficiency of a step is a prior with a spread of 0.22 in its logarithm.
        """
        shape = replace(LLAMA_70B, n_layers=126, width=16384, n_heads=128, ff_width=53248)
        one = built(
            4e11, 1.56e13, architecture=shape, n_devices=16_384,
            batch_tokens=2**24, rule=ShapeRule(context=8192),
        )  # fmt: skip
        assert one.p_fits >= FITS
        rate = one.flops_per_token * one.batch_tokens.value / one.step_s / 16_384
        assert rate / 1e12 == pytest.approx(400, rel=0.2)
        assert one.binds == "compute"

    @settings(deadline=None, max_examples=40)
    @given(log_n=st.floats(6, 11.5), power=st.integers(0, 12), odd=st.sampled_from([1, 3, 5]))
    def test_layouts_use_all_devices_and_divide(self, log_n, power, odd):
        n_devices = odd * 2**power
        try:
            one = built(10**log_n, n_devices=n_devices)
        except InputError:
            assume(False)
        layout = one.layout
        assert layout.n_devices == n_devices
        assert (
            layout_faults(
                one.architecture, layout, context=one.context, batch_sequences=one.batch_sequences
            )
            == ()
        )
        assert one.batch_sequences >= layout.dp * layout.micro_batch * layout.pp
        assert 0.05 <= one.p_fits <= 1
        tight = {problem.severity for problem in one.problems if problem.code == "memory_tight"}
        assert ("warning" in tight) == (one.p_fits < FITS)
        law = one.advice.batch_tokens.value / one.context
        assert max(1, law / 2 - 1) <= one.batch_sequences <= max(1, 2 * law)

    @settings(deadline=None, max_examples=25)
    @given(log_n=st.floats(9.3, 11))
    def test_more_devices_fit_no_worse(self, log_n):
        """Odds up to 0.9, where the fastest layout is taken instead."""
        odds = [0.0]
        shape = ShapeRule().nearest(10**log_n)
        for power in range(8):
            try:
                one = built(10**log_n, architecture=shape, n_devices=2**power)
            except InputError:
                odds.append(0.0)
            else:
                odds.append(min(one.p_fits, FITS))
        assert odds == sorted(odds)
        assert odds[-1] == FITS

    @pytest.mark.parametrize(("n_params", "most"), [(1e6, 8), (1e9, 8), (7e10, 64)])
    def test_the_fewest_devices_do(self, n_params, most):
        shape = ShapeRule().nearest(n_params)
        one = built(n_params, architecture=shape)
        assert one.p_fits >= FITS
        assert one.layout.n_devices <= most
        if one.layout.n_devices > 8:  # less than a node is not looked for
            half = place(shape, site_of(one), one.layout.n_devices // 2)
            assert half.p_fits < FITS

    def test_a_smaller_near_optimal_model_is_taken_where_the_first_does_not_fit(self):
        alone = built(8e9, n_devices=1, near=(2e9, 9e9))
        assert alone.p_fits >= FITS
        assert 2e9 <= alone.n_params < 6e9
        (told,) = [problem for problem in alone.problems if problem.code == "memory_tight"]
        assert told.severity == "note"
        assert "with odds of 0.00" in told.text
        assert built(8e9, n_devices=8, near=(2e9, 9e9)).n_params == pytest.approx(8e9, rel=0.1)

    def test_experts_are_spread(self):
        one = built(1e10, 1e12, architecture=MIXTRAL, n_devices=64)
        assert one.p_fits >= FITS
        assert one.ratio < 0.5  # 6·N·D counts the idle experts of this convention

    def test_tight_memory_is_told(self):
        one = built(7e10, architecture=LLAMA_70B, n_devices=16)
        assert one.p_fits < FITS
        (tight,) = [problem for problem in one.problems if problem.code == "memory_tight"]
        assert f"odds of {one.p_fits:.2f}" in tight.text
        assert "memory_tight" in PROBLEM_CODES

    def test_unknown_links_leave_the_time_open(self):
        device = find_accelerator("RTX-4090")
        assert built(1e9, device=device, n_devices=16).step is None
        assert built(1e9, device=device, n_devices=8).step_s > 0


class TestRefusals:
    @pytest.mark.parametrize(
        ("call", "says"),
        [
            (
                lambda: built(3e9, n_devices=100_000),
                r"cannot occupy n_devices=100000: it has work for \d+ at most. Give n_devices=2048",
            ),
            (lambda: built(3e9, n_devices=10**15), "it has work for"),
            (lambda: built(3e9, n_devices=1009), r"no layout on n_devices=1009.*n_devices=512"),
            (
                lambda: built(7e10, n_devices=1),
                r"does not fit into the memory of 1 × H100-SXM.*of 80 GB\. Give n_devices=\d+",
            ),
            (
                lambda: built(7e10, architecture=LLAMA_70B, batch_tokens=8192, n_devices=1),
                "No number of them that the batch can occupy does",
            ),
            (lambda: built(1e9, batch_tokens=100), "`batch_tokens >= context` must hold"),
            (lambda: built(1e9, batch_tokens=4096, micro_batch=2), "smaller micro_batch"),
            (lambda: built(1e9, hyperparameters="mine"), "one of step_law, deepseek"),
            (lambda: built(1e9, n_devices=0), "`n_devices >= 1` must hold"),
            (lambda: built(1e9, micro_batch=0), "`micro_batch >= 1` must hold"),
        ],
    )
    def test_one_line_names_value_and_remedy(self, call, says):
        with pytest.raises(InputError, match=says) as told:
            call()
        assert "\n" not in str(told.value)

    def test_the_number_of_devices_that_is_named_does(self):
        with pytest.raises(InputError) as told:
            built(7e10, architecture=LLAMA_70B, n_devices=2)
        enough = int(str(told.value).split("Give n_devices=")[1].split(",")[0])
        assert built(7e10, architecture=LLAMA_70B, n_devices=enough).p_fits >= FITS


def test_the_same_question_has_the_same_answer_which_is_plain_data():
    one = built(7e9, n_devices=64)
    assert one == built(7e9, n_devices=64)
    text = json.dumps(asdict(one), allow_nan=False)
    assert json.loads(text)["layout"]["dp"] == one.layout.dp
