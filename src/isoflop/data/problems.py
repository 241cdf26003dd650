"""What a corpus has to say against itself: too much was dropped, or not what its text says."""

from isoflop._types import Problem
from isoflop.data.card import DataCard
from isoflop.data.leaks import leak_problems
from isoflop.data.quality_filter import quality_problems
from isoflop.data.tokenizer_check import tokenizer_problems

LOST_SHARE = 0.5
"""A domain that loses more than this of its documents or bytes is not what its name says."""
CLUSTER_SHARE = 0.01
"""A cluster of more than this of all documents: a template or boilerplate, or runaway chains."""
CLUSTER_FLOOR = 20
"""Documents: in a small corpus a hundredth is a pair of twins, which is no alarm."""


def corpus_problems(card: DataCard) -> tuple[Problem, ...]:
    """Alarms of quality filters, removal of duplicates, decontamination and the tokenizer."""
    return (
        *quality_problems(card),
        *duplicate_problems(card),
        *leak_problems(card),
        *tokenizer_problems(card),
    )


def duplicate_problems(card: DataCard) -> tuple[Problem, ...]:
    """`mostly_duplicates` for each domain that lost more than half of its documents or bytes, and
    `large_cluster` if one duplicate cluster has more than 1 % of all documents (20 at least).

    Whole sources vanish by removal of duplicates where a tool follows chains of likeness or takes
    a template for the text; and whether it does so rightly, its user must see.
    """
    found = []
    for domain in card.domains:
        lost = (domain.exact_duplicates + domain.near_duplicates) / max(domain.documents, 1)
        lost_bytes = domain.duplicate_bytes / max(domain.bytes, 1)
        if max(lost, lost_bytes) > LOST_SHARE:
            found.append(
                Problem(
                    code="mostly_duplicates",
                    severity="warning",
                    text=f"The domain {domain.name!r} lost {lost:.0%} of its {domain.documents} "
                    f"documents and {lost_bytes:.0%} of its bytes as duplicates.",
                    remedy="Look at what went: raise data.jaccard if it should have stayed, put "
                    "the domain before the ones that it shares text with, or leave it out.",
                )
            )
    documents = sum(domain.documents for domain in card.domains)
    largest = max(card.domains, key=lambda domain: domain.largest_cluster)
    if largest.largest_cluster > max(CLUSTER_SHARE * documents, CLUSTER_FLOOR):
        found.append(
            Problem(
                code="large_cluster",
                severity="warning",
                text=f"One cluster of duplicates has {largest.largest_cluster} of {documents} "
                f"documents, some of them of {largest.name!r}: a template, or a chain of likeness.",
                remedy="Whole clusters go to one side of the split. Strip what the documents have "
                "in common before they are read, or raise data.jaccard.",
            )
        )
    return tuple(found)
