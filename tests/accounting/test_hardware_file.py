"""A user's hardware file: rows added and amended, mistakes named."""

import re
from pathlib import Path

import pytest

from conftest import REPOSITORY
from isoflop._errors import InputError
from isoflop.accounting import ACCELERATORS, find_accelerator, read_hardware

NEW = """
[[accelerators]]
name = "Hopper-Max"
bf16_tflops = 1100
memory_gb = 96
bandwidth_gbps = 4000.0
"""


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "own.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_a_new_row_is_added(written) -> None:
    table = read_hardware(written(NEW))
    assert table[:-1] == ACCELERATORS
    own = find_accelerator("hopper max", table)
    assert (own.bf16_tflops, own.memory_gb, own.bandwidth_gbps) == (1100, 96, 4000)
    assert own.price_low is None
    assert own.source == "own.toml"
    with pytest.raises(InputError, match="not known"):
        find_accelerator("hopper max")


def test_a_known_row_is_amended_and_keeps_the_rest(written) -> None:
    text = """
    [[accelerators]]
    name = "h100 sxm"
    price_low = 2.1
    price_high = 2.1
    price_date = "2026-11"
    """
    table = read_hardware(written(text))
    own, known = find_accelerator("H100-SXM", table), find_accelerator("H100-SXM")
    assert len(table) == len(ACCELERATORS)
    assert (own.price_low, own.price_high, own.price_date) == (2.1, 2.1, "2026-11")
    assert (own.name, own.fp8_tflops, own.tdp_w) == (known.name, known.fp8_tflops, known.tdp_w)
    assert own.source == f"own.toml; {known.source}"


def test_close_names_come_from_the_given_table(written) -> None:
    with pytest.raises(InputError, match="Hopper-Max"):
        find_accelerator("hoper-max", read_hardware(written(NEW)))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (NEW + "tdp = 700", r"accelerators\[1\]: unknown key tdp. Use some of: .*tdp_w"),
        (NEW + "tdp_w = -700", r"accelerators\[1\]: `tdp_w > 0` must hold, but got tdp_w = -700"),
        (NEW + "tdp_w = nan", "`tdp_w > 0` must hold"),
        (NEW + 'tdp_w = "700"', "tdp_w = '700' must be a number"),
        (NEW + "tdp_w = true", "tdp_w = True must be a number"),
        (NEW + "note = 3", "note = 3 must be a text"),
        (NEW + 'kind = "FPGA"', "kind = 'FPGA'. Use one of: GPU, TPU, ASIC, CPU"),
        (NEW + "release = 2025.5", "release = 2025.5 must be a year"),
        (NEW + "price_low = 2.0", "got only price_low. Add the others"),
        (
            NEW + 'price_low = 3.0\nprice_high = 2.0\nprice_date = "2026"',
            "price_low <= price_high",
        ),
        (NEW + NEW.replace("Hopper-Max", "hopper max"), r"accelerators\[2\]: name = 'hopper max'"),
        (NEW.replace("memory_gb = 96", ""), "the key memory_gb of 'Hopper-Max' is missing"),
        (NEW.replace('name = "Hopper-Max"', ""), "the key name is missing"),
        ("[[accelerator]]", "unknown key accelerator"),
        ("accelerators = 3", r"no \[\[accelerators\]\] row"),
        ("", r"no \[\[accelerators\]\] row"),
        ("[[accelerators]", "not valid TOML"),
    ],
)
def test_a_mistake_is_named_with_its_place(written, text, says) -> None:
    with pytest.raises(InputError, match=says) as caught:
        read_hardware(written(text))
    assert str(caught.value).count("\n") == 0
    assert "own.toml" in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.toml: cannot be read"):
        read_hardware(tmp_path / "none.toml")


def test_the_page_is_true(written) -> None:
    """Its file is read, and its table is that of the code."""
    page = (REPOSITORY / "docs" / "hardware.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```toml\n(.*?)^```", page, re.S | re.M)
    table = read_hardware(written(text))
    assert find_accelerator("wafer-x", table).tdp_w == 900
    assert find_accelerator("h100-sxm", table).price_low == 2.1
    lines = [line.strip("|").split("|") for line in page.splitlines() if line.count("|") == 11]
    shown = [[cell.strip() for cell in line] for line in lines[2:]]
    assert shown == [cells(accelerator) for accelerator in ACCELERATORS]


def cells(a):
    def number(value):
        return "" if value is None else f"{value:g}"

    peaks = (number(v) or "-" for v in (a.bf16_tflops, a.fp8_tflops, a.fp4_tflops))
    sizes = (a.memory_gb, a.bandwidth_gbps, a.scale_up_gbps, a.scale_out_gbit, a.tdp_w)
    rents = list(dict.fromkeys(number(v) for v in (a.price_low, a.price_high)))
    return [
        a.name,
        str(a.release),
        " / ".join(peaks),
        *map(number, sizes),
        "-".join(rents),
        a.price_date,
    ]
