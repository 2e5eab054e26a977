"""Optimizers by name. Each entry is a constructor whose keyword defaults are its settings.

Every numeric setting is held in the optimizer's state (`optax.inject_hyperparams`), so what is
logged as the learning rate is the number that the update used.
"""

from functools import partial

import jax
import optax

from jaxcnn.registry import Registry

OPTIMIZERS = Registry("optimizer", not_settings=("mu_dtype",))


def nesterov(learning_rate=0.1, momentum=0.9) -> optax.GradientTransformation:
    """v ← ρv + g; w ← w − α(g + ρv): torch.optim.SGD(nesterov=True); Sutskever et al. 2013."""
    return optax.sgd(learning_rate, momentum=momentum, nesterov=True)


OPTIMIZERS.register("nesterov", nesterov)
# Kingma & Ba 2015, as torch.optim.Adam: m̂ = m/(1−β₁ᵗ), n̂ = n/(1−β₂ᵗ); w ← w − αm̂/(√n̂ + ε).
OPTIMIZERS.register("adam", partial(optax.adam, learning_rate=1e-3))


def create_optimizer(settings: dict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """Builds the optimizer that a config's `optimizer` section describes.

    Args:
      settings: the resolved section: `name`, `learning_rate` and the optimizer's own settings.
      schedule: step → the factor by which the learning rate is multiplied, 1 at its peak.

    Returns:
      A transformation whose state has `hyperparams`, with the `learning_rate` last used.

    Raises:
      UserError: the optimizer or a setting does not exist.
    """
    settings = dict(settings)
    name, peak = settings.pop("name"), settings.pop("learning_rate")
    return optax.inject_hyperparams(OPTIMIZERS.constructor(name, settings))(
        learning_rate=lambda step: peak * schedule(step), **settings
    )


def learning_rate(opt_state: optax.OptState) -> jax.Array:
    """The learning rate of the last update: a scalar, on the device."""
    return opt_state.hyperparams["learning_rate"]
