"""Optimizers built from optax's parts. A constructor's keyword parameters are its settings."""

from typing import Annotated

import jax
import optax
import optax.contrib as contrib

from jaxcnn.limits import (
    ANY,
    AT_LEAST_0,
    AT_LEAST_1,
    FRACTION,
    INNER_FRACTION,
    POSITIVE,
)
from jaxcnn.optim.transformations import scale_by_sum_of_squares


def sgd(learning_rate: Annotated[float, POSITIVE] = 0.1) -> optax.GradientTransformation:
    """w ← w − αg; Robbins & Monro 1951."""
    return optax.sgd(learning_rate)


def momentum(
    learning_rate: Annotated[float, POSITIVE] = 0.1, momentum: Annotated[float, FRACTION] = 0.9
) -> optax.GradientTransformation:
    """v ← ρv + g; w ← w − αv; Polyak 1964, as torch.optim.SGD."""
    return optax.sgd(learning_rate, momentum=momentum)


def nesterov(
    learning_rate: Annotated[float, POSITIVE] = 0.1, momentum: Annotated[float, FRACTION] = 0.9
) -> optax.GradientTransformation:
    """v ← ρv + g; w ← w − α(g + ρv); Sutskever et al. 2013, as torch.optim.SGD(nesterov=True)."""
    return optax.sgd(learning_rate, momentum=momentum, nesterov=True)


def adagrad(
    learning_rate: Annotated[float, POSITIVE] = 0.02, eps: Annotated[float, AT_LEAST_0] = 1e-10
) -> optax.GradientTransformation:
    """G ← G + g²; w ← w − αg/(√G + ε); Duchi et al. 2011, as torch.optim.Adagrad."""
    return optax.chain(scale_by_sum_of_squares(eps), optax.scale_by_learning_rate(learning_rate))


def rmsprop(
    learning_rate: Annotated[float, POSITIVE] = 1e-3,
    decay: Annotated[float, FRACTION] = 0.9,
    eps: Annotated[float, AT_LEAST_0] = 1e-8,
    eps_in_sqrt=True,
    centered=False,
    momentum: Annotated[float, FRACTION] = 0.0,
) -> optax.GradientTransformation:
    """n ← ρn + (1−ρ)g²; w ← w − αg/√(n + ε), or αg/(√n + ε) if not eps_in_sqrt;
    Tieleman & Hinton 2012.

    If `centered`, the squared running mean of g is subtracted from n. Momentum accumulates before
    the multiplication by α, as in torch.optim.RMSprop; optax.rmsprop accumulates after it, which
    differs when α changes.
    """
    scale_by = optax.scale_by_stddev if centered else optax.scale_by_rms
    return optax.chain(
        scale_by(decay, eps, eps_in_sqrt=eps_in_sqrt),
        optax.trace(momentum),
        optax.scale_by_learning_rate(learning_rate),
    )


def lars(
    learning_rate: Annotated[float, POSITIVE] = 2.0,
    weight_decay: Annotated[float, AT_LEAST_0] = 0.0,
    trust_coefficient: Annotated[float, POSITIVE] = 1e-3,
    eps: Annotated[float, AT_LEAST_0] = 0.0,
    momentum: Annotated[float, FRACTION] = 0.9,
    nesterov=False,
    mask=None,
) -> optax.GradientTransformation:
    """Momentum of gradients scaled, layer by layer, to a fraction of ‖w‖; You et al. 2017.

    Biases and normalisation parameters are not scaled.
    """

    def matrices(params):
        return jax.tree.map(lambda leaf: leaf.ndim > 1, params)

    return optax.lars(
        learning_rate, weight_decay, True if mask is None else mask, trust_coefficient, eps,
        matrices, momentum, nesterov,
    )  # fmt: skip


def adafactor(
    learning_rate: Annotated[float, POSITIVE] = 0.05,
    min_dim_size_to_factor: Annotated[int, AT_LEAST_1] = 128,
    decay_rate: Annotated[float, FRACTION] = 0.8,
    decay_offset: Annotated[int, AT_LEAST_0] = 0,
    clipping_threshold: Annotated[float, POSITIVE] = 1.0,
    multiply_by_parameter_scale: bool = True,
    weight_decay: Annotated[float, AT_LEAST_0] = 0.0,
    eps: Annotated[float, AT_LEAST_0] = 1e-30,
    mask=None,
) -> optax.GradientTransformation:
    """Second moments factored into row and column means of large matrices; Shazeer & Stern 2018.

    The weight decay is scaled by the learning rate, which optax leaves to the caller.
    """
    return optax.adafactor(
        learning_rate,
        min_dim_size_to_factor=min_dim_size_to_factor,
        decay_rate=decay_rate,
        decay_offset=decay_offset,
        clipping_threshold=clipping_threshold,
        multiply_by_parameter_scale=multiply_by_parameter_scale,
        weight_decay_rate=learning_rate * weight_decay,
        eps=eps,
        weight_decay_mask=mask,
    )


