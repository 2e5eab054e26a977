"""A small problem to take training steps on."""

import jax
from jax.tree_util import Partial

from jaxcnn import create_model
from jaxcnn.layout import Layout
from jaxcnn.optim.chain import create_optimizer
from jaxcnn.optim.schedule import Schedule
from jaxcnn.train.recipe import Recipe
from jaxcnn.train.state import init_state
from jaxcnn.train.step import make_train_step

SHAPE = (6, 6, 1)


def initial_state(model, recipe, seed=0):
    return init_state(model, recipe, SHAPE, seed, Layout.over_all_devices())


def step_of(model, recipe):
    """The compiled step of a recipe: (state, batch) → (state, metrics)."""
    train_step = jax.jit(make_train_step(model))
    return lambda state, batch: train_step(state, batch, recipe)


def setting(name="linear", optimizer=None, recipe=None, **fields):
    """A model, plain gradient descent with a learning rate of 0.1, and the state they begin with."""
    model = create_model(name, num_classes=3, **fields)
    optimizer = optimizer or {"name": "sgd", "learning_rate": 0.1}
    groups = (recipe or {}).get("groups")
    tx = create_optimizer(optimizer, Schedule(Partial(lambda step: 1.0)), groups)
    recipe = Recipe(tx, **(recipe or {}))
    return model, recipe, initial_state(model, recipe)
