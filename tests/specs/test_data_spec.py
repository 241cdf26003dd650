"""Unique tokens of a mixture: closed form, and ids that older runs keep."""

import json

from isoflop.specs import DataSpec, RunConfig

HAVE = {"a": 1000, "b": 100}


def test_unique_tokens_are_the_sum_of_what_each_domain_gives() -> None:
    spec = DataSpec(corpus_hash="x", weights=(("a", 0.75), ("b", 0.25)), repeat=True)
    assert spec.n_unique(100, HAVE) == 100  # 75 and 25: all new
    assert spec.n_unique(800, HAVE) == 600 + 100  # 200 of b are 100 twice
    assert spec.n_unique(8000, HAVE) == 1100  # all there is
    few = DataSpec(corpus_hash="x", weights=spec.weights, unique_tokens=(("a", 50),))
    assert few.available(HAVE) == {"a": 50, "b": 100}
    assert few.n_unique(8000, HAVE) == 150
    more = DataSpec(corpus_hash="x", weights=spec.weights, unique_tokens=(("a", 10**9),))
    assert more.available(HAVE) == HAVE  # a limit adds nothing


def test_a_limit_is_part_of_the_id_and_its_absence_is_not(tiny_trunk: RunConfig) -> None:
    from dataclasses import replace

    assert "unique_tokens" not in tiny_trunk.to_json()["data"]
    limited = replace(tiny_trunk, data=replace(tiny_trunk.data, unique_tokens=(("prose", 500),)))
    assert limited.run_id != tiny_trunk.run_id
    text = json.dumps(limited.to_json())
    assert RunConfig.from_json(json.loads(text), place="here") == limited
    assert RunConfig.from_json(tiny_trunk.to_json(), place="here") == tiny_trunk
