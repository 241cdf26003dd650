"""One model, many sizes: from the N of one way of counting to that of another, through a shape."""

from dataclasses import replace

from isoflop.accounting import (
    FLOPS_PER_PARAM_TOKEN,
    Architecture,
    ShapeRule,
    attention_flops,
    size_under,
)

BLOCK_FLOPS = "block_flops/6"
"""A sixth of the training FLOPs a token of the blocks: scores of attention (unmasked) counted,
embedding and head not. Source: DeepSeek LLM 2024, arXiv:2401.02954, eq. 2, M/6."""

_ROUNDS = 12


def shape_of(rule: ShapeRule, n_params: float, counts: str) -> Architecture:
    """The decoder of the rule whose N, so counted, is nearest to `n_params`.

    Args:
        rule: the family of decoders.
        n_params: N.
        counts: a convention of parameters, "unknown" for `non_embedding_with_head`, or
            BLOCK_FLOPS.

    Raises:
        InputError: no decoder of the family is near.
    """
    if counts != BLOCK_FLOPS:
        return rule.nearest(n_params, counts)
    # Attention grows more slowly than matrices, so this closes in.
    found = rule.nearest(n_params, "non_embedding")
    for _ in range(_ROUNDS):
        of_count = count_under(found, counts, rule.context) / size_under(found, "non_embedding")
        if found == (found := rule.nearest(n_params / of_count, "non_embedding")):
            break
    return found


def count_under(architecture: Architecture, counts: str, context: int) -> float:
    """N of a decoder, so counted; `context` tokens matter to BLOCK_FLOPS alone."""
    if counts != BLOCK_FLOPS:
        return float(size_under(architecture, counts))
    scores = attention_flops(architecture, context, "exact_full") / FLOPS_PER_PARAM_TOKEN
    return size_under(architecture, "non_embedding") + scores


def growth(architecture: Architecture, counts: str, context: int) -> float:
    """d ln N / d ln width at a fixed aspect: 3 for blocks, 2 for scores, 1 for tables of tokens.

    Source: Pearce & Song 2024, arXiv:2406.12907 (N_total = N + omega N^(1/3)).
    """
    whole = count_under(architecture, counts, context)
    blocks = size_under(architecture, "non_embedding")
    if counts == BLOCK_FLOPS:
        return (3 * blocks + 2 * (whole - blocks)) / whole
    # Gains and biases, which one convention leaves out, are too few to matter.
    share = min(blocks / whole, 1.0)
    return 3 * share + (1 - share)


def with_vocabulary(rule: ShapeRule, architecture: Architecture) -> ShapeRule:
    """The rule with the vocabulary of a decoder, so that all are translated through one."""
    return replace(rule, vocab_size=architecture.vocab_size)
