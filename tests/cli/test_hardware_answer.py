"""A choice of hardware on the terminal: text as it is, what was left out, why there is no best."""

import io
import json

from rich.console import Console

from isoflop.accounting import Accelerator, ShapeRule
from isoflop.cli.answers import hardware
from isoflop.cli.output import plain
from isoflop.planning import hardware_options

OWN = Accelerator(
    name="[bold]ours[/bold]", bf16_tflops=400, memory_gb=80, bandwidth_gbps=2000, price_low=1,
    price_high=2, price_date="2026-11", source="a contract",
)  # fmt: skip


def chosen(**limits):
    model = ShapeRule().nearest(1e9)
    return hardware_options(
        1e21, model, context=4096, batch_tokens=1e6, accelerators=[OWN, "H100-SXM"], **limits
    )


def shown(choice):
    console = Console(file=io.StringIO(), width=150)
    for part in hardware(choice):
        console.print(part)
    return console.file.getvalue()


def test_names_are_text_and_the_best_is_marked():
    choice = chosen(max_days=60)
    text = shown(choice)
    # The name is the user's: never markup. It knows no links, so it stands alone.
    assert "× [bold]ours[/bold]" in text
    assert "More than a node of [bold]ours[/bold]" in text.replace("\n", " ")
    (line,) = [line for line in text.splitlines() if line.strip().startswith("*")]
    assert f"{choice.best.n_devices} × {choice.best.accelerator}" in line


def test_why_there_is_no_best_is_told():
    text = " ".join(shown(chosen(max_days=1e-3)).split())
    assert "disqualifying plan_impossible: The deadline of 0.001 days is not met" in text


def test_a_choice_is_json():
    choice = chosen(max_days=60)
    data = json.loads(json.dumps(plain(choice), allow_nan=False))
    assert data["best"]["accelerator"] == choice.best.accelerator
    assert len(data["options"]) == len(choice.options)
    assert data["options"][0]["days"]["value"] == choice.options[0].days.value
