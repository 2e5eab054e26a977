import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcnn.durations import Duration, Every
from jaxcnn.errors import UserError

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("300 steps", 300),
        ("1 step", 1),
        ("2 epochs", 2 * 1000 / 64),
        ("12.5epochs", 12.5 * 1000 / 64),
        ("6400 examples", 100),
        ("5%", 20),
        ("5 percent", 20),
    ],
)
def test_duration_in_steps(text, steps):
    assert float(Duration.parse(text, "x").steps(1000, 64, run_steps=400)) == steps


@pytest.mark.parametrize(
    "text", ["", "10", "ten steps", "-1 steps", "3 parsecs", "steps", "1/0 steps"]
)
def test_no_duration(text):
    with pytest.raises(
        UserError, match=re.escape(f"config.train.duration={text!r} is not a duration")
    ):
        Duration.parse(text, "config.train.duration")


@given(
    examples=st.integers(1, 5000),
    batch=st.integers(1, 500),
    epochs=st.integers(1, 30),
)
def test_an_epochwise_event_is_due_once_per_epoch_and_at_the_end(examples, batch, epochs):
    period = Duration(Fraction(1), "epochs").steps(examples, batch)
    if period < 1:
        return  # more than one epoch per step: due at every step
    total = -(-epochs * examples // batch)
    due = [step for step in range(1, total + 1) if Every(period).due(step)]
    assert len(due) == epochs
    assert due[-1] == total
    for epoch, step in enumerate(due, start=1):
        assert step * batch >= epoch * examples > (step - 1) * batch


@pytest.mark.parametrize(
    "text", ["1e400 steps", "1e99999999 steps", "1e999%", "1" * 41 + " steps", "1e16 examples"]
)
def test_durations_beyond_all_runs_are_refused_at_once(text):
    with pytest.raises(UserError, match="is not a duration; valid: .*at most 1e15") as error:
        Duration.parse(text, "config.train.duration")
    assert len(str(error.value)) < 250
