"""Other tools' runs in our words and units: nothing guessed, every value's origin told."""

import math

import numpy as np
import pytest
from foreign_runs import CONFIG, N_GATED, N_PARAMS, VOCAB, curve, foreign, read, series, taken

from isoflop._errors import InputError
from isoflop.accounting import read_architecture
from isoflop.runs import Asked, ImportedRun, Missing
from isoflop.runs.presets import presets
from isoflop.runs.rows import imported_rows
from isoflop.runs.vocabulary import is_word


def without(*keys):
    return {key: value for key, value in CONFIG.items() if key not in keys}


def test_sizes_tokens_and_losses_with_their_origin():
    run = taken(foreign())
    assert run.n_params["non_embedding_with_head"] == N_PARAMS
    assert run.n_params["total"] > N_PARAMS
    # At step 0 no token had been seen: nothing to fit.
    assert run.points["step"].tolist() == list(range(10, 101, 10))
    np.testing.assert_array_equal(run.points["n_tokens"], 1000 * run.points["step"])
    np.testing.assert_array_equal(run.points["loss"], curve(range(10, 101, 10)))
    assert run.provenance["loss"] == "wandb/a: loss"
    assert "1.00 ln(32000)" in run.provenance["loss unit"]
    assert "d_model, n_layers, vocab_size" in run.provenance["n_params"]
    assert "batch_tokens 1000 times step" in run.provenance["n_tokens"]
    (row,) = imported_rows([run], "final")
    assert (row["n_params"], row["n_tokens"], row["loss"]) == (N_PARAMS, 1e5, curve([100])[0])
    assert row["flops"] == 6 * N_PARAMS * 1e5


def test_a_hugging_face_configuration_is_counted_as_its_file_is(tmp_path):
    config = {
        "model_type": "llama", "hidden_size": 256, "num_attention_heads": 4, "vocab_size": VOCAB,
        "num_key_value_heads": 2, "num_hidden_layers": 4, "intermediate_size": 688,
        "tie_word_embeddings": True, "batch_tokens": 1000,
    }  # fmt: skip
    import json

    from isoflop.accounting import count_weights

    (tmp_path / "config.json").write_text(json.dumps(config))
    counted = count_weights(read_architecture(tmp_path))
    run = taken(foreign(config=config))
    assert run.n_params["total"] == counted.total
    assert run.n_params["active"] == counted.matmul_per_token


def test_what_is_missing_is_asked_for_by_run_and_option():
    (one,) = read(foreign(config=without("vocab_size", "batch_tokens")))
    assert isinstance(one, Missing)
    text = " ".join(one.questions)
    assert "no vocab_size" in text
    assert "--n-params 'a=COUNT'" in text
    assert "--batch-tokens 'a=COUNT'" in text
    (two,) = read(foreign(metric="objective"))
    assert "--map 'NAME=loss'" in two.questions[0]
    assert "objective" in two.questions[0]


def test_the_users_word_holds():
    run = taken(
        foreign(config={}, metric="objective"),
        columns={"objective": "loss"},
        n_params=(("b*", 1.0e6), ("a*", 2.0e6)),
        batch_tokens=(("*", 512.0),),
        convention="total",
    )
    assert run.n_params == {"total": 2e6}
    assert run.points["n_tokens"][-1] == 51_200
    assert run.provenance["n_params"] == "--n-params"


def test_a_count_that_contradicts_the_settings_is_told():
    logged = foreign(summary={"parameter_count": 9e6, "throughput/total_gflops": 1.0})
    run = taken(logged)
    assert run.n_params["non_embedding_with_head"] == N_GATED
    assert any("total is logged as 9e+06" in text for text in run.problems)


@pytest.mark.parametrize(
    ("word", "factor"), [("flops", 1.0), ("gflops", 1e-9), ("petaflops", 1e-15)]
)
def test_flops_are_counted_in_ones(word, factor):
    steps = list(range(0, 101, 10))
    flops = [6 * N_PARAMS * 1000 * step * factor for step in steps]
    run = foreign(series={"loss": series(steps, curve(steps)), "C": series(steps, flops)})
    found = taken(run, columns={"C": word}).points["flops"]
    np.testing.assert_allclose(found, 6.0 * N_PARAMS * 1000 * np.array(steps[1:]), rtol=1e-14)
    # Under a wrong name they are asked about, not taken.
    wrong = {"flops": "gflops", "gflops": "flops", "petaflops": "flops"}[word]
    (one,) = read(run, columns={"C": wrong})
    assert isinstance(one, Missing)
    assert "6·N·D" in one.questions[0]


