"""The engine: any step, any grouping of steps, several trials side by side, one program for all numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.data.dataset import dataset_from_arrays
from jaxcnn.data.feeding import device as on_device
from jaxcnn.layout import Layout
from jaxcnn.train.engine import create_engine
from jaxcnn.train.experiment import Experiment, create_feed, resolve
from jaxcnn.train.start import train
from jaxcnn.train.state import init_state
from jaxcnn.train.step import make_train_step
from tests.train.runs import assert_same_bits


def parts_of(config, dataset, seed=0):
    """What an engine is made of: model, recipe, state, feed."""
    layout = Layout.over_all_devices()
    experiment = Experiment.of(config, dataset.spec, layout)
    model, recipe = experiment.model, experiment.recipe
    state = init_state(model, recipe, dataset.spec.image_shape, seed, layout)
    return model, recipe, state, create_feed(config, dataset, experiment, layout)


def advanced(engine, limits):
    """The engine's state and readings after at most so many steps at a time."""
    engine.compile()
    engine.start(0)
    taken = [engine.advance(limit) for limit in limits]
    readings = engine.read()
    engine.close()
    return engine.state, readings, taken


def test_how_steps_are_grouped_does_not_change_their_bits(small_config, blobs, monkeypatch):
    monkeypatch.setattr(on_device, "STEPS_PER_DISPATCH", {"cpu": 4})
    config = resolve(small_config, {"data.placement": "device"})
    ends = []
    for limits in ([1] * 6, [100, 2], [2, 1, 3]):
        model, recipe, state, feed = parts_of(config, blobs)
        engine = create_engine(make_train_step(model), state, recipe, feed)
        state, readings, taken = advanced(engine, limits)
        assert taken == [min(limit, 4) for limit in limits]
        ends.append(jax.device_get((state.params, state.batch_stats, state.opt_state, readings)))
    assert int(state.step) == 6
    assert_same_bits(ends[0], ends[1])
    assert_same_bits(ends[0], ends[2])


def test_both_placements_learn_the_same(small_config, blobs, tmp_path):
    """Rounding aside; one step is compiled with the batch's making, and one without."""
    results = []
    for placement in ("host", "device"):
        small_config.data.placement = placement
        results.append(train(small_config, tmp_path / placement, dataset=blobs)["final"]["test"])
    assert results[0]["count"] == results[1]["count"] == 50
    assert results[0]["loss"] == pytest.approx(results[1]["loss"], rel=0.02)


