"""Every schedule at every step against its closed form, and whole runs against torch's schedulers."""

import json
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.durations import RunLength
from jaxcnn.errors import UserError
from jaxcnn.optim.plateau import ReduceOnPlateau
from jaxcnn.optim.schedule import Schedule, passed, period_ends, troughs
from jaxcnn.optim.schedules import SCHEDULES, create_schedule
from tests.conftest import ROOT

# Of CATALOG.md, "Schedules": these must be there by name.
NAMED = {
    "constant", "step", "multistep", "exponential", "inverse_time", "linear", "polynomial", "cosine",
    "cosine_restarts", "cyclic", "one_cycle", "inverse_sqrt", "warmup_stable_decay", "reduce_on_plateau",
}  # fmt: skip


def schedule_of(name, steps=60, warmup=0, **own) -> Schedule:
    """For a run of `steps` of one example each, ten of them an epoch."""
    own = {**SCHEDULES.settings(name), **own}
    return create_schedule({"name": name, "warmup": "", **own}, RunLength(10, 1, steps, warmup))


def values_of(function, steps=60):
    return [float(function(step)) for step in range(steps)]


# --- closed forms: t steps after the warm-up, T steps from there to the end of the run ---


def of_restarts(t, T):
    lengths = []
    while sum(lengths) <= t:
        lengths.append(4 * 2 ** len(lengths))
    return 0.5 * (1 + math.cos(math.pi * (t - sum(lengths[:-1])) / lengths[-1]))


def of_cycle(t, height):
    return 0.1 + 0.9 * (1 - abs(t % 8 / 4 - 1)) * height


def of_one_cycle(t, T):
    top, last = max(0, 0.3 * T - 1), T - 1
    if t <= top:
        return 1 / 25 + (1 - 1 / 25) * 0.5 * (1 - math.cos(math.pi * t / max(top, 1e-9)))
    end = 1 / 25e4
    return end + (1 - end) * 0.5 * (1 + math.cos(math.pi * (t - top) / max(last - top, 1e-9)))


CLOSED_FORMS = {
    "constant": ({}, lambda t, T: 1),
    "step": ({"every": "3 steps", "gamma": 0.5}, lambda t, T: 0.5 ** (t // 3)),
    "exponential": ({"rate": 0.1, "every": "1 epoch"}, lambda t, T: 0.9 ** (t / 10)),
    "inverse_time": ({"decay": 0.5, "every": "2 steps"}, lambda t, T: 1 / (1 + 0.5 * t / 2)),
    "inverse_sqrt": ({"timescale": "5 steps"}, lambda t, T: math.sqrt(5 / (t + 5))),
    "linear": ({"final": 0.2}, lambda t, T: 1 - 0.8 * t / T),
    "polynomial": (
        {"power": 3.0, "final": 0.1},
        lambda t, T: 0.1 + 0.9 * (1 - t / T) ** 3,
    ),
    "cosine": (
        {"final": 0.1},
        lambda t, T: 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * t / T)),
    ),
    "cosine_restarts": ({"first": "4 steps", "growth": 2}, of_restarts),
    "cyclic": ({"half_cycle": "4 steps"}, lambda t, T: of_cycle(t, 1)),
    "one_cycle": ({}, of_one_cycle),
    "warmup_stable_decay": (
        {"decay": "6 steps"},
        lambda t, T: min(1, (T - t) / min(6, T)),
    ),
    "reduce_on_plateau": ({}, lambda t, T: 1),
}


def test_every_schedule_is_named_and_has_its_closed_form_here():
    assert set(SCHEDULES.names()) == NAMED == {*CLOSED_FORMS, "multistep"}
    for name in NAMED:
        assert SCHEDULES.about(name)


@settings(max_examples=60)
@given(
    name=st.sampled_from(sorted(CLOSED_FORMS)), warmup=st.integers(0, 6), body=st.integers(1, 20)
)
def test_every_step_against_the_closed_form(name, warmup, body):
    own, closed_form = CLOSED_FORMS[name]
    schedule = schedule_of(name, warmup + body, warmup, **own)
    for step in range(warmup + body):
        rising = closed_form(0, body) * (step + 1) / (warmup + 1)
        expected = rising if step < warmup else closed_form(step - warmup, body)
        assert float(schedule.factor(step)) == pytest.approx(expected, abs=2e-6), step


