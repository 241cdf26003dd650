"""watch.json: written once, hashed, and named when somebody changed it."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from simulated_runs import band

from isoflop import InputError, RunError
from isoflop.monitoring import WATCH_FILE, freeze, read_frozen, seal


def test_what_is_read_is_what_was_frozen(tmp_path):
    made = freeze(tmp_path, band(), level=0.1, seed=3, begun_tokens=5.0)
    read = read_frozen(tmp_path)
    assert (read.level, read.seed, read.begun_tokens, read.sha256) == (0.1, 3, 5.0, made.sha256)
    for name in ("n_tokens", "log_loss", "modes", "lr_share"):
        assert np.array_equal(getattr(read.band, name), getattr(band(), name))
    assert read.band.noise == band().noise


def test_a_sealed_forecast_has_the_hash_of_the_frozen_one(tmp_path):
    assert seal(band()).sha256 == freeze(tmp_path, band()).sha256
    assert seal(band(), level=0.1).sha256 != seal(band()).sha256


def test_it_is_never_written_over(tmp_path):
    freeze(tmp_path, band(), level=0.1)
    before = (tmp_path / WATCH_FILE).read_bytes()
    with pytest.raises(RunError, match="frozen there already"):
        freeze(tmp_path, band(), level=0.2)
    assert (tmp_path / WATCH_FILE).read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [WATCH_FILE]


def test_of_many_writers_one_wins(tmp_path):
    def attempt(number):
        try:
            return freeze(tmp_path / "w.json", band(), seed=number).seed
        except RunError:
            return None

    with ThreadPoolExecutor(8) as pool:
        won = [one for one in pool.map(attempt, range(8)) if one is not None]
    assert len(won) == 1
    assert read_frozen(tmp_path / "w.json").seed == won[0]


@pytest.mark.parametrize("key", ["level", "begun_tokens", "forecast"])
def test_a_changed_forecast_is_named(tmp_path, key):
    freeze(tmp_path, band())
    path = tmp_path / WATCH_FILE
    data = json.loads(path.read_text())
    if key == "forecast":
        data["forecast"]["log_loss"][-1] += 0.01
    else:
        data[key] = 0.5
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"watch\.json: was changed"):
        read_frozen(tmp_path)


@pytest.mark.parametrize(
    "text", ["", "[]", '{"version": 2}', "{", '{"version": 1}', '{"version": 1, "a": NaN}']
)
def test_what_is_no_forecast_is_refused(tmp_path, text):
    (tmp_path / WATCH_FILE).write_text(text)
    with pytest.raises(InputError, match=r"watch\.json"):
        read_frozen(tmp_path)
