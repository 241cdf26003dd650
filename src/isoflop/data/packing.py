"""The documents of a corpus with what became of each, and packing them into a corpus folder."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop.data.card import DataCard, DomainCard
from isoflop.data.dedup import Duplicates
from isoflop.data.leaks import Leaks, record_leaks, write_record
from isoflop.data.quality_filter import Dropped, keep_reasons, on_card
from isoflop.data.shards import Split, shard_path, write_shard, write_text
from isoflop.data.sources import Documents
from isoflop.data.store import DocumentStore
from isoflop.data.token_store import TokenStore
from isoflop.data.tokenizer import Tokenizer
from isoflop.data.tokenizer_check import Fidelity, measure_fidelity

HELD_OUT = "held-out.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The documents of all domains in one row, with what became of them."""

    documents: DocumentStore
    domain: NDArray[np.int64]
    duplicates: Duplicates
    kept: NDArray[np.int64]
    """Documents that stay, ascending."""

    def kept_of(self, domain: int) -> NDArray[np.int64]:
        """Documents of a domain that stay."""
        return np.asarray(self.kept[self.domain[self.kept] == domain], dtype=np.int64)

    def cluster_names(self) -> list[bytes]:
        """Of each kept document, the smallest digest of its cluster: depends on no position."""
        first: dict[int, bytes] = {}
        component = self.duplicates.component
        for digest, cluster in zip(self.documents.digests, component.tolist(), strict=True):
            first[cluster] = min(first.get(cluster, digest), digest)
        return [first[cluster] for cluster in component[self.kept].tolist()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """What goes into the shards: tokens of each kept document and which are held out."""

    pool: Pool
    tokens: TokenStore
    """Of the kept documents, in their order."""
    held_out: frozenset[int]
    seed: int
    withheld: frozenset[int] = frozenset()
    """Of an arm: kept documents that share a duplicate cluster with held-out text."""
    leaks: Leaks | None = None
    """Train documents that hold protected text, where the recipe asks for a look."""

    @property
    def dropped(self) -> frozenset[int]:
        """Train documents left out for what 13-grams they share with protected text."""
        return self.leaks.dropped if self.leaks else frozenset()

    def members(self, domain: int, split: Split) -> list[int]:
        """Documents of a shard in seeded order; by content, so renaming files changes nothing."""
        members = [
            i
            for i in self.pool.kept_of(domain).tolist()
            if i not in self.dropped
            and i not in self.withheld
            and (i in self.held_out) == (split == "val")
        ]
        digests = self.pool.documents.take(np.array(members, dtype=np.int64)).digests
        return seeded_order(members, digests, self.seed)

    def tokens_of(self, documents: Sequence[int]) -> Iterator[NDArray[Any]]:
        """Tokens of each of some kept documents."""
        return map(self.tokens.tokens, self._places(documents).tolist())

    def n_tokens(self, documents: Sequence[int]) -> int:
        """Tokens of some kept documents in all."""
        return int(self.tokens.lengths[self._places(documents)].sum())

    def _places(self, documents: Sequence[int]) -> NDArray[np.int64]:
        return np.searchsorted(self.pool.kept, np.array(documents, dtype=np.int64))


def seeded_order(members: Sequence[int], digests: Sequence[bytes], seed: int) -> list[int]:
    """The members by hash of seed and content; copies of one text are spread, not neighbours."""
    copies: Counter[bytes] = Counter()
    keys = {}
    for i, digest in zip(members, digests, strict=True):
        mark = b"/%d" % copies[digest] if copies[digest] else b""
        keys[i] = hashlib.sha256(b"%d/%b%b" % (seed, digest, mark)).digest()
        copies[digest] += 1
    return sorted(members, key=keys.__getitem__)


def write_corpus(
    folder: Path,
    recipe_hash: str,
    domains: Sequence[Documents],
    packing: Packing,
    tokenizer: Tokenizer,
    dropped: Sequence[Dropped | None],
) -> DataCard:
    """Shards, tokenizer, records and, last, the card: a folder with a card is a whole corpus.

    What can fail for what a document is comes before the earlier card goes; records are replaced
    after it, so that none stands beside a card it does not belong to.
    """
    names = [domains[number].source.section.name for number in packing.pool.domain]
    record = record_leaks(packing.leaks, packing.pool.documents, names)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.json").unlink(missing_ok=True)
    tokenizer_sha256 = write_text(folder / "tokenizer.json", tokenizer.to_json())
    cards = tuple(
        on_card(_write_domain(folder, number, domain, packing), dropped[number])
        for number, domain in enumerate(domains)
    )
    total = hashlib.sha256(tokenizer_sha256.encode())
    for domain in cards:
        total.update(f"\n{domain.name} {domain.train_sha256} {domain.val_sha256}".encode())
    card = DataCard(
        **asdict(_fidelity(tokenizer, packing)),
        tokenizer=tokenizer.name,
        end_token=tokenizer.end_token,
        end_id=tokenizer.end_id,
        recipe_hash=recipe_hash,
        corpus_hash=total.hexdigest(),
        vocab_size=tokenizer.vocab_size,
        domains=cards,
        tokenizer_sha256=tokenizer_sha256,
        protected=packing.leaks.names if packing.leaks else (),
        short_passages=packing.leaks.short if packing.leaks else 0,
    )
    write_record(folder, record)
    write_text(folder / HELD_OUT, _held_out_text(packing, names))
    keep_reasons(folder, dropped)
    write_card(folder, card)
    return card


def _held_out_text(packing: Packing, names: Sequence[str]) -> str:
    """`domain sha256` of every held-out document: what an arm of the corpus must hold out too."""
    rows = sorted(f"{names[i]} {packing.pool.documents[i].digest.hex()}" for i in packing.held_out)
    return "".join(f"{row}\n" for row in rows)


def _fidelity(tokenizer: Tokenizer, packing: Packing) -> Fidelity:
    """Of the documents that a shard could hold: what an arm withholds is in none."""
    kept, documents = packing.pool.kept, packing.pool.documents
    withheld = np.isin(kept, np.array(sorted(packing.withheld), dtype=np.int64))
    places = np.flatnonzero(~withheld).tolist()
    return measure_fidelity(
        tokenizer,
        len(places),
        lambda i: packing.tokens.tokens(places[i]),
        lambda i: documents.text(int(kept[places[i]])),
    )


def _write_domain(folder: Path, number: int, domain: Documents, packing: Packing) -> DomainCard:
    pool, section = packing.pool, domain.source.section
    train, val = packing.members(number, "train"), packing.members(number, "val")

    def pack(split: Split, members: list[int]) -> tuple[int, str]:
        return write_shard(shard_path(folder, split, section.name), packing.tokens_of(members))

    train_tokens, train_sha256 = pack("train", train)
    val_tokens, val_sha256 = pack("val", val)
    mine = pool.domain == number
    sizes, n_bytes = np.bincount(pool.duplicates.component), pool.documents.n_bytes
    dropped = [i for i in packing.dropped if mine[i]]
    exact = np.array(pool.duplicates.exact, dtype=np.int64)
    near = np.array([removed for removed, _ in pool.duplicates.near], dtype=np.int64)
    return DomainCard(
        name=section.name,
        source=section.source,
        version=domain.source.version,
        licence=domain.source.licence,
        weight=section.weight,
        content_sha256=domain.content_sha256,
        short_documents=domain.short,
        unsampled_documents=domain.unsampled,
        replaced_documents=domain.replaced,
        documents=len(domain.documents),
        bytes=int(domain.documents.n_bytes.sum()),
        exact_duplicates=int(mine[exact].sum()),
        near_duplicates=int(mine[near].sum()),
        duplicate_bytes=sum(int(n_bytes[gone[mine[gone]]].sum()) for gone in (exact, near)),
        largest_cluster=int(sizes[pool.duplicates.component[mine]].max()),
        train_documents=len(train),
        train_tokens=train_tokens,
        val_documents=len(val),
        val_tokens=val_tokens,
        bytes_per_token=int(n_bytes[val].sum()) / val_tokens,
        train_sha256=train_sha256,
        val_sha256=val_sha256,
        contaminated_documents=len(dropped),
        contaminated_tokens=packing.n_tokens(dropped),
        withheld_documents=sum(bool(mine[i]) for i in packing.withheld),
        duplicate_tokens=packing.n_tokens(sorted(set(train).intersection(pool.duplicates.spared))),
        touched_documents=sum(bool(mine[i]) for i in packing.leaks.found) if packing.leaks else 0,
    )


def write_card(folder: Path, card: DataCard) -> None:
    """Replace `card.json` atomically."""
    write_text(folder / "card.json", json.dumps(card.to_json(), indent=2) + "\n")
