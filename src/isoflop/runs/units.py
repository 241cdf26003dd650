"""Whether numbers are in the units that they seem to be in, with the evidence for it."""

import math
from collections.abc import Mapping

import numpy as np

from isoflop.runs.foreign import Series
from isoflop.runs.segment import Segment
from isoflop.runs.sizes import number
from isoflop.runs.vocabulary import Asked

_EARLY = 10
"""By this step no training has left the loss of a uniform guess far behind."""
_NATS, _BITS = (0.9, 1.25), (1.34, 1.7)
"""First loss over ln(vocab): about 1 in nats, 1/ln 2 = 1.44 in bits."""
_EXACT = 0.01
_ORDERS = 30.0


def loss_evidence(segment: Segment, series: Mapping[str, Series]) -> tuple[str, str]:
    """(`nats`, `bits` or "" where nothing tells; the evidence): an untrained model guesses.

    Its loss is ln(vocab) nats, or log2(vocab) bits.
    """
    vocab = number(segment.facts.get("vocab_size"))
    if vocab is None or vocab < 2:
        return "", "the vocabulary is not known"
    for word in ("train_loss", "loss"):
        one = series.get(word)
        if one is None or not one.step.size or one.step[0] > _EARLY:
            continue
        first = float(one.value[0])
        ratio = first / math.log(vocab)
        said = f"{segment.keys[word]} begins at {first:.4g} = {ratio:.2f} ln({vocab:.0f})"
        if _NATS[0] <= ratio <= _NATS[1]:
            return "nats", said
        if _BITS[0] <= ratio <= _BITS[1]:
            return "bits", f"{said}, which is log2 of it"
    return "", "no loss from the first steps"


def loss_unit(segment: Segment, series: Mapping[str, Series], asked: Asked) -> tuple[str, str, str]:
    """The unit of the losses, how it is known, and what to ask where it must not be guessed."""
    seen, said = loss_evidence(segment, series)
    if asked.unit:
        against = f", against {said}" if seen not in ("", asked.unit) else ""
        return asked.unit, f"--unit {asked.unit}{against}", ""
    if seen == "bits":
        return "", "", f"its losses seem to be in bits ({said}). Say so with --unit bits or nats"
    return "nats", said if seen else f"taken as nats: {said}", ""


def tokens_question(segment: Segment, series: Mapping[str, Series]) -> str:
    """What to ask where a count of tokens counts sequences; "" where it does not."""
    one = series.get("n_tokens")
    batch, length = (number(segment.facts.get(w)) for w in ("batch_sequences", "sequence_length"))
    if one is None or batch is None or length is None or length <= 1 or not one.step.size:
        return ""
    step, count = float(one.step[-1]), float(one.value[-1])
    if step < 1 or not math.isfinite(count) or abs(count / step / batch - 1) > _EXACT:
        return ""
    key = segment.keys["n_tokens"]
    return (
        f"{key} grows by {batch:.0f} a step, which is its batch in sequences, not in tokens. "
        f"Say --map '{key}=n_sequences' or, if its tokens are meant, --batch-tokens"
    )


def flops_question(segment: Segment, flops: Series | None, expected: float) -> str:
    """What to ask where FLOPs are off 6·N·D by a thousand, million or billion."""
    if flops is None or not flops.value.size or not expected > 0:
        return ""
    last = float(flops.value[-1])
    if not last > 0 or not math.isfinite(last):
        return ""
    power = float(np.log10(expected / last))
    nearest = round(power / 3) * 3
    if nearest == 0 or abs(power) > _ORDERS or abs(power - nearest) > 1:
        return ""
    key = next((k for w, k in segment.keys.items() if w in ("flops", "gflops", "petaflops")), "")
    return (
        f"{key} ends at {last:.3g}, but 6·N·D is {expected:.3g}: off by 1e{nearest}. Say "
        f"--map '{key}=gflops' or petaflops or flops, or check parameters and tokens"
    )
