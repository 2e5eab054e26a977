"""`jaxcnn lr-range`: the sweep is what it says, and its suggestion trains."""

import json

import numpy as np
import pytest

from jaxcnn import train
from jaxcnn.diagnose.lr_range import range_test, smoothed
from jaxcnn.errors import UserError
from jaxcnn.train.experiment import resolve
from tests.conftest import DIGITS


@pytest.fixture
def config(small_config):
    small_config.model.dropout_rate = 0.0
    small_config.data.augment = []
    return small_config


def test_the_rate_rises_by_the_same_factor_and_the_config_stays(config, blobs):
    config = resolve(config)
    before = config.to_json()
    found = range_test(config, blobs, low=1e-4, high=1.0, steps=50)
    assert config.to_json() == before
    factor = 1e4 ** (1 / 49)
    np.testing.assert_allclose(found.rates, 1e-4 * factor ** np.arange(len(found.rates)))
    assert found.rates.shape == found.losses.shape == found.smoothed.shape
    nothing = found.losses <= 0.01 * found.smoothed[0]
    lowest = found.rates[(found.smoothed == found.smoothed.min()) | nothing][0]
    assert found.suggestion == pytest.approx(lowest / 2, rel=0.05)  # of two digits


def test_the_steps_are_taken_at_these_rates(config, blobs):
    """The same batches: the higher the rates, the further the loss moves from that of no step."""
    config.optimizer = {"name": "sgd"}
    low, high = (
        range_test(resolve(config), blobs, low=low, high=100.0, steps=60).losses
        for low in (1e-6, 1e-2)
    )
    assert low[0] == high[0]
    assert low[:15].mean() > high[:15].mean()


def test_the_suggestion_trains_better_than_a_thirtieth_and_thirty_times_it(config, blobs, tmp_path):
    found = range_test(resolve(config), blobs, steps=100)
    losses = {}
    for factor in (1 / 30, 1, 30):
        config.optimizer.learning_rate = found.suggestion * factor
        try:
            result = train(config, tmp_path / str(factor), dataset=blobs)
            losses[factor] = result["final"]["test"]["loss"]
        except UserError:  # diverged
            losses[factor] = np.inf
    assert losses[1] < losses[1 / 30]
    assert losses[1] < losses[30]


def test_smoothing_is_corrected_for_its_start():
    np.testing.assert_allclose(smoothed(np.full(30, 2.5)), 2.5)
    np.testing.assert_allclose(smoothed(np.array([1.0, 3.0])), [1.0, (0.9 * 1 + 3) / 1.9])


def test_a_loss_that_has_not_risen_suggests_nothing(config, blobs):
    with pytest.raises(UserError, match="^the loss has not risen by the last rate, 0.003, where"):
        range_test(resolve(config), blobs, low=1e-5, high=3e-3, steps=60)


def test_a_network_that_does_not_learn(config, blobs):
    """Of such rates, none moves a float32 weight."""
    with pytest.raises(UserError, match="^the loss does not fall at any rate from 1e-20 to"):
        range_test(resolve(config), blobs, low=1e-20, high=1e-15, steps=40)


def test_the_command(run_cli, tmp_path):
    quick = f"--config={DIGITS}", "--config.model.name=linear", "--steps=60"
    out_file = tmp_path / "rates.png"
    code, out, _ = run_cli("lr-range", *quick, f"--out={out_file}", "--json")
    assert code == 0
    assert 1e-5 < json.loads(out)["suggestion"] < 10
    assert out_file.read_bytes().startswith(b"\x89PNG")
    for wrong, said in (
        ("--low=1", "--low=1 and --high=1 must rise"),
        ("--steps=3", "at least 30"),
    ):
        code, _, err = run_cli("lr-range", *quick, "--high=1", wrong)
        assert code == 1
        assert said in err
