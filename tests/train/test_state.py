import jax
import numpy as np
import pytest
from jax.tree_util import Partial

from jaxcnn import create_model
from jaxcnn.layout import Layout
from jaxcnn.optim.averaging import Averaging
from jaxcnn.optim.chain import create_optimizer
from jaxcnn.optim.optimizers import OPTIMIZERS
from jaxcnn.optim.schedule import Schedule
from jaxcnn.train import state
from jaxcnn.train.recipe import Recipe


def initial_state(**kwargs):
    model = create_model("resnet20_cifar", num_classes=3, width=4, stage_sizes=(1, 1))
    tx = create_optimizer(
        {"name": "nesterov", "learning_rate": 0.1, "momentum": 0.9},
        Schedule(Partial(lambda step: 1.0)),
    )
    return state.init_state(model, Recipe(tx), (8, 8, 3), 0, Layout.over_all_devices(), **kwargs)


def test_kernel_by_kernel_is_the_same_state(monkeypatch):
    at_once = initial_state()
    monkeypatch.setattr(state, "_KERNELS_AT_ONCE", 0)
    one_by_one = initial_state()
    assert jax.tree.structure(at_once) == jax.tree.structure(one_by_one)
    for a, b in zip(
        jax.tree.leaves((at_once.params, at_once.opt_state, at_once.batch_stats)),
        jax.tree.leaves((one_by_one.params, one_by_one.opt_state, one_by_one.batch_stats)),
        strict=True,
    ):
        assert (a.dtype, a.sharding) == (b.dtype, b.sharding)
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_no_array_is_there_twice_which_could_not_be_donated(monkeypatch, name):
    """Initialised outside of one program, an optimizer's state may hold the parameters themselves."""
    monkeypatch.setattr(state, "_KERNELS_AT_ONCE", 0)
    model = create_model("linear", num_classes=3)
    tx = create_optimizer(
        {"name": name, **OPTIMIZERS.settings(name)}, Schedule(Partial(lambda step: 1.0))
    )
    recipe = Recipe(tx, averaging=Averaging(Partial(lambda step: 0.1), "averaged"))
    made = state.init_state(model, recipe, (8, 8, 3), 0, Layout.over_all_devices())
    jax.jit(lambda state: state.replace(step=state.step + 1), donate_argnums=0)(made)


def test_pretrained_values_are_taken_and_the_rest_is_drawn():
    fresh = initial_state()
    kernel = np.full(fresh.params["stem_conv"]["kernel"].shape, 0.25)
    given = initial_state(pretrained={"params": {"stem_conv": {"kernel": kernel}}})
    assert given.params["stem_conv"]["kernel"].dtype == np.float32
    np.testing.assert_array_equal(given.params["stem_conv"]["kernel"], kernel)
    np.testing.assert_array_equal(given.params["head"]["kernel"], fresh.params["head"]["kernel"])