def stacked(trees):
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@pytest.mark.parametrize(
    ("placement", "model"),
    [
        ("host", {"model.name": "lenet5", "data.resize": "16"}),
        (
            "device",
            {"model.name": "resnet20_cifar", "model.width": "4", "model.stage_sizes": "(1, 1, 1)"},
        ),
    ],
)
def test_a_vmap_over_seeds_gives_each_seed_its_own_run(small_config, placement, model):
    """The single step's place taken by four of them side by side, the feed untouched; in float64."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (96, 16, 16, 1)).astype(np.uint8)
        dataset = dataset_from_arrays((images, np.arange(96) % 10), validation_fraction=0.0)
        small_config.model = {
            "name": "lenet5", "dtype": "float64", "param_dtype": "float64", "dropout_rate": 0.1,
        }  # fmt: skip
        config = resolve(
            small_config,
            {**model, "data.placement": placement, "model.dtype": "float64",
             "model.param_dtype": "float64", "model.dropout_rate": "0.1"},
        )  # fmt: skip
        alone, states = [], []
        for seed in range(4):
            net, recipe, state, feed = parts_of(config, dataset, seed)
            states.append(jax.tree.map(jnp.copy, state))
            engine = create_engine(make_train_step(net), state, recipe, feed)
            alone.append(advanced(engine, [1] * 8))
        several = jax.vmap(make_train_step(net), in_axes=(0, None, None))
        together, readings, _ = advanced(
            create_engine(several, stacked(states), recipe, feed), [1] * 8
        )
        for seed, (state, (reading,), _) in enumerate(alone):
            jax.tree.map(
                lambda a, b, seed=seed: np.testing.assert_allclose(a[seed], b, rtol=1e-9, atol=1e-12),
                (together.params, together.batch_stats), (state.params, state.batch_stats),
            )  # fmt: skip
            assert readings[seed].values == pytest.approx(reading.values, rel=1e-9)
            assert readings[seed].divergence is None


def test_of_several_trials_the_one_that_diverges_is_named(small_config, blobs):
    config = resolve(small_config)
    model, recipe, state, feed = parts_of(config, blobs)
    states = [jax.tree.map(jnp.copy, state) for _ in range(3)]
    states[1] = states[1].replace(params=jax.tree.map(lambda p: p * jnp.nan, states[1].params))
    several = jax.vmap(make_train_step(model), in_axes=(0, None, None))
    _, readings, _ = advanced(create_engine(several, stacked(states), recipe, feed), [1] * 3)
    steps = [reading.divergence and reading.divergence[0] for reading in readings]
    assert steps == [None, 1, None]


# Numbers of every kind that a recipe has.
NUMBERS = {
    "optimizer.learning_rate": ("0.05", "0.01"),
    "optimizer.momentum": ("0.9", "0.8"),
    "optimizer.clip_norm": ("1.0", "0.3"),
    "optimizer.clip_value": ("0.5", "0.4"),
    "optimizer.lookahead_step_size": ("0.5", "0.4"),
    "loss.l2_regularization": ("1e-4", "1e-3"),
    "loss.label_smoothing": ("0.0", "0.2"),
    "averaging.decay": ("0.9", "0.5"),
    "schedule.warmup": ("0 steps", "7 steps"),
    "data.mix.0.alpha": ("0.2", "0.7"),
    "data.mix.0.probability": ("0.5", "1.0"),
    "parameters.learning_rates.0.multiplier": ("0.5", "2.0"),
}


def recipe_of(small_config, dataset, **changes):
    small_config.optimizer.lookahead_period = 3
    small_config.data.mix = [{"name": "mixup"}]
    small_config.averaging.name = "ema"
    small_config.parameters.learning_rates = [{"pattern": "^head", "multiplier": 0.5}]
    return parts_of(resolve(small_config, changes), dataset)


def test_two_configs_that_differ_in_numbers_share_one_program(small_config, blobs):
    sides = [{key: values[i] for key, values in NUMBERS.items()} for i in (0, 1)]
    model, first, state, feed = recipe_of(small_config, blobs, **sides[0])
    _, second, _, _ = recipe_of(small_config, blobs, **sides[1])
    step = jax.jit(make_train_step(model))
    batches = feed.train_batches(0)
    batch = next(batches)
    batches.close()
    losses = [step(state, batch, recipe)[1].read()[0].values["loss"] for recipe in (first, second)]
    assert step._cache_size() == 1
    assert losses[0] != losses[1]


SCHEDULES_NUMBERS = {
    "step": ({"every": "10 steps"}, {"every": "7 steps", "gamma": "0.5"}),
    "multistep": ({}, {"at": "('20%', '90%')", "gamma": "0.2"}),
    "exponential": ({}, {"rate": "0.1", "every": "3 steps"}),
    "inverse_time": ({}, {"decay": "2.0", "every": "3 steps"}),
    "inverse_sqrt": ({}, {"timescale": "20%"}),
    "linear": ({}, {"final": "0.1"}),
    "polynomial": ({}, {"power": "3.0", "final": "0.1"}),
    "cosine": ({}, {"final": "0.1"}),
    "cosine_restarts": ({"growth": "2"}, {"growth": "2", "first": "10%", "final": "0.2"}),
    "cyclic": ({}, {"half_cycle": "20%", "low": "0.2"}),
    "one_cycle": (
        {"warmup": "0 steps"},
        {"warmup": "0 steps", "rising": "0.2", "start_divisor": "10", "low_momentum": "0.8"},
    ),
    "warmup_stable_decay": ({}, {"decay": "30%", "final": "0.1"}),
    "reduce_on_plateau": ({}, {"patience": "3", "factor": "0.5"}),
    "constant": ({}, {"warmup": "5 steps"}),
}


@pytest.mark.parametrize("name", SCHEDULES_NUMBERS)
def test_schedules_that_differ_in_numbers_share_one_program(small_config, blobs, name):
    factors, compiled = [], []

    @jax.jit
    def values(schedule):
        compiled.append(1)
        return jax.vmap(schedule.factor)(jnp.arange(40))

    for settings in SCHEDULES_NUMBERS[name]:
        changes = {f"schedule.{key}": value for key, value in settings.items()}
        _, recipe, _, _ = parts_of(resolve(small_config, {"schedule.name": name, **changes}), blobs)
        factors.append(values(recipe.optimizer.schedule))
    assert len(compiled) == 1
    if name != "reduce_on_plateau":  # whose numbers are the host's
        assert (factors[0] != factors[1]).any()