@given(examples=st.integers(1, 10**6), batch=st.integers(1, 4096), tenths=st.integers(1, 50))
def test_periods_are_counted_exactly(examples, batch, tenths):
    """At every step where a count changes, and just before it, as `Every` has it on the host."""
    period = Fraction(examples * tenths, batch * 10)
    up_to = math.ceil(5 * period)
    ends = period_ends(period, up_to)
    for count in range(1, 6):
        at = math.ceil(count * period)
        for step in (at - 1, at):
            assert int(passed(ends, step)) == step // period


def test_the_peak_is_reached_where_the_warmup_ends():
    schedule = schedule_of("cosine", 100, 10)
    assert float(schedule.factor(10)) == 1
    assert float(schedule.factor(9)) == pytest.approx(10 / 11)
    assert float(schedule.factor(100)) == pytest.approx(0, abs=1e-7)


def test_the_warmup_of_a_schedule_that_rises_by_itself_ends_where_it_begins():
    factors = values_of(schedule_of("cyclic", 60, 10, half_cycle="5 steps").factor)
    assert max(factors[:11]) == factors[10] == pytest.approx(0.1)
    assert factors[15] == 1


def test_multistep_counts_from_the_start_of_the_run():
    """As in Goyal et al. 2017: 'at epochs 30, 60, 80', of which the first five are the warm-up."""
    schedule = schedule_of("multistep", 60, 5, at=("2 epochs", "50%"), gamma=0.1)
    factors = values_of(schedule.factor)
    assert factors[19:21] == pytest.approx([1, 0.1])
    assert factors[29:31] == pytest.approx([0.1, 0.01])


@pytest.mark.parametrize("moments", [("3 steps",), ("60 steps",), ("7 epochs",)])
def test_multistep_outside_of_the_run_is_refused(moments):
    with pytest.raises(UserError, match=r"config.schedule.at.0=.* it must lie between .* step 5, "):
        schedule_of("multistep", 60, 5, at=moments)


@pytest.mark.parametrize(
    ("name", "own", "message"),
    [
        ("step", {"every": "0 epochs"}, "config.schedule.every='0 epochs' must be more than 0"),
        ("step", {"every": "soon"}, "config.schedule.every='soon' is not a duration"),
        ("multistep", {"at": (30,)}, "config.schedule.at.0=30 is not a duration"),
        (
            "cyclic",
            {"mode": "square"},
            "schedule 'cyclic': mode='square' must be one of 'triangular', ",
        ),
        (
            "cosine_restarts",
            {"growth": 0},
            "schedule 'cosine_restarts': growth=0 must be at least 1",
        ),
        (
            "one_cycle",
            {"rising": 1.5},
            "schedule 'one_cycle': rising=1.5 must be more than 0 and less",
        ),
        ("exponential", {"rate": 1.0}, "schedule 'exponential': rate=1.0 must be"),
        ("reduce_on_plateau", {"factor": 2.0}, "schedule 'reduce_on_plateau': factor=2.0 must be"),
    ],
)
def test_refused(name, own, message):
    with pytest.raises(UserError) as error:
        schedule_of(name, **own)
    assert message in str(error.value)


# --- torch.optim.lr_scheduler ---


@pytest.fixture(scope="module")
def golden():
    return json.loads((ROOT / "tests" / "golden" / "torch_schedules.json").read_text())


