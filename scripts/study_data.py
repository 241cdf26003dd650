"""What data treatment does to the law: four domains, eleven arms and the mixture they propose.

`make study-data` runs examples/data-arms.toml into study-data/ (under two hours on two cores;
resumable: run it again), prints the tables that docs/data.md discusses, and writes the records to
study-data/records/. With --from FOLDER it makes the same tables from such records.
"""

import argparse
import csv
import json
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from isoflop._types import Interval, Table
from isoflop.data import read_card
from isoflop.fitting import compare, compare_arms, fit
from isoflop.fitting.compare_arms import ArmComparison
from isoflop.reports.arms import arm_tables, proposal_rows
from isoflop.reports.rows import Rows
from isoflop.runs import read_runs
from isoflop.study import open_study
from isoflop.study.arms import arm_tables as tables_of_arms
from isoflop.study.arms import arms_of, proposal_outcome

STUDY = Path("examples/data-arms.toml")
PLACE = Path("study-data")
TARGETS = ("loss", "loss_speech", "loss_docs", "loss_legal", "loss_code")
SHIFT = ("docs_0", "docs_1", "docs_10", "base", "docs_heavy")
COLUMNS = ("run", "trunk", "kind", "n_params", "n_tokens", "flops", "n_unique_tokens", "lr")
TEN = 10.0


def main() -> None:
    """Run the study, or read its records; print the tables and, last, one line of figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--from", dest="records", type=Path)
    records = parser.parse_args().records
    if records is None:
        command = [sys.executable, "-m", "isoflop", "run", str(STUDY), "--into", str(PLACE)]
        code = subprocess.run(command, check=False, stdout=subprocess.DEVNULL).returncode
        if code not in (0, 3):
            raise SystemExit(code)
        records = write_records(PLACE / "records")
    tables, tested = read_records(records)
    report(tables, tested, records)


def write_records(folder: Path) -> Path:
    """Runs of every arm as one CSV, what each corpus holds, and the tested proposal."""
    study = open_study(PLACE)
    folder.mkdir(exist_ok=True)
    tables = tables_of_arms(study)
    names = [name for name in read_runs(study.runs) if name.startswith(("loss", "w_"))]
    with (folder / "runs.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["arm", *COLUMNS, *names])
        for arm, table in tables.items():
            columns = [np.asarray(table[name]).tolist() for name in (*COLUMNS, *names)]
            writer.writerows([arm, *row] for row in zip(*columns, strict=True))
    cards = {"base": study.data, **{arm.name: arm.corpus for arm in arms_of(study)}}
    held = {name: [asdict(d) for d in read_card(path).domains] for name, path in cards.items()}
    write_json(folder / "corpora.json", held)
    tested = proposal_outcome(study)
    if tested is not None:
        write_json(folder / "proposal.json", tested.to_json())
    shutil.copy(STUDY, folder / "study.toml")
    return folder


def write_json(path: Path, value: Any) -> None:
    """JSON that diffs line by line."""
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def read_records(folder: Path) -> tuple[dict[str, Table], dict[str, Any] | None]:
    """The tables of the arms, and the tested proposal."""
    rows = read_runs(folder / "runs.csv", kind="any")
    arms = list(dict.fromkeys(rows["arm"].tolist()))
    tables: dict[str, Table] = {
        arm: {name: column[rows["arm"] == arm] for name, column in rows.items() if name != "arm"}
        for arm in arms
    }
    path = folder / "proposal.json"
    return tables, json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def report(tables: Mapping[str, Table], tested: Mapping[str, Any] | None, records: Path) -> None:
    """Print every table and the last line."""
    made = compare_arms(
        tables, base="base", targets=TARGETS, progress=lambda share, label: say(share, label)
    )
    for rows in arm_tables(made.to_json()):
        show(rows)
    duplicates = compare(tables["raw_legal"], tables["legal_heavy"], target="loss_legal")
    show(shift_rows(made))
    show(repeated_rows(tables))
    line(f"raw_legal over legal_heavy on loss_legal: {told(duplicates.multiplier)}, constant "
          f"multiplier {told(duplicates.shared)}")  # fmt: skip
    words = [f"arms={len(made.arms)}", f"runs={sum(finals(table) for table in tables.values())}"]
    for arm in ("raw", "filtered", "repeated"):
        found = made.of(arm, "loss").against_base
        assert found is not None
        words.append(
            f"{arm}={found.shared.value:.3f}[{found.shared.low:.3f},{found.shared.high:.3f}]"
        )
    words.append(f"raw_legal={duplicates.shared.value:.3f}")
    if tested is not None:
        show(proposal_rows(tested))
        what = tested["proposal"]
        words += [
            f"proposed={what['loss']['value']:.4f}"
            f"[{what['loss']['low']:.4f},{what['loss']['high']:.4f}]",
            f"measured={tested['measured']:.4f}" if tested["measured"] else "measured=none",
        ]
    line(f"records: {records}")
    line(" ".join(words))


def shift_rows(made: ArmComparison) -> Rows:
    """The target domain's law as its weight in training grows."""
    rows = []
    for arm in SHIFT:
        one = made.of(arm, "loss_docs")
        run = one.largest
        place = {"n_params": [run.n_params * TEN**0.5], "n_tokens": [run.n_tokens * TEN**0.5]}
        far = one.fitted.predict(place)
        rows.append(
            (
                arm, told(one.floor), f"{run.loss:.4f}",
                f"{far.mean[0]:.3f} [{far.low[0]:.3f}, {far.high[0]:.3f}]",
            )
        )  # fmt: skip
    return Rows(
        title="Domain shift: loss on docs by the weight of docs in training [nats/token]",
        header=("arm", "floor E", "largest run", "forecast at 10 times its compute"),
        rows=tuple(rows),
    )


def repeated_rows(tables: Mapping[str, Table]) -> Rows:
    """Repeated tokens as effective ones: the law of repeated data on new and repeated runs."""
    both = [tables[name] for name in ("base", "repeated")]
    joined = {name: np.concatenate([np.asarray(t[name]) for t in both]) for name in both[0]}
    made = fit(joined, law="repeated")
    theta = made.theta
    rows = [(name, told(theta[name])) for name in theta]
    rows.append(("residual of log loss", f"{100 * made.estimate.sigma:.2f} %"))
    return Rows(
        title="Law of repeated data (Muennighoff et al. 2023) on base and repeated",
        header=("parameter", "value"),
        rows=tuple(rows),
    )


def finals(table: Table) -> int:
    """How many runs ended."""
    return int((np.asarray(table["kind"]) == "final").sum())


def told(value: Interval) -> str:
    """`1.23 [1.10, 1.35]`."""
    return f"{value.value:.3g} [{value.low:.3g}, {value.high:.3g}]"


def show(rows: Rows) -> None:
    """A table in plain text."""
    line(f"\n{rows.title}")
    cells = [rows.header, *rows.rows]
    widths = [max(len(row[k]) for row in cells) for k in range(len(rows.header))]
    for row in cells:
        line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def line(text: str) -> None:
    """One line of the result."""
    sys.stdout.write(f"{text}\n")


def say(share: float, label: str) -> None:
    """Progress on stderr."""
    sys.stderr.write(f"comparing: {100 * share:.0f} %, {label}\n")


if __name__ == "__main__":
    main()