def muon(
    learning_rate: Annotated[float, POSITIVE] = 2e-3,
    momentum: Annotated[float, FRACTION] = 0.95,
    nesterov=True,
    ns_steps: Annotated[int, AT_LEAST_1] = 5,
    weight_decay: Annotated[float, AT_LEAST_0] = 0.0,
    match_adam_rms=True,
    b1: Annotated[float, FRACTION] = 0.9,
    b2: Annotated[float, FRACTION] = 0.999,
    eps: Annotated[float, AT_LEAST_0] = 1e-8,
    mask=None,
) -> optax.GradientTransformation:
    """Momentum, orthogonalised for matrices by Newton-Schulz iterations; Jordan et al. 2024.

    The matrices are all kernels except that of the head; a convolution kernel is flattened to
    (window · inputs, outputs). Other parameters use Adam (NAdam if `nesterov`) at the same learning
    rate. With `match_adam_rms` the root mean square of a matrix update is 0.2, about that of Adam
    (Liu et al. 2025); without it, matrix updates are scaled by √max(1, out/in).
    """

    def matrices(params):
        def dimensions(path, leaf):
            if leaf.ndim < 2 or path[-2].key == "head":
                return None
            return contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

        return jax.tree_util.tree_map_with_path(dimensions, params)

    directions = contrib.muon(  # descent directions: the learning rate is 1
        1.0,
        ns_steps=ns_steps,
        beta=momentum,
        eps=eps,
        nesterov=nesterov,
        adam_b1=b1,
        adam_b2=b2,
        muon_weight_dimension_numbers=matrices,
        consistent_rms=0.2 if match_adam_rms else None,
    )
    # optax's decay would act on the matrices only, which exclude the head's kernel.
    decay = optax.add_decayed_weights(-weight_decay, mask)
    return optax.chain(directions, decay, optax.scale(learning_rate))


def sam(
    learning_rate: Annotated[float, POSITIVE] = 0.05,
    momentum: Annotated[float, FRACTION] = 0.9,
    rho: Annotated[float, AT_LEAST_0] = 0.05,
) -> optax.GradientTransformationExtraArgs:
    """Momentum with the gradient at w + ρg/‖g‖, two gradients per step; Foret et al. 2021."""
    uphill = optax.chain(contrib.normalize(), optax.sgd(rho))
    tx = contrib.sam(optax.sgd(learning_rate, momentum), uphill, opaque_mode=True)

    def update(grads, state, params, *, grad_fn, **_):
        return tx.update(grads, state, params, grad_fn=grad_fn)

    return optax.GradientTransformationExtraArgs(tx.init, update)


def schedule_free_sgd(
    learning_rate: Annotated[float, POSITIVE] = 0.5,
    b1: Annotated[float, INNER_FRACTION] = 0.9,
    weight_decay: Annotated[float, AT_LEAST_0] = 0.0,
    weight_lr_power: Annotated[float, AT_LEAST_0] = 2.0,
    mask=None,
) -> optax.GradientTransformationExtraArgs:
    """SGD on z, with gradients taken between z and its average x, which is evaluated.

    Defazio et al. 2024.
    """
    steps = optax.chain(
        optax.add_decayed_weights(weight_decay, mask), optax.scale_by_learning_rate(learning_rate)
    )
    return contrib.schedule_free(steps, learning_rate, b1, weight_lr_power)


def schedule_free_adamw(
    learning_rate: Annotated[float, POSITIVE] = 5e-3,
    b1: Annotated[float, INNER_FRACTION] = 0.9,
    b2: Annotated[float, FRACTION] = 0.999,
    eps: Annotated[float, AT_LEAST_0] = 1e-8,
    weight_decay: Annotated[float, AT_LEAST_0] = 0.0,
    weight_lr_power: Annotated[float, AT_LEAST_0] = 2.0,
    mask=None,
) -> optax.GradientTransformationExtraArgs:
    """schedule_free_sgd with the steps of AdamW (b1 replaces its momentum).

    Defazio et al. 2024.
    """
    steps = optax.chain(
        optax.scale_by_rms(b2, eps, eps_in_sqrt=False, bias_correction=True),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )
    return contrib.schedule_free(steps, learning_rate, b1, weight_lr_power)


def polyak_sgd(
    learning_rate: Annotated[float, POSITIVE] = 0.5,
    scaling: Annotated[float, POSITIVE] = 1.0,
    f_min: Annotated[float, ANY] = 0.0,
    eps: Annotated[float, AT_LEAST_0] = 0.0,
) -> optax.GradientTransformationExtraArgs:
    """A step of min(α, (loss − f_min)/‖g‖²); Loizou et al. 2021."""
    return optax.polyak_sgd(learning_rate, scaling, f_min, eps)


def noisy_sgd(
    learning_rate: Annotated[float, POSITIVE] = 0.1,
    eta: Annotated[float, AT_LEAST_0] = 0.01,
    gamma: Annotated[float, AT_LEAST_0] = 0.55,
) -> optax.GradientTransformation:
    """SGD with Gaussian gradient noise of variance η/(1 + t)^γ; Neelakantan et al. 2015."""
    return optax.noisy_sgd(learning_rate, eta, gamma, seed=0)
