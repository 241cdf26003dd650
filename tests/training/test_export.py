"""Exported models give the same logits as `transformers`, whatever their parameters are."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from isoflop._errors import InputError
from isoflop.runs import RunFolder
from isoflop.specs import ModelShape, Parametrisation, RunConfig
from isoflop.specs.shape import PRESETS
from isoflop.training import Transformer, train_run
from isoflop.training.export import export_run, main, write_model
from isoflop.training.families import family_of
from optional import need_package

BASE = ModelShape(
    vocab_size=300, width=32, depth=2, n_heads=4, ff_width=48, context=16, **PRESETS["llama"]
)
GPT2 = replace(BASE, **PRESETS["gpt2"])
MUP = Parametrisation(
    kind="completep", base_width=8, base_depth=1, base_head_width=4, embedding_multiplier=1.7,
    attention_multiplier=1.3, output_multiplier=2.1,
)  # fmt: skip

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama 3": ("llama", {"n_kv_heads": 2, "rope_base": 5e5, "tied_head": True}),
    "llama, biases, embedding norm": ("llama", {"bias": True, "embedding_norm": True}),
    "llama, tied and normed": (
        "llama", {"tied_head": True, "embedding_norm": True, "norm_eps": None}
    ),
    "arcee": ("arcee", {"mlp": "relu2", "bias": True, "n_kv_heads": 1}),
    "qwen3": ("qwen3", {"qk_norm": True, "norm_eps": None, "embedding_norm": True}),
    "qwen3, own head": ("qwen3", {"qk_norm": True, "head_width": 12, "n_kv_heads": 2}),
    "mixtral": ("mixtral", {"n_experts": 4, "n_kv_heads": 2}),
    "qwen2-moe": ("qwen2_moe", {"n_experts": 4, "n_active_experts": 1, "n_shared_experts": 2}),
    "qwen3-moe": ("qwen3_moe", {"n_experts": 5, "n_active_experts": 3, "qk_norm": True}),
    "qwen3-moe, one": ("qwen3_moe", {"n_experts": 4, "n_active_experts": 1, "qk_norm": True}),
    "gpt2": ("gpt2", PRESETS["gpt2"]),
    "gpt2, shared keys": ("gpt2", {**PRESETS["gpt2"], "n_kv_heads": 2, "bias": False}),
    "gpt2, untied": ("gpt2", {**PRESETS["gpt2"], "tied_head": False}),
}  # fmt: skip


@pytest.fixture(scope="module")
def transformers() -> Any:
    """The package; must be there in CI, skips elsewhere."""
    need_package("transformers", "hf")
    import transformers

    return transformers


@pytest.fixture
def safetensors() -> None:
    """The package that writes; must be there in CI, skips elsewhere."""
    need_package("safetensors", "hf")


def perturbed(shape: ModelShape, own: Parametrisation) -> Transformer:
    """A model none of whose parameters is at its start, so that no zero hides an error."""
    torch.manual_seed(0)
    model = Transformer(shape, own)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


@pytest.mark.parametrize("own", [Parametrisation(), MUP], ids=["plain", "completep"])
@pytest.mark.parametrize("case", CASES)
def test_logits_are_those_of_transformers(
    transformers: Any, tmp_path: Path, case: str, own: Parametrisation
) -> None:
    family, fields = CASES[case]
    model = perturbed(replace(BASE, **fields), own)
    write_model(model, tmp_path)
    assert family_of(model.shape) == family
    theirs = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, attn_implementation="eager"
    )
    assert theirs.config.model_type == family
    assert sum(p.numel() for p in theirs.parameters()) >= sum(
        p.numel() for n, p in model.named_parameters() if "gain" not in n
    )
    x = torch.randint(0, 300, (3, 16))
    with torch.no_grad():
        expected, found = model.logits(x), theirs(x).logits
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_a_wrong_gain_would_be_seen(transformers: Any, tmp_path: Path) -> None:
    """The test above can fail: one gain of one layer off by a per cent is beyond its bar."""
    model = perturbed(replace(BASE, qk_norm=True), MUP)
    write_model(model, tmp_path)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    x = torch.randint(0, 300, (3, 16))
    with torch.no_grad():
        theirs.model.layers[0].self_attn.q_norm.weight.mul_(1.01)
        gap = (theirs(x).logits - model.logits(x)).abs().max()
    assert gap > 1e-4


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("token_shift", {"token_shift": True}),
    ("norm", {"norm": "layer"}),
    ("mlp", {"mlp": "gelu"}),
    ("qk_norm", {"mlp": "relu2", "qk_norm": True}),
    ("bias", {"qk_norm": True, "bias": True}),
    ("bias", {"n_experts": 4, "bias": True}),
    ("mlp", {"n_experts": 4, "mlp": "relu2"}),
    ("n_active_experts", {"n_experts": 4, "n_active_experts": 1}),
    ("n_shared_experts", {"n_experts": 4, "n_shared_experts": 1, "qk_norm": True}),
    ("head_width", {"n_heads": 3, "head_width": 10}),
    ("mlp", {"positions": "learned"}),
    ("norm", {"positions": "learned", "mlp": "gelu"}),
    ("embedding_norm", {**PRESETS["gpt2"], "embedding_norm": True}),
    ("qk_norm", {**PRESETS["gpt2"], "qk_norm": True}),
    ("n_experts", {**PRESETS["gpt2"], "n_experts": 2}),
    ("head_width", {**PRESETS["gpt2"], "head_width": 10}),
]


@pytest.mark.parametrize(("field", "fields"), REFUSED, ids=str)
def test_what_is_not_exact_is_refused_by_its_field(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=rf"^{field} = .*To export, train with"):
        family_of(replace(BASE, **fields))


@pytest.fixture
def trained(corpus: Path, tmp_path: Path, tiny_trunk: RunConfig, tiny_branch: RunConfig) -> Path:
    """A finished run of 60 steps in a study folder."""
    from isoflop.data import read_card

    shape = replace(tiny_trunk.shape, **PRESETS["llama"])
    data = replace(tiny_trunk.data, corpus_hash=read_card(corpus).corpus_hash)
    trunk = replace(tiny_trunk, shape=shape, data=data)
    branch = replace(tiny_branch, shape=shape, data=data, trunk=trunk.run_id)
    folders = [RunFolder.create(tmp_path / "runs", run) for run in (trunk, branch)]
    wish = {"threads": 1, "micro_batch": 0, "device": "cpu", "dtype": "float32",
            "compile": False, "checkpoint_seconds": 1e9}  # fmt: skip
    train_run(corpus, folders[0], holds=[branch.schedule.hold_tokens], wish=wish)
    train_run(corpus, folders[1], holds=[], wish=wish)
    return folders[1].path


def test_an_exported_run_scores_text_as_it_was_validated(
    transformers: Any, trained: Path, corpus: Path, tmp_path: Path
) -> None:
    """Loaded from its folder alone, as lm-eval does: the recorded loss comes out again."""
    result = export_run(trained, tmp_path / "hf", corpus)
    assert (result["model_type"], result["step"], result["tokenizer"]) == ("llama", 60, True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    from isoflop.data import load_tokenizer
    from isoflop.training import ValidationSet

    text = "the run of a small model tells how large models do"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert ids == load_tokenizer(corpus).encode(text)
    assert tokenizer.decode(ids) == text
    assert (tokenizer.eos_token_id, tokenizer.model_max_length) == (0, 16)
    point = RunFolder(trained).final()
    assert point is not None
    validation = ValidationSet.open(corpus, ["prose", "rhyme"], context=16)
    with torch.no_grad():
        for name, windows in zip(validation.names, validation.windows, strict=True):
            loss = torch.nn.functional.cross_entropy(
                theirs(windows[:, :-1]).logits.flatten(0, 1), windows[:, 1:].flatten()
            )
            assert float(loss) == pytest.approx(point.loss_by_domain[name], abs=1e-5)


@pytest.mark.usefixtures("safetensors")
def test_the_command_ends_with_two_and_writes_nothing_where_it_cannot(
    trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    to = tmp_path / "hf"
    assert main([str(trained), "--to", str(to)]) == 0
    assert json.loads(capsys.readouterr().out)["tokenizer"] is False
    assert sorted(path.name for path in to.iterdir()) == ["config.json", "model.safetensors"]
    assert main([str(trained), "--to", str(to)]) == 2
    assert "in use already" in capsys.readouterr().err
    assert main([str(tmp_path / "none"), "--to", str(tmp_path / "b")]) == 2
    for path in (trained / "checkpoints").iterdir():
        path.unlink()
    assert main([str(trained), "--to", str(tmp_path / "b")]) == 2
    assert "no checkpoint" in capsys.readouterr().err
    assert not (tmp_path / "b").exists()


@pytest.mark.usefixtures("safetensors")
def test_another_corpus_is_refused(trained: Path, corpus: Path, tmp_path: Path) -> None:
    config = RunFolder(trained).config()
    other = replace(config, data=replace(config.data, corpus_hash="other"))
    folder = RunFolder.create(tmp_path / "more", other)
    for path in (trained / "checkpoints").iterdir():
        (folder.checkpoints / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="not the corpus"):
        export_run(folder.path, tmp_path / "hf", corpus)


@pytest.mark.usefixtures("safetensors")
def test_a_run_of_an_arm_finds_the_arm(trained: Path, corpus: Path, tmp_path: Path) -> None:
    study = tmp_path / "study"
    config = RunFolder(trained).config()
    folder = RunFolder.create(study / "runs", config)
    for path in (trained / "checkpoints").iterdir():
        (folder.checkpoints / path.name).write_bytes(path.read_bytes())
    shutil.copytree(corpus, study / "data" / "arms" / "raw")
    shutil.copytree(corpus, study / "data", dirs_exist_ok=True)
    base = study / "data" / "card.json"
    card = json.loads(base.read_text())
    base.write_text(json.dumps({**card, "corpus_hash": "of the base"}))
    assert export_run(folder.path, tmp_path / "hf")["tokenizer"] is True
