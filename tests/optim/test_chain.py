"""What goes around an optimizer: moving settings, parameter groups, lookahead, averages, clipping."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn.durations import RunLength
from jaxcnn.errors import UserError
from jaxcnn.optim.chain import (
    create_optimizer,
    evaluation_params,
    gradient_clipping,
    hyperparameters,
)
from jaxcnn.optim.groups import parameter_groups
from jaxcnn.optim.optimizers import OPTIMIZERS
from jaxcnn.optim.schedules import create_schedule
from tests.optim.problem import CONSTANT, PARAMS, RATE, START, gradient, trajectory

pytestmark = pytest.mark.fast


def objective(params):
    return sum(((leaf - 0.3) ** 2).sum() for leaf in jax.tree.leaves(params))


def take_steps(tx, params, count, state=None, held=lambda params: params):
    """Steps down `objective`, in one compiled program."""

    def of_held(params):
        return objective(held(params))

    @jax.jit
    def step(params, state):
        value, grads = jax.value_and_grad(of_held)(params)
        updates, state = tx.update(
            grads, state, params,
            value=value, obj_fn=of_held, grad_fn=lambda p, _: jax.grad(of_held)(p),
        )  # fmt: skip
        return optax.apply_updates(params, updates), state

    state = tx.init(params) if state is None else state
    for _ in range(count):
        params, state = step(params, state)
    return params, state


# --- settings in the state ---


def test_the_learning_rate_and_decay_can_be_changed_without_compiling_anew():
    params = {"head": {"kernel": jnp.ones((2, 2))}}
    settings = {"name": "adamw", **OPTIMIZERS.settings("adamw")}
    compiled = []

    @jax.jit
    def step(state, tx):
        compiled.append(1)
        updates, state = tx.update(params, state, params)
        return updates["head"]["kernel"][0, 0], state

    tx = create_optimizer(settings, CONSTANT)
    first, state = step(tx.init(params), tx)
    other = create_optimizer(settings | {"weight_decay": 2.0, "learning_rate": 0.5}, CONSTANT)
    second, state = step(state, other)
    assert first == pytest.approx(-1e-3, rel=1e-3)
    assert second == pytest.approx(-0.5 * (1 + 2), rel=1e-3)
    assert hyperparameters(state)["learning_rate"] == 0.5
    third, _ = step(state._replace(scale=jnp.float32(0.1)), other)
    assert third == pytest.approx(-0.05 * (1 + 2), rel=1e-3)
    assert len(compiled) == 1


def perturbed(value):
    """Another number that is as valid; lists of numbers too."""
    if isinstance(value, tuple):
        return tuple(map(perturbed, value))
    return value * 0.9 if isinstance(value, float) else value


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_two_that_differ_in_numbers_share_one_program(name):
    params = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), PARAMS)
    settings = OPTIMIZERS.settings(name)
    around = {"name": name, "lookahead_step_size": 0.5}
    if not name.startswith("schedule_free"):
        around["lookahead_period"] = 2
    first = create_optimizer({**around, **settings}, CONSTANT)
    second = create_optimizer(
        {**around, **{key: perturbed(value) for key, value in settings.items()}}, CONSTANT
    )
    state, compiled = first.init(params), []

    @jax.jit
    def step(tx):
        compiled.append(1)
        return tx.update(
            params, state, params, value=1.0, obj_fn=objective,
            grad_fn=lambda p, _: jax.grad(objective)(p),
        )[1]  # fmt: skip

    states = step(first), step(second)
    assert len(compiled) == 1
    rates = [hyperparameters(state)["learning_rate"] for state in states]
    assert rates[1] == pytest.approx(0.9 * rates[0])


def test_one_cycle_moves_the_momentum():
    schedule = create_schedule({"name": "one_cycle", "warmup": ""}, RunLength(100, 1, 10))
    tx = create_optimizer({"name": "momentum", **OPTIMIZERS.settings("momentum")}, schedule)
    params = {"w": jnp.ones(2)}
    state, momenta = tx.init(params), []
    for _ in range(10):
        _, state = tx.update(params, state, params)
        momenta.append(float(hyperparameters(state)["momentum"]))
    assert momenta[::9] == pytest.approx([0.95, 0.95])
    assert min(momenta) == momenta[2] == pytest.approx(0.85)
    with pytest.raises(
        UserError, match="optimizer 'sgd' has none that can change; .*cycle_momentum=False"
    ):
        create_optimizer({"name": "sgd", "learning_rate": 0.1}, schedule)


def test_one_cycle_moves_no_momentum_that_an_average_depends_on():
    schedule = create_schedule({"name": "one_cycle", "warmup": ""}, RunLength(100, 1, 10))
    own = {"name": "schedule_free_sgd", **OPTIMIZERS.settings("schedule_free_sgd")}
    with pytest.raises(UserError, match="has none that can change"):
        create_optimizer(own, schedule)


# --- groups of parameters ---


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_goes_down_and_leaves_the_frozen_alone(name):
    """With a decay mask, a frozen layer, and (where it may be) a learning rate of its own for the head."""
    groups = {"decayed": ["kernel$"], "frozen": ["^conv1"], "learning_rates": []}
    if not name.startswith("schedule_free"):
        groups["learning_rates"] = [{"pattern": "^head", "multiplier": 0.5}]
    params = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), PARAMS)
    groups, _ = parameter_groups(groups, params)
    tx = create_optimizer({"name": name, **OPTIMIZERS.settings(name)}, CONSTANT, groups)
    new, state = take_steps(tx, params, 200, held=groups.without_frozen_gradients)
    jax.tree.map(np.testing.assert_array_equal, new["conv1"], params["conv1"])
    assert objective(evaluation_params(state, new)) < objective(params)
    settings = {k: v for k, v in OPTIMIZERS.settings(name).items() if isinstance(v, float)}
    assert set(hyperparameters(state)) == set(settings)


@pytest.mark.parametrize(
    "name", ["adamw", "lion", "muon", "lamb", "adafactor", "schedule_free_adamw"]
)
def test_weight_decay_reaches_every_kernel_and_no_bias(name):
    """Without a gradient, what decays becomes smaller by the learning rate times the decay."""
    params = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32) + 2, PARAMS)
    groups, _ = parameter_groups(
        {"decayed": ["kernel$"], "frozen": [], "learning_rates": []}, params
    )
    own = {"name": name, **OPTIMIZERS.settings(name), "learning_rate": 0.1, "weight_decay": 0.2}
    tx = create_optimizer(own, CONSTANT, groups)
    state = tx.init(params)
    updates, state = tx.update(jax.tree.map(jnp.zeros_like, params), state, params)
    new = evaluation_params(state, optax.apply_updates(params, updates))
    for layer in ("conv1", "head"):
        np.testing.assert_array_equal(new[layer]["bias"], params[layer]["bias"])
        change = (new[layer]["kernel"] - params[layer]["kernel"]) / params[layer]["kernel"]
        assert (change < -1e-3).all()
        if name not in ("lamb",):  # which scales the decay by ‖w‖ over its own norm
            np.testing.assert_allclose(change, -0.02, rtol=1e-4)


def test_multipliers_are_learning_rates_of_their_own():
    params = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), PARAMS)
    own = {"name": "adamw", **OPTIMIZERS.settings("adamw"), "weight_decay": 0.1}
    groups = {"decayed": ["kernel$"], "frozen": [], "learning_rates": []}
    several = groups | {"learning_rates": [{"pattern": "^head", "multiplier": 0.25}]}
    together, _ = take_steps(
        create_optimizer(own, CONSTANT, parameter_groups(several, params)[0]), params, 20
    )
    alone, _ = parameter_groups(groups, params)
    fast, _ = take_steps(create_optimizer(own, CONSTANT, alone), params, 20)
    slow = own | {"learning_rate": own["learning_rate"] / 4}
    slow, _ = take_steps(create_optimizer(slow, CONSTANT, alone), params, 20)
    jax.tree.map(np.testing.assert_array_equal, together["conv1"], fast["conv1"])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        together["head"], slow["head"],
    )  # fmt: skip


# --- lookahead, and the averages of schedule-free ---


def test_lookahead_is_as_defined():
    own = {"name": "sgd", "learning_rate": 0.02, "lookahead_period": 5, "lookahead_step_size": 0.3}
    slow, fast, paths = START, START, []
    for step in range(50):
        fast = fast - RATE[step] * gradient(fast, step)
        if (step + 1) % 5 == 0:
            slow = slow + 0.3 * (fast - slow)
            fast = slow
        paths.append(fast)
    with jax.enable_x64(True):
        np.testing.assert_allclose(list(trajectory(own)), paths, rtol=1e-12)


def test_lookahead_is_evaluated_at_its_slow_weights():
    own = {"name": "sgd", "learning_rate": 0.02, "lookahead_period": 5, "lookahead_step_size": 0.3}
    tx, params = create_optimizer(own, CONSTANT), {"w": jnp.ones(3)}
    four, state = take_steps(tx, params, 4)
    np.testing.assert_array_equal(evaluation_params(state, four)["w"], params["w"])
    five, state = take_steps(tx, four, 1, state)
    np.testing.assert_allclose(evaluation_params(state, five)["w"], five["w"], rtol=1e-6)


def test_schedule_free_is_evaluated_at_its_average():
    """x is the plain mean of the points z, while the learning rate is constant; Defazio et al. 2024, eq. 1."""
    own = {
        "name": "schedule_free_sgd",
        **OPTIMIZERS.settings("schedule_free_sgd"),
        "learning_rate": 0.02,
    }
    x = z = y = START
    with jax.enable_x64(True):
        tx = create_optimizer(own, CONSTANT)
        w = jnp.array(START)
        state = tx.init(w)
        for step in range(50):
            updates, state = tx.update(gradient(np.asarray(w), step), state, w)
            w = w + updates
            z = z - 0.02 * gradient(y, step)
            x = (1 - 1 / (step + 1)) * x + z / (step + 1)
            y = 0.1 * z + 0.9 * x
            np.testing.assert_allclose(w, y, rtol=1e-9)
            np.testing.assert_allclose(evaluation_params(state, w), x, rtol=1e-9)


@pytest.mark.parametrize(
    "own",
    [
        {"name": "sgd", "learning_rate": 0.1, "lookahead_period": 1, "lookahead_step_size": 0.1},
        {"name": "schedule_free_sgd", **OPTIMIZERS.settings("schedule_free_sgd")},
    ],
)
def test_what_is_frozen_is_evaluated_as_it_is_to_the_bit(own):
    params = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32) / 3, PARAMS)
    rules = {"decayed": [], "frozen": ["^conv1"], "learning_rates": []}
    groups, _ = parameter_groups(rules, params)
    new, state = take_steps(
        create_optimizer(own, CONSTANT, groups), params, 100, held=groups.without_frozen_gradients
    )
    for found in (new, evaluation_params(state, new)):
        jax.tree.map(np.testing.assert_array_equal, found["conv1"], params["conv1"])
        assert (found["head"]["kernel"] != params["head"]["kernel"]).any()


@pytest.mark.parametrize("change", [{"lookahead_period": 5}, {"learning_rates": 0.5}])
def test_schedule_free_refuses_what_would_falsify_its_average(change):
    params = jax.tree.map(jnp.array, PARAMS)
    rates = [{"pattern": "^head", "multiplier": 0.5}] if "learning_rates" in change else []
    groups, _ = parameter_groups({"decayed": [], "frozen": [], "learning_rates": rates}, params)
    own = {"name": "schedule_free_sgd", **OPTIMIZERS.settings("schedule_free_sgd")}
    own |= {"lookahead_period": change.get("lookahead_period", 0), "lookahead_step_size": 0.5}
    with pytest.raises(UserError, match="optimizer 'schedule_free_sgd'"):
        create_optimizer(own, CONSTANT, groups)


# --- clipping ---


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"clip_norm": 1.0}, [0.6, -0.8]),
        ({"clip_value": 3.5}, [3.0, -3.5]),
        ({"clip_norm": 10.0, "clip_value": 0.0}, [3.0, -4.0]),
        ({}, [3.0, -4.0]),
    ],
)
def test_clipping(settings, expected):
    grads = {"w": jnp.array([3.0, -4.0])}
    clipped = gradient_clipping(settings)(grads)
    np.testing.assert_allclose(clipped["w"], expected, rtol=1e-6)
