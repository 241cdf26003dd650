"""The trainer: obeys a `RunConfig` and knows no law. Started as a process, never imported above.

`python -m isoflop.training CORPUS RUN_DIR [RUN_DIR ...]` trains the run folders in order: a trunk
first, then the branches that cool down from its checkpoints.

What to use when:
- `Transformer`: the model, readable at one sitting.
- `Batches`: the deterministic order of training sequences, which can start anywhere.
- `Engine`: weights and optimiser and the step that moves them, without data or folders.
- `train_run`: one run folder from wherever it stands to its end.
- `World`: the processes that share one training.
"""

from isoflop.training.batches import Batches, ValidationSet
from isoflop.training.engine import Engine
from isoflop.training.loop import train_run
from isoflop.training.model import Transformer
from isoflop.training.world import World

__all__ = ["Batches", "Engine", "Transformer", "ValidationSet", "World", "train_run"]