def test_losses_in_bits_are_seen_and_asked_about():
    steps = list(range(0, 101, 10))
    bits = foreign(series={"loss": series(steps, np.array(curve(steps)) / math.log(2))})
    (one,) = read(bits)
    assert isinstance(one, Missing)
    assert "--unit bits" in one.questions[0]
    np.testing.assert_allclose(taken(bits, unit="bits").points["loss"], curve(steps[1:]))
    assert taken(bits, unit="nats").points["loss"][0] == curve([10])[0] / math.log(2)


def test_tokens_that_are_sequences_are_asked_about():
    config = {**without("batch_tokens"), "batch_sequences": 8, "sequence_length": 125}
    steps = list(range(0, 101, 10))
    run = foreign(
        config=config,
        series={"loss": series(steps, curve(steps)), "seen": series(steps, np.array(steps) * 8)},
    )
    (one,) = read(run, columns={"seen": "n_tokens"})
    assert isinstance(one, Missing)
    assert "'seen=n_sequences'" in one.questions[0]
    assert taken(run, columns={"seen": "n_sequences"}).points["n_tokens"][-1] == 100_000
    # Without the counter: batch in sequences times length times steps.
    assert taken(run).points["n_tokens"][-1] == 100_000


def test_a_mean_of_domains_stands_for_the_loss_that_none_logged():
    steps = [50, 100]
    run = taken(
        foreign(series={
            "eval/lm/c4/CE loss": series(steps, [4.0, 3.0]),
            "eval/lm/pile/CE loss": series([100], [2.0]),
            "train/CE loss": series(range(0, 101, 10), curve(range(0, 101, 10))),
        })
    )  # fmt: skip
    assert run.provenance["names"] == "olmo_core"
    assert run.points["loss"][-1] == 2.5
    assert np.isfinite(run.points["loss"]).sum() == 1
    assert run.points["loss_c4"][-1] == 3.0
    assert run.points["train_loss"][-1] == curve([100])[0]
    assert any("mean of loss_c4, loss_pile" in text for text in run.problems)


def test_a_perplexity_alone_gives_the_loss():
    steps = range(0, 101, 10)
    run = taken(foreign(series={
        "val_ppl": series(steps, np.exp(curve(steps))), "train_loss": series(steps, curve(steps)),
    }))  # fmt: skip
    np.testing.assert_allclose(run.points["loss"], curve(steps[1:]), rtol=1e-14)
    assert any("ln of the perplexity" in text for text in run.problems)
    # A perplexity has no unit: --unit speaks of losses.
    bits = taken(foreign(series={"val_ppl": series(steps, np.exp(curve(steps)))}), unit="bits")
    assert bits.points["loss"][-1] == pytest.approx(curve([100])[0], rel=1e-14)


def test_a_training_loss_alone_is_taken_and_said_to_be_one():
    run = taken(foreign(metric="train_loss"))
    assert run.points["loss"][-1] == curve([100])[0]
    assert any("single batches" in text for text in run.problems)


def test_losses_of_two_tokenizers_are_told_apart():
    from isoflop.fitting import fit

    steps = range(0, 101, 10)
    runs = []
    for i in range(8):
        config = {**CONFIG, "d_model": 128 * (i + 1), "tokenizer": f"/home/me/{'ab'[i % 2]}.model"}
        logged = {"loss": series(steps, np.array(curve(steps)) - 0.1 * i)}
        runs.append(taken(foreign(str(i), config=config, series=logged)))
    rows = imported_rows(runs, "final")
    assert {row["tokenizer"] for row in rows} == {"a.model", "b.model"}
    table = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    found = fit(table, law="chinchilla", n_draws=20)
    assert "mixed_metrics" in {problem.code for problem in found.problems}


def test_diverged_unfinished_and_complete_runs():
    steps = list(range(0, 101, 10))
    bad = foreign(series={"loss": series(steps, [*curve(steps[:-1]), math.nan])})
    assert taken(bad).state == "diverged"
    assert imported_rows([taken(bad)], "final") == []
    assert len(imported_rows([taken(bad)], "any")) == 9
    for state, n_steps, final in (
        ("running", None, 0), ("failed", None, 0), ("done", None, 1), ("unknown", None, 1),
        ("running", 100, 1), ("done", 200, 0), ("unknown", 1000, 0),
    ):  # fmt: skip
        config = CONFIG if n_steps is None else {**CONFIG, "max_steps": n_steps}
        run = taken(foreign(state=state, config=config))
        assert len(imported_rows([run], "final")) == final, (state, n_steps)


