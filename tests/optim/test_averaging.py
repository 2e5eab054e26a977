import numpy as np
import pytest

from jaxcnn.durations import RunLength
from jaxcnn.errors import UserError
from jaxcnn.optim.averaging import AVERAGES, create_averaging

pytestmark = pytest.mark.fast

RUN = RunLength(examples=35, batch_size=10, steps=20)  # an epoch is three steps and a half


def averages(weights, **settings):
    """The average after each of the updates that gave `weights`, beginning with 0."""
    settings = {**AVERAGES.settings(settings["name"]), **settings}
    averaging, average = create_averaging(settings, RUN), {"w": np.float32(0)}
    for step, weight in enumerate(weights, start=1):
        average = averaging.update(average, {"w": np.float32(weight)}, np.int32(step))
        yield float(average["w"])


def test_the_lecture_s_exponential_average():
    """w_test ← 0.95·w_test + 0.05·w."""
    weights, expected, average = np.random.default_rng(0).normal(size=20), [], 0.0
    for weight in weights:
        average = 0.95 * average + 0.05 * weight
        expected.append(average)
    found = averages(weights, name="ema", decay=0.95, warmup=False)
    np.testing.assert_allclose(list(found), expected, rtol=1e-5)


def test_warmup_forgets_the_first_weights():
    found = list(averages([1.0] * 20, name="ema", decay=0.9, warmup=True))
    average = 0.0
    for step in range(1, 21):
        decay = min(0.9, (1 + step) / (10 + step))
        average = decay * average + (1 - decay)
        assert found[step - 1] == pytest.approx(average, rel=1e-5)


def test_swa_is_the_plain_mean_of_the_weights_it_takes():
    """From step 5 on, then after each whole epoch: at 5, 5 + ⌈3.5⌉ = 9, 5 + 7 = 12, 16 and 19."""
    weights = np.random.default_rng(0).normal(size=20)
    found = list(averages(weights, name="swa", start="5 steps", every="1 epoch"))
    np.testing.assert_allclose(found[:5], weights[:5], rtol=1e-6)  # until then, the weights
    for due in ((5,), (5, 9), (5, 9, 12), (5, 9, 12, 16), (5, 9, 12, 16, 19)):
        assert found[due[-1] - 1] == pytest.approx(weights[np.array(due) - 1].mean(), rel=1e-5)
    assert found[10] == found[9] == found[8]  # between, it stands still


@pytest.mark.parametrize("name", ["ema", "swa"])
def test_what_does_not_change_is_its_own_average_to_the_bit(name):
    averaging = create_averaging({"name": name, **AVERAGES.settings(name)}, RUN)
    weights = {"w": np.random.default_rng(0).normal(size=1000).astype(np.float32)}
    average = weights
    for step in range(1, 21):
        average = averaging.update(average, weights, np.int32(step))
    np.testing.assert_array_equal(average["w"], weights["w"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"name": "ema", "batch_stats": "avg"},
            "config.averaging.batch_stats 'avg' does not exist",
        ),
        ({"name": "none", "batch_stats": "averaged"}, "'averaged' does not exist; valid: reestim"),
        ({"name": "swa", "every": "0 epochs"}, "config.averaging.every='0 epochs' must be more"),
        ({"name": "swa", "every": "4 examples"}, "every='4 examples' must be at least one step"),
        ({"name": "swa", "start": "200%"}, "start='200%' is step 40, but the run has 20"),
        ({"name": "swag"}, "averaging 'swag' does not exist; did you mean 'swa'?"),
    ],
)
def test_refused(settings, message):
    with pytest.raises(UserError) as error:
        create_averaging(settings, RUN)
    assert message in str(error.value)
