"""Published laws of downstream error, as estimates; listed in `published.PUBLISHED`."""

from isoflop.laws._published import ROUNDED, Published, published
from isoflop.laws.downstream import ERROR_ON_LOSS


def _gadre_error(data: str, tasks: int, eps: float, k: float, gamma: float) -> Published:
    name = data.lower()
    return published(
        f"gadre_error_{name}_{tasks}",
        f"Mean error of {tasks} tasks on C4 loss, trained on {data}",
        ERROR_ON_LOSS,
        (eps, k, gamma),
        "Gadre et al. 2024, arXiv:2403.08540, released code",
        "The loss is that on C4 [nats/token], whatever the training data.",
        problems=(ROUNDED,),
    )


DOWNSTREAM = (
    _gadre_error("C4", 17, 0.850, 2.08, 0.756),
    _gadre_error("RedPajama", 17, 0.857, 2.21, 0.715),
    _gadre_error("RefinedWeb", 17, 0.865, 2.21, 0.707),
    _gadre_error("C4", 46, 0.759, 1.289, 0.972),
    _gadre_error("RedPajama", 46, 0.761, 1.323, 0.891),
    _gadre_error("RefinedWeb", 46, 0.768, 1.128, 0.822),
)