def test_megatrons_last_evaluation_is_of_the_test_set():
    steps = [50, 100, 100]
    run = foreign(series={
        "lm loss": series(range(0, 101, 10), curve(range(0, 101, 10))),
        "lm loss validation": series(steps, [4.0, 3.0, 2.0]),
    })  # fmt: skip
    assert taken(run).points["loss"][-1] == 3.0


def test_megatrons_groups_of_queries_count_only_if_they_are_used():
    config = {
        "num_layers": 4, "hidden_size": 256, "num_attention_heads": 4, "num_query_groups": 1,
        "ffn_hidden_size": 1024, "padded_vocab_size": VOCAB, "global_batch_size": 8,
        "seq_length": 125, "untie_embeddings_and_output_weights": True, "swiglu": True,
    }  # fmt: skip
    steps = range(0, 101, 10)
    logged = {"lm loss": series(steps, curve(steps))}
    for grouped, n_params in ((False, N_GATED), (True, N_GATED - 4 * 2 * 256 * 192)):
        run = taken(foreign(config={**config, "group_query_attention": grouped}, series=logged))
        assert run.provenance["names"] == "megatron"
        assert run.n_params["non_embedding_with_head"] == n_params
        assert run.points["n_tokens"][-1] == 100 * 8 * 125


def test_a_mixture_is_counted_where_all_of_it_is_known():
    config = {**CONFIG, "gated": True, "n_experts": 8, "n_active_experts": 2, "expert_width": 512}
    run = taken(foreign(config=config), columns={n: n for n in config if "expert" in n})
    attention, head, router = 4 * 4 * 256**2, 256 * VOCAB, 4 * 256 * 8
    expert = 4 * 3 * 256 * 512
    counts = {name: attention + head + router + n * expert
              for name, n in (("active", 2), ("non_embedding_with_head", 8))}  # fmt: skip
    assert {name: run.n_params[name] for name in counts} == counts
    del config["n_active_experts"]
    (one,) = read(foreign(config=config), columns={n: n for n in config if "expert" in n})
    assert "not every part is known" in one.questions[0]


def test_nanochat_counts_its_own_steps():
    # The tracker counts calls of log(), of which some are of other metrics.
    calls = [0, 3, 7]
    run = foreign(
        config={"total_batch_size": 1000, "n_params_total": 5e6},
        series={
            "step": series(calls, [0, 50, 100]),
            "val/bpb": series(calls, [3.0, 1.2, 1.0]),
            "total_training_flops": series(calls, [0, 1.5e12, 3e12]),
        },
    )
    found = taken(run)
    assert found.points["step"].tolist() == [50, 100]
    assert found.points["n_tokens"].tolist() == [50_000, 100_000]
    assert found.points["bpb"].tolist() == [1.2, 1.0]
    (row,) = imported_rows([found], "final")
    assert row["bpb"] == 1.0


def test_steps_are_the_frameworks_where_wandb_counts_its_calls():
    """The Trainer's callback logs without a step: evaluations are calls of their own."""
    calls, steps = [0, 1, 2, 3], [50, 50, 100, 100]
    run = taken(foreign(series={
        "train/loss": series([0, 2], [5.0, 4.0]), "eval/loss": series([1, 3], [4.9, 3.9]),
        "train/global_step": series(calls, steps),
    }))  # fmt: skip
    assert run.provenance["names"] == "hf_trainer"
    assert run.points["step"].tolist() == [50, 100]
    assert run.points["loss"].tolist() == [4.9, 3.9]
    assert run.points["train_loss"].tolist() == [5.0, 4.0]


def test_rows_are_counted_alike_or_refused():
    whole = taken(foreign("a"))
    total = taken(foreign("b", config={**without("d_model"), "n_params_total": 5e6}))
    rows = imported_rows([whole, total], "final")
    assert {row["n_params_convention"] for row in rows} == {"total"}
    assert rows[0]["n_params"] == whole.n_params["total"]
    unknown = taken(foreign("c", config={**without("d_model"), "n_params": 5e6}))
    assert unknown.n_params == {"unknown": 5e6}
    with pytest.raises(InputError, match="counted in different ways"):
        imported_rows([whole, unknown], "final")
    with pytest.raises(InputError, match="'b': its parameters are not known as 'active'"):
        imported_rows([whole, total], "final", "active")


