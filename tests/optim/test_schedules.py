import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.optim.schedules import SCHEDULES, create_schedule

BODIES = {
    "constant": lambda t, steps, **_: 1.0,
    "cosine": lambda t, steps, final=0.0: (
        final + (1 - final) * 0.5 * (1 + math.cos(math.pi * t / steps))
    ),
}


def test_every_schedule_has_its_closed_form_here():
    assert sorted(BODIES) == SCHEDULES.names()


@settings(max_examples=20)
@given(name=st.sampled_from(sorted(BODIES)), warmup=st.integers(0, 6), body=st.integers(1, 20))
def test_every_step_against_the_closed_form(name, warmup, body):
    schedule = create_schedule({"name": name, "warmup": ""}, warmup + body, warmup)
    for step in range(warmup + body):
        rising = (step + 1) / (warmup + 1)
        expected = rising if step < warmup else BODIES[name](step - warmup, body)
        assert float(schedule(step)) == pytest.approx(expected, abs=1e-6)


def test_the_peak_is_reached_where_the_warmup_ends():
    schedule = create_schedule({"name": "cosine", "warmup": ""}, run_steps=100, warmup_steps=10)
    assert float(schedule(10)) == 1
    assert float(schedule(9)) == pytest.approx(10 / 11)
    assert float(schedule(100)) == pytest.approx(0, abs=1e-7)


def test_cosine_ends_at_final():
    schedule = create_schedule({"name": "cosine", "warmup": "", "final": 0.1}, 100, 0)
    assert float(schedule(100)) == pytest.approx(0.1)
    assert float(schedule(50)) == pytest.approx(BODIES["cosine"](50, 100, final=0.1))
