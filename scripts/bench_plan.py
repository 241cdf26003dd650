"""The planner's accounting beside published models and trainings: `make bench-plan`.

Prints a line a model, then what misses most, and one last line of figures, all fractions:
`params_max_err` and `flops_max_err` over architectures.csv, published FLOPs of whole trainings
included; `hours_*` are those of `bench_plan_hours.py`. The line before has seconds: of a plan from
1,000 draws, of three (plain, served, short of text), of the shape, settings and layout of 70
billion parameters on 4,096 devices, and to the first words of `isoflop --help` and `isoflop plan`.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

import bench_plan_hours
from bench_plan_hours import read
from isoflop.accounting import (
    Architecture,
    Experts,
    LatentAttention,
    count_weights,
    find_accelerator,
    flops_6nd,
    token_flops,
)
from isoflop.laws import find_published
from isoflop.planning import plan
from isoflop.planning.build import build

PUBLISHED_6ND = ("GPT-3 175B", "Llama-3.1-405B", "PaLM 540B", "Falcon-180B", "LLaMA-65B")
"""Trainings whose published FLOPs are 6·N·D with the stored N, rounded to two to four digits."""

FLOPS_BAR = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """One number beside its truth."""

    model: str
    what: str
    got: float
    truth: float

    @property
    def error(self) -> float:
        """|got/truth − 1|."""
        return abs(self.got / self.truth - 1)


def main() -> int:
    """Print every figure; exit with 1 when counts or FLOPs miss their bars."""
    counts, flops = list(count_misses()), list(flops_misses())
    for miss in (*counts, *flops):
        say(f"{miss.model:<20} {miss.what:<24} {miss.got:.6g} {miss.truth:.6g} {miss.error:.1e}")
    worst = max(flops, key=lambda miss: miss.error)
    say(f"worst FLOPs: {worst.model}, {worst.what}")
    params_error = max(miss.error for miss in counts)
    figures = {"params_max_err": params_error, "flops_max_err": worst.error}
    hours = bench_plan_hours.hours_figures()
    say(" ".join(f"{name}={value:.3f}" for name, value in waits().items()))
    say(" ".join(f"{name}={value:.4g}" for name, value in {**figures, **hours}.items()))
    return int(params_error > 0 or worst.error > FLOPS_BAR)


def count_misses() -> Iterator[Miss]:
    """Matrices stored and matrices that multiply a token, for every row."""
    for row in read("architectures"):
        count = count_weights(architecture_of(row))
        for what, got, truth in (
            ("matrices", count.matrices, row["n_params_exact"]),
            ("matmul_per_token", count.matmul_per_token, row["n_matmul_per_token"]),
        ):
            yield Miss(model=row["model"], what=what, got=got, truth=int(truth))


def flops_misses() -> Iterator[Miss]:
    """FLOPs per token and of whole trainings, each in the convention of its column."""
    runs = {row["model"]: row for row in read("training_runs_truth")}
    for row in read("architectures"):
        model, name = architecture_of(row), row["model"]
        context, tokens = int(runs[name]["seq_len"]), float(runs[name]["D_tokens"])
        causal = token_flops(model, context)
        full = token_flops(model, context, "exact_full") * tokens
        for what, got, truth in (
            ("token, causal", causal, row["train_flops_per_token_exact_causal"]),
            ("training, causal", causal * tokens, runs[name]["flops_exact_causal"]),
            ("training, full", full, runs[name]["flops_exact_full"]),
        ):
            yield Miss(model=name, what=what, got=got, truth=float(truth))
        if name in PUBLISHED_6ND:
            got = flops_6nd(count_weights(model).total_active, tokens)
            # "3.76e24 (43,500 PF-days)": the number comes first
            truth = float(runs[name]["flops_published"].split()[0])
            yield Miss(model=name, what="published, 6ND", got=got, truth=truth)


def architecture_of(row: Mapping[str, str]) -> Architecture:
    """A row of architectures.csv."""
    number = {name: int(row[name] or 0) for name in ("n_heads", "n_kv_heads", "d_head", "d_ff")}
    latent, experts = latent_of(row), experts_of(row)
    fraction, _, window = row["window_fraction|window"].partition("|")
    return Architecture(
        name=row["model"],
        n_layers=int(row["n_layers"]),
        width=int(row["d_model"]),
        n_heads=number["n_heads"],
        n_kv_heads=number["n_heads"] if latent else number["n_kv_heads"],
        head_dim=latent.nope_dim + latent.rope_dim if latent else number["d_head"],
        ff_width=number["d_ff"],
        vocab_size=int(row["vocab"]),
        mlp_matrices=int(row["mlp_matrices"]),
        tied_head=row["tied_embeddings"] == "True",
        latent=latent,
        experts=experts,
        window=int(window) if window else None,
        window_fraction=float(fraction or 1),
        relative_position_matrix=row["relative_position_matrix"] == "True",
    )


def latent_of(row: Mapping[str, str]) -> LatentAttention | None:
    """Latent attention of a row, if it has it."""
    text = row["mla_q_rank|kv_rank|nope|rope|v"]
    if not text:
        return None
    q_rank, kv_rank, nope, rope, value = map(int, text.split("|"))
    return LatentAttention(
        q_rank=q_rank, kv_rank=kv_rank, nope_dim=nope, rope_dim=rope, v_dim=value
    )


def experts_of(row: Mapping[str, str]) -> Experts | None:
    """Experts of a row, if it has them."""
    if not row["n_experts"]:
        return None
    return Experts(
        n_experts=int(row["n_experts"]),
        experts_per_token=int(row["experts_per_token"]),
        ff_width=int(row["d_ff_expert"]),
        n_shared=int(row["n_shared_experts"] or 0),
        n_dense_layers=int(row["n_dense_layers"] or 0),
        every=int(row["moe_every"] or 1),
    )


def waits() -> dict[str, float]:
    """Seconds of a plan from 1,000 draws, served and not, and to the first words of the CLI."""
    rng = np.random.default_rng(0)
    law = find_published("besiroglu").estimate
    theta = law.best.theta
    draws = theta * np.exp(rng.normal(0, 0.01, size=(1000, len(theta))))
    source = replace(law, components=(replace(law.best, draws=draws),))
    began = time.perf_counter()
    plan(source, flops=1e24)
    plain = time.perf_counter() - began
    plan(source, loss=2.0, inference_tokens=1e13)
    plan(source, flops=1e24, unique_tokens=1e12)
    every = time.perf_counter() - began
    began = time.perf_counter()
    h100 = find_accelerator("H100-SXM")
    build(law, n_params=7e10, n_tokens=1.3e12, near=(5e10, 1e11), device=h100, n_devices=4096)
    placed = time.perf_counter() - began
    return {
        "plan_s": plain,
        "three_plans_s": every,
        "build_s": placed,
        "cli_first_s": until_output("--help"),
        "cli_plan_s": until_output("plan", "--law", "besiroglu", "--flops", "1e22"),
    }


def until_output(*words: str) -> float:
    """Seconds from the start of the command line to its first byte, the shortest of three."""
    found = []
    for _ in range(3):
        began = time.perf_counter()
        with subprocess.Popen([sys.executable, "-m", "isoflop", *words], stdout=-1) as process:
            assert process.stdout is not None
            process.stdout.read(1)
            found.append(time.perf_counter() - began)
    return min(found)


def say(text: str) -> None:
    """One line to the terminal."""
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
