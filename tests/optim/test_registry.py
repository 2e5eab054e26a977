"""Which optimizers are registered, and their settings."""

import inspect

import optax
import pytest

from jaxcnn.errors import UserError
from jaxcnn.optim.chain import create_optimizer
from jaxcnn.optim.optimizers import OPTIMIZERS
from tests.optim.problem import CONSTANT

# Of CATALOG.md, "Optimizers": these must be there by name.
NAMED = {
    "sgd", "momentum", "nesterov", "adagrad", "adadelta", "rmsprop", "adam", "amsgrad", "adamax", "adamw",
    "nadam", "nadamw", "radam", "lamb", "lars", "lion", "muon", "schedule_free_adamw", "schedule_free_sgd",
    "sam",
}  # fmt: skip
# What optax calls an optimizer and this registry leaves out, and why (docs/optimizers.md).
LEFT_OUT = {
    "lbfgs",  # a line search over the whole objective
    "optimistic_adam",  # optax's own deprecated name for the _v2
    "dpsgd",  # needs the gradient of each example
    "galore",  # its state holds arrays without elements, which Orbax does not save
    "mechanize",  # goes around another optimizer
    "schedule_free",  # goes around another optimizer; _sgd and _adamw are there
}


def test_all_that_optax_has_is_there():
    """Whatever optax exports that makes a transformation of a learning rate is registered or accounted for."""
    wanted = set(NAMED)
    for module in (optax, optax.contrib):
        for name in dir(module):
            entry = getattr(module, name)
            if name.startswith(("_", "scale_by_")) or not callable(entry) or inspect.isclass(entry):
                continue
            try:
                parameters = inspect.signature(entry).parameters
            except (TypeError, ValueError):
                continue
            if {"learning_rate", "max_learning_rate"} & set(parameters):
                wanted.add(name)
    assert wanted - LEFT_OUT == set(OPTIMIZERS.names())


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_every_setting_has_a_default_that_a_config_can_hold(name):
    for setting, default in OPTIMIZERS.settings(name).items():
        assert isinstance(default, bool | int | float | tuple), setting
    assert OPTIMIZERS.about(name)


def test_a_setting_of_another_optimizer_is_refused():
    with pytest.raises(
        UserError, match="optimizer 'adam' has no setting 'momentum'; .*b1, b2, eps"
    ):
        create_optimizer({"name": "adam", "learning_rate": 1.0, "momentum": 0.9}, CONSTANT)
