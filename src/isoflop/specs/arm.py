"""`ArmSection`: another recipe for the same corpus, as what it changes in `[data]`."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from isoflop.specs.quality import QualitySection
from isoflop.specs.section import MAX_TOKENS, Section, require, require_within

if TYPE_CHECKING:
    from isoflop.specs.study import DataSection

Duplicates = Literal["near", "exact", "keep"]
BASE_ARM = "base"
"""The name of `[data]` itself among the arms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSection(Section):
    """One arm: the ladder is trained on it too, with the validation text of `[data]`."""

    name: str
    duplicates: Duplicates | None = None
    """In place of data.duplicates: `near`, `exact` or `keep`."""
    filters: bool = True
    """false: no domain's quality section holds in this arm."""
    quality: QualitySection | None = None
    """In place of every domain's own quality section."""
    domain_quality: Mapping[str, QualitySection] | None = None
    """In place of the quality sections of single domains, by name."""
    weights: Mapping[str, float] | None = None
    """In place of all domains' weights, by name; a domain left out has none."""
    temperature: float | None = None
    """In place of data.temperature and of all weights."""
    unique_tokens: Mapping[str, int] | None = None
    """In place of the unique_tokens of single domains, by name."""
    repeat: bool | None = None
    """In place of data.repeat."""

    def __post_init__(self) -> None:
        key = f"data.arms {self.name!r}"
        require(
            bool(self.name) and self.name.replace("_", "").isalnum() and self.name != BASE_ARM,
            "data.arms.name",
            self.name,
            f"letters, digits and _, and not {BASE_ARM!r}, which is [data] itself",
            "Rename the arm.",
        )
        require(
            self.filters or not (self.quality or self.domain_quality),
            f"{key}.filters",
            self.filters,
            "no quality beside it",
            "Leave one of them out.",
        )
        require(
            self.temperature is None or self.weights is None,
            f"{key}.temperature",
            self.temperature,
            "no weights beside it",
            "Leave one of them out.",
        )
        require_within(key, self, "temperature", 1e-3, 1e6)
        shares = tuple((self.weights or {}).values())
        require(
            self.weights is None or (min(shares, default=-1) >= 0 and sum(shares) > 0),
            f"{key}.weights",
            dict(self.weights or {}),
            "weights of 0 or more, one of them above 0",
            "Correct the weights.",
        )
        limits = tuple((self.unique_tokens or {}).values())
        require(
            all(1 <= limit <= MAX_TOKENS for limit in limits),
            f"{key}.unique_tokens",
            dict(self.unique_tokens or {}),
            "1 token or more each",
            "Correct the counts.",
        )


def arm_section(data: "DataSection", arm: ArmSection) -> "DataSection":
    """The `[data]` that an arm stands for: that of the study with the arm's changes.

    Raises:
        StudyError: an arm that names an unknown domain, or changes nothing.
    """
    _check_domains(data, arm)
    changed: dict[str, Any] = {"arms": (), "propose": None}
    for name in ("duplicates", "repeat"):
        if getattr(arm, name) is not None:
            changed[name] = getattr(arm, name)
    weights = arm.weights
    if arm.temperature is not None:
        weights = {domain.name: 1.0 for domain in data.domains}
        changed["temperature"] = arm.temperature
    elif weights is not None:
        changed["temperature"] = None
    domains = []
    for domain in data.domains:
        own: dict[str, Any] = {}
        if weights is not None:
            own["weight"] = float(weights.get(domain.name, 0.0))
        if not arm.filters:
            own["quality"] = None
        if arm.quality is not None:
            own["quality"] = arm.quality
        if domain.name in (arm.domain_quality or {}):
            own["quality"] = (arm.domain_quality or {})[domain.name]
        if domain.name in (arm.unique_tokens or {}):
            own["unique_tokens"] = (arm.unique_tokens or {})[domain.name]
        domains.append(replace(domain, **own))
    section = replace(data, domains=tuple(domains), **changed)
    require(
        section != replace(data, arms=(), propose=None),
        "data.arms.name",
        arm.name,
        "an arm that changes something of [data]",
        "Give it weights, duplicates, a quality section, unique_tokens or repeat.",
    )
    return section


def _check_domains(data: "DataSection", arm: ArmSection) -> None:
    known = [domain.name for domain in data.domains]
    for key in ("weights", "domain_quality", "unique_tokens"):
        unknown = sorted(set(getattr(arm, key) or {}) - set(known))
        require(
            not unknown,
            f"data.arms {arm.name!r}.{key}",
            unknown,
            f"domains among {', '.join(known)}",
            "Correct the name.",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposeSection(Section):
    """Once the arms are trained: the weights that a mixture law holds best, and a run of them."""

    target: str | Mapping[str, float]
    """The domain whose validation loss is to be lowest; or several with what each counts."""
    width: int | None = None
    """Width of the run that tests the proposal, one of the ladder's; left out, the largest."""
    tokens: int | None = None
    """Its tokens, one of the ladder's horizons; left out, that width's longest."""
    max_shares: Mapping[str, float] | None = None
    """Highest shares by domain. Without data.repeat, a domain's tokens bound its share too."""

    def __post_init__(self) -> None:
        limits = self.max_shares or {}
        require(
            all(0 <= limit <= 1 for limit in limits.values()),
            "data.propose.max_shares",
            dict(limits),
            "shares from 0 to 1",
            "Correct the shares.",
        )
        counts = {self.target: 1.0} if isinstance(self.target, str) else self.target
        require(
            bool(counts) and min(counts.values()) > 0,
            "data.propose.target",
            self.target,
            "a domain, or domains with numbers above 0",
            "Name what the mixture is for.",
        )
        require_within("data.propose", self, "width", 1, 10**6)
        require_within("data.propose", self, "tokens", 1, MAX_TOKENS)