def test_a_mixture_is_counted_by_what_is_active():
    run = ImportedRun(
        id="m", tool="wandb", name="m", state="done",
        n_params={"total": 9e6, "non_embedding_with_head": 8e6, "active": 3e6},
        facts={}, points={"step": np.ones(1), "n_tokens": np.full(1, 1e6), "loss": np.full(1, 3.0)},
    )  # fmt: skip
    assert imported_rows([run], "final")[0]["n_params"] == 3e6


def test_presets_are_sound():
    assert {one.name for one in presets()} >= {
        "torchtitan", "olmo_core", "levanter", "nanochat", "megatron", "nemo", "litgpt",
        "hf_trainer", "generic",
    }  # fmt: skip
    for preset in presets():
        assert preset.source, preset.name
        assert preset.marks or preset.name == "generic"
        for word in (*preset.metrics.values(), *preset.config.values()):
            assert is_word(word.replace("*", "x")), (preset.name, word)
        assert set(preset.metrics).issuperset(preset.first_at_a_step)


NAMES = {
    "torchtitan": ("validation_metrics/loss", {"n_tokens_seen": 1000}),
    "olmo_core": ("eval/lm/c4/CE loss", {"throughput/total tokens": 1000}),
    "levanter": ("eval/loss", {"throughput/total_tokens": 1000,
                               "throughput/total_gflops": 6e-6 * N_PARAMS}),
    "megatron": ("lm loss validation", {"samples vs steps": 10}),
    "nemo": ("val_loss", {"consumed_samples": 10}),
    "litgpt": ("val_loss", {"total_tokens": 1000, "iter_time": 1}),
    "hf_trainer": ("eval/loss", {"train/num_input_tokens_seen": 1000, "train/global_step": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_every_framework_is_known_by_its_names(name):
    metric, counters = NAMES[name]
    steps = list(range(0, 101, 10))
    logged = {key: series(steps, np.array(steps) * per) for key, per in counters.items()}
    config = {**without("batch_tokens"), "n_params_total": 5e6, "seq_len": 100}
    run = taken(foreign(config=config, series={metric: series(steps, curve(steps)), **logged}))
    assert run.provenance["names"] == name
    assert run.points["n_tokens"][-1] == 100_000
    assert run.points["loss"][-1] == curve([100])[0]


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        (["a"], {}, "is not NAME=WORD"), (["=loss"], {}, "is not NAME=WORD"),
        (["a=nothing"], {}, "nothing is called 'nothing'"),
        ([], {"n_params": ["a=x"]}, "'x' is no count"), ([], {"n_params": ["-3"]}, "no count"),
        ([], {"batch_tokens": ["a=nan"]}, "no count"), ([], {"unit": "bytes"}, "nats or bits"),
        ([], {"convention": "all"}, "must be one of"),
    ],
)  # fmt: skip
def test_options_that_say_nothing_are_refused(columns, options, said):
    with pytest.raises(InputError, match=said):
        Asked.of(columns, **options)


def test_whole_curves_of_imported_runs_have_the_rate_between(tmp_path):
    from isoflop.runs import import_runs, read_curves
    from isoflop.runs.importing import Reading

    steps = list(range(0, 101, 10))
    rates = [1e-3 * min(1.0, (100 - step) / 50) for step in steps]
    run = taken(foreign(series={
        "val_loss": series([50, 100], [4.0, 3.0], 7.0), "train_loss": series(steps, curve(steps)),
        "lr": series(steps, rates),
    }))  # fmt: skip
    assert run.points["unix_s"][run.points["step"] == 50].tolist() == [7.0]
    import_runs(Reading(sources=(), runs=(run,), missing=(), bad=()), tmp_path)
    table = read_curves(tmp_path)
    seen = table["kind"] != "schedule"
    assert table["kind"][seen].tolist() == ["intermediate", "final"]
    assert table["loss"][seen].tolist() == [4.0, 3.0]
    assert table["lr"][~seen].tolist() == rates[1:]
    assert table["n_tokens"][~seen].tolist() == [1000.0 * step for step in steps[1:]]
    bare = taken(foreign("b"))
    import_runs(Reading(sources=(), runs=(bare,), missing=(), bad=()), tmp_path)
    with pytest.raises(InputError, match="'b': no learning rate was logged"):
        read_curves(tmp_path)