CYCLE = {"half_cycle": "7 steps", "low": 0.1, "gamma": 0.97}
AS_IN_TORCH = {
    "step": ("step", {"every": "7 steps", "gamma": 0.5}),
    "multistep": ("multistep", {"at": ("12 steps", "30 steps", "31 steps"), "gamma": 0.3}),
    "exponential": ("exponential", {"rate": 0.07, "every": "1 step"}),
    "linear": ("linear", {"final": 0.2}),
    "warmup": ("constant", {"warmup": 10}),
    "cosine": ("cosine", {"final": 0.1}),
    "cosine_restarts": ("cosine_restarts", {"first": "8 steps", "growth": 2, "final": 0.1}),
    "cyclic_triangular": ("cyclic", {**CYCLE, "mode": "triangular"}),
    "cyclic_triangular2": ("cyclic", {**CYCLE, "mode": "triangular2"}),
    "cyclic_exp_range": ("cyclic", {**CYCLE, "mode": "exp_range"}),
    "one_cycle": ("one_cycle", {}),
}


def test_every_golden_run_is_compared(golden):
    assert set(golden["schedules"]) == set(AS_IN_TORCH)


@pytest.mark.parametrize("name", AS_IN_TORCH)
def test_as_in_torch(golden, name):
    ours, own = AS_IN_TORCH[name]
    schedule = schedule_of(ours, **own)
    expected = golden["schedules"][name]
    assert values_of(schedule.factor) == pytest.approx(expected["factor"], rel=1e-5, abs=1e-7)
    if schedule.momentum:
        assert values_of(schedule.momentum) == pytest.approx(expected["momentum"], rel=1e-6)


PLATEAUS = {
    "min": {"factor": 0.5, "patience": 2},
    "cooldown": {"factor": 0.5, "patience": 1, "cooldown": 2, "threshold": 0.01},
    "floor": {"factor": 0.1, "patience": 0, "final": 0.05},
    "max": {"factor": 0.5, "patience": 2},
}


def test_every_golden_plateau_is_compared(golden):
    assert set(golden["plateaus"]) == set(PLATEAUS)


@pytest.mark.parametrize("name", PLATEAUS)
def test_plateau_as_in_torch(golden, name):
    plateau = schedule_of("reduce_on_plateau", **PLATEAUS[name]).plateau
    scales, reductions = [], 0
    for loss in golden["losses"]:
        value = 1 - loss if name == "max" else loss
        reductions += plateau.update(value, higher_is_better=name == "max")
        scales.append(plateau.scale)
    assert scales == pytest.approx(golden["plateaus"][name], rel=1e-12)
    assert reductions == len(set(scales)) - 1 > 0


@given(st.lists(st.floats(0.1, 2), min_size=1, max_size=30), st.integers(0, 29))
def test_a_plateau_goes_on_from_its_state(losses, stop):
    whole = schedule_of("reduce_on_plateau", patience=2, cooldown=1).plateau
    parts = schedule_of("reduce_on_plateau", patience=2, cooldown=1).plateau
    for i, loss in enumerate(losses):
        if i == stop:
            parts = ReduceOnPlateau(**json.loads(json.dumps(vars(parts))))
        assert whole.update(loss, False) == parts.update(loss, False)
    assert whole == parts


@pytest.mark.parametrize(
    ("settings", "steps", "moments"),
    [
        ({"name": "cosine_restarts", "first": "25%"}, 40, (10, 20, 30, 40)),
        ({"name": "cosine_restarts", "first": "10 steps", "growth": 2}, 70, (10, 30, 70)),
        ({"name": "cosine_restarts", "first": "25 steps"}, 40, (25,)),  # ends in mid-cycle
        ({"name": "cosine_restarts", "first": "20%"}, 128, (26, 52, 78, 104, 128)),
        ({"name": "cosine_restarts", "first": "10 steps"}, 41, (10, 20, 30, 40)),
        ({"name": "cosine_restarts", "first": "10 steps"}, 45, (10, 20, 30, 40)),
        ({"name": "cyclic", "half_cycle": "5 steps"}, 32, (11, 21, 31)),  # at the lowest rate
        ({"name": "cosine"}, 40, (40,)),
        ({"name": "constant"}, 40, ()),
        ({"name": "step"}, 40, ()),
    ],
)
def test_troughs(settings, steps, moments):
    run = RunLength(examples=10, batch_size=10, steps=steps)
    assert troughs(create_schedule(settings, run), steps) == moments
