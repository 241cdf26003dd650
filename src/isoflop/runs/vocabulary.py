"""Words that foreign names are mapped to, and the options that say what a name means."""

import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from isoflop._errors import InputError
from isoflop.accounting.params import PARAM_CONVENTIONS

MEASURED = ("loss", "train_loss", "bpb", "perplexity", "lr", "n_unique_tokens")
"""Series kept as points."""
PROGRESS: Mapping[str, tuple[str, float]] = {
    "n_tokens": ("n_tokens", 1.0),
    "flops": ("flops", 1.0),
    "gflops": ("flops", 1e9),
    "petaflops": ("flops", 1e15),
    "n_sequences": ("n_sequences", 1.0),
}
"""Series that count how far a training is: the quantity and the factor to count it in ones."""
BY_NAME = ("loss_", "acc_", "task_loss_")
"""Series of one domain or task each."""
COUNTS = ("n_params", *(f"n_params_{name}" for name in PARAM_CONVENTIONS))
SHAPE = (
    "width", "depth", "n_heads", "n_kv_heads", "head_dim", "ff_width", "vocab_size", "tied_head",
    "untied_head", "gated", "n_experts", "n_active_experts", "expert_width", "grouped_queries",
    "shared_width", "experts_every",
)  # fmt: skip
SETTINGS = (
    "batch_tokens", "batch_sequences", "sequence_length", "n_steps", "lr", "seed", "schedule",
    "tokenizer", "trunk",
)  # fmt: skip
LABELS = ("run", "step", "group", "name", "state")
"""Columns of a table that say which run and which of its points a row is."""
FACTS = (*COUNTS, *SHAPE, *SETTINGS)
_WRAPPERS = ("config.", "config/", "args.", "args/", "hparams.", "hyperparameters.")
"""What stands before the names of settings and means nothing."""
UNITS = ("nats", "bits")


def is_series(word: str) -> bool:
    """Whether the word means something that is measured along a run."""
    return word in MEASURED or word in PROGRESS or word.startswith(BY_NAME)


def is_word(word: str) -> bool:
    """Whether anything is called so."""
    return is_series(word) or word in FACTS or word in LABELS


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the user says about the sources, where they do not say it themselves."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Foreign name -> word."""
    n_params: tuple[tuple[str, float], ...] = ()
    """(pattern of a run's id or name, parameters); the first that fits holds."""
    batch_tokens: tuple[tuple[str, float], ...] = ()
    convention: str = ""
    """What plain `n_params` of sources and options counts."""
    unit: str = ""
    """`nats` or `bits` a token: the losses'."""

    def __post_init__(self) -> None:
        for name, word in self.columns.items():
            if not is_word(word):
                raise InputError(
                    f"--map {name}={word}: nothing is called {word!r}. Map it to one of: "
                    f"{', '.join((*MEASURED, *PROGRESS, *FACTS, *LABELS))}, loss_<domain>, "
                    "acc_<task>."
                )
        if self.convention and self.convention not in PARAM_CONVENTIONS:
            raise InputError(
                f"`convention` must be one of {', '.join(PARAM_CONVENTIONS)}, "
                f"but got {self.convention!r}. Use one of these names."
            )
        if self.unit and self.unit not in UNITS:
            raise InputError(
                f"`unit` must be nats or bits, but got {self.unit!r}. Say what one token's loss "
                "is measured in."
            )

    @staticmethod
    def of(
        columns: Sequence[str] = (),
        *,
        n_params: Sequence[str] = (),
        batch_tokens: Sequence[str] = (),
        convention: str = "",
        unit: str = "",
    ) -> "Asked":
        """From the texts of the command line.

        Raises:
            InputError: a text that is not NAME=WORD or [RUN=]COUNT, or an unknown word.
        """
        return Asked(
            columns=dict(_pair("--map", text, "NAME=WORD") for text in columns),
            n_params=tuple(_counted("--n-params", text) for text in n_params),
            batch_tokens=tuple(_counted("--batch-tokens", text) for text in batch_tokens),
            convention=convention,
            unit=unit,
        )


def given_for(pairs: Sequence[tuple[str, float]], *names: str) -> float | None:
    """The count of the first pattern that fits one of a run's names."""
    for pattern, count in pairs:
        if any(fnmatch.fnmatchcase(name, pattern) for name in names):
            return count
    return None


def slug(text: str) -> str:
    """A foreign name as the end of a column's: letters, digits and underscores."""
    return re.sub(r"[^0-9a-z]+", "_", text.lower()).strip("_")


def meaning(name: str, names: Mapping[str, str]) -> str | None:
    """The word for a foreign name; a pattern with `*` names its domain."""
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    if name in names:
        return names[name]
    for pattern, word in names.items():
        if "*" in pattern and word.endswith("*"):
            head, tail = pattern.split("*", 1)
            middle = name[len(head) : len(name) - len(tail)]
            if name == f"{head}{middle}{tail}" and middle:
                return f"{word[:-1]}{slug(middle)}"
    return None


def _pair(option: str, text: str, form: str) -> tuple[str, str]:
    # A foreign name may hold "=", a word never does.
    name, sign, word = text.rpartition("=")
    if not sign or not name or not word:
        raise InputError(
            f"{option} {text}: is not {form}. Give both, as in {option} tokens=n_tokens."
        )
    return name, word


def _counted(option: str, text: str) -> tuple[str, float]:
    pattern, number = _pair(option, text, "[RUN=]COUNT") if "=" in text else ("*", text)
    try:
        count = float(number)
    except ValueError:
        count = float("nan")
    if not 1 <= count < 1e30:
        raise InputError(f"{option} {text}: {number!r} is no count. Give one, as in 1.24e8.")
    return pattern, count
