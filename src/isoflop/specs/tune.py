"""`TuneSection`: the small sweeps that give the ladder its learning rates and batches."""

from dataclasses import dataclass

from isoflop.specs.section import Section, require, require_within


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneSection(Section):
    """Sweeps of (lr, batch) at the corners of the ladder, before its pilots."""

    lr_step: float = 1.6
    """Factor between neighbouring learning rates of a sweep."""
    n_lr: int = 5
    """Learning rates of a corner at train.batch_tokens, around the rule of [train]; three at every
    other batch."""
    batch_step: int = 2
    """Factor between neighbouring batches; a sweep has train.batch_tokens, one below, one above."""
    max_share: float = 0.25
    """Compute of the first sweeps, at most this share of the pilots': sets the largest corner."""
    rounds: int = 3
    """Rounds of sweeps at most: a corner whose best rate lies at an edge is swept on from there."""
    batch: bool = True
    """Whether the rungs take the batch of the law, too (to whole contexts); else the rate alone."""

    def __post_init__(self) -> None:
        require_within("tune", self, "lr_step", 1.05, 10)
        require_within("tune", self, "batch_step", 2, 64)
        require_within("tune", self, "max_share", 0.001, 100)
        require_within("tune", self, "rounds", 1, 8)
        require(
            self.n_lr in (3, 5, 7, 9),
            "tune.n_lr",
            self.n_lr,
            "an odd number from 3 to 9",
            "5 is usual: the rule of [train] and two on either side.",
        )
