"""The documents of a corpus with what became of each, and packing them into a corpus folder."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isoflop.data.card import DataCard, DomainCard
from isoflop.data.dedup import Duplicates, find_duplicates
from isoflop.data.documents import Document
from isoflop.data.engine import Engine
from isoflop.data.leaks import Leaks, record_leaks, write_record
from isoflop.data.quality_filter import Dropped, keep_reasons, on_card
from isoflop.data.shards import Split, Tokens, shard_path, write_shard, write_text
from isoflop.data.sources import Documents
from isoflop.data.tokenizer import Tokenizer
from isoflop.data.tokenizer_check import Fidelity, measure_fidelity
from isoflop.specs.arm import Duplicates as Which

HELD_OUT = "held-out.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """The documents of all domains in one row, with what became of them."""

    documents: tuple[Document, ...]
    domain: NDArray[np.int64]
    duplicates: Duplicates
    kept: tuple[int, ...]
    cluster_names: tuple[bytes, ...]
    """Digest of the first document of each one's cluster: does not depend on positions."""

    def kept_of(self, domain: int) -> list[int]:
        """Documents of a domain that stay."""
        return [i for i in self.kept if self.domain[i] == domain]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """What goes into the shards: tokens of each kept document and which are held out."""

    pool: Pool
    tokens: dict[int, Tokens]
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
        documents = self.pool.documents
        members = [
            i
            for i in self.pool.kept_of(domain)
            if i not in self.dropped
            and i not in self.withheld
            and (i in self.held_out) == (split == "val")
        ]
        return seeded_order(members, [documents[i].digest for i in members], self.seed)


def seeded_order(members: Sequence[int], digests: Sequence[bytes], seed: int) -> list[int]:
    """The members by hash of seed and content; copies of one text are spread, not neighbours."""
    copies: Counter[bytes] = Counter()
    keys = {}
    for i, digest in zip(members, digests, strict=True):
        mark = b"/%d" % copies[digest] if copies[digest] else b""
        keys[i] = hashlib.sha256(b"%d/%b%b" % (seed, digest, mark)).digest()
        copies[digest] += 1
    return sorted(members, key=keys.__getitem__)


def pool_documents(
    domains: Sequence[Documents],
    *,
    threshold: float,
    engine: Engine = "native",
    which: Which = "near",
    first: NDArray[np.bool_] | None = None,
) -> Pool:
    """Remove duplicates over all domains at once: a twin in another domain would leak as well.

    Args:
        domains: the documents; of two duplicates the one of the earlier domain stays.
        threshold: Jaccard similarity from which on two are near-duplicates.
        engine: where they are looked for.
        which: the duplicates that go.
        first: mask of documents that stay before those of any domain.
    """
    documents = tuple(document for domain in domains for document in domain.documents)
    home = [number for number, domain in enumerate(domains) for _ in domain.documents]
    rank = home if first is None else np.where(first, -1, home).tolist()
    duplicates = find_duplicates(
        [document.text for document in documents],
        [document.digest for document in documents],
        rank=rank,
        threshold=threshold,
        engine=engine,
    ).removing(which)
    names: dict[int, bytes] = {}
    for document, component in zip(documents, duplicates.component, strict=True):
        names[component] = min(names.get(component, document.digest), document.digest)
    return Pool(
        documents=documents,
        domain=np.array(home, dtype=np.int64),
        duplicates=duplicates,
        kept=duplicates.kept,
        cluster_names=tuple(names[component] for component in duplicates.component),
    )


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
    kept, documents = packing.pool.kept, packing.pool.documents
    return measure_fidelity(
        tokenizer, [packing.tokens[i] for i in kept], lambda place: documents[kept[place]].text
    )


def _write_domain(folder: Path, number: int, domain: Documents, packing: Packing) -> DomainCard:
    pool, section = packing.pool, domain.source.section
    train, val = packing.members(number, "train"), packing.members(number, "val")

    def pack(split: Split, members: list[int]) -> tuple[int, str]:
        path = shard_path(folder, split, section.name)
        return write_shard(path, (packing.tokens[i] for i in members))

    train_tokens, train_sha256 = pack("train", train)
    val_tokens, val_sha256 = pack("val", val)
    mine = pool.domain == number
    sizes = np.bincount(pool.duplicates.component)
    dropped = [i for i in packing.dropped if mine[i]]
    gone = [*pool.duplicates.exact, *(removed for removed, _ in pool.duplicates.near)]
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
        bytes=sum(document.n_bytes for document in domain.documents),
        exact_duplicates=sum(bool(mine[i]) for i in pool.duplicates.exact),
        near_duplicates=sum(bool(mine[i]) for i, _ in pool.duplicates.near),
        duplicate_bytes=sum(pool.documents[i].n_bytes for i in gone if mine[i]),
        largest_cluster=int(sizes[pool.duplicates.component[mine]].max()),
        train_documents=len(train),
        train_tokens=train_tokens,
        val_documents=len(val),
        val_tokens=val_tokens,
        bytes_per_token=sum(pool.documents[i].n_bytes for i in val) / val_tokens,
        train_sha256=train_sha256,
        val_sha256=val_sha256,
        contaminated_documents=len(dropped),
        contaminated_tokens=sum(len(packing.tokens[i]) for i in dropped),
        withheld_documents=sum(bool(mine[i]) for i in packing.withheld),
        duplicate_tokens=sum(
            len(packing.tokens[i]) for i in set(train).intersection(pool.duplicates.spared)
        ),
        touched_documents=sum(bool(mine[i]) for i in packing.leaks.found) if packing.leaks else 0,
    )


def write_card(folder: Path, card: DataCard) -> None:
    """Replace `card.json` atomically."""
    write_text(folder / "card.json", json.dumps(card.to_json(), indent=2) + "\n")
