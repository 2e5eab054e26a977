"""Optimizers by name. Each entry is a constructor whose keyword defaults are its settings."""

from functools import partial
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
    TWO_FRACTIONS,
)
from jaxcnn.optim.transformations import scale_by_sum_of_squares
from jaxcnn.registry import Registry

# Parameters of optax's constructors that take a parameter mask, of which `parameters.decayed` is one.
MASKS = ("mask", "weight_decay_mask", "trust_ratio_mask")
OPTIMIZERS = Registry(
    "optimizer",
    not_settings=(
        *MASKS, "mu_dtype", "accumulator_dtype", "dtype_momentum", "state_dtype", "warmup_steps",
        "clip_value_fn", "hessian_diagonal_fn", "verbose", "print_win_rate_every_n_steps",
         "beta3", "init_step", "init_estim_sq_dist",
    ),
)  # fmt: skip

register_optimizer = OPTIMIZERS.register


# --- what is put together from optax's parts ----------------------------------------------------


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
    """n ← ρn + (1−ρ)g²; w ← w − αg/√(n + ε), or αg/(√n + ε) if not eps_in_sqrt; Tieleman & Hinton 2012.

    Centred, n less the square of the running mean of g. Momentum gathers what α then multiplies, as in
    torch.optim.RMSprop; optax.rmsprop gathers it after α, which is another thing while α changes.
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
    """Momentum of gradients scaled, layer by layer, to a share of ‖w‖; You et al. 2017.

    Biases and norms are not scaled.
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
    """Second moments as products of row and column means, where both are long; Shazeer & Stern 2018.

    The decay is scaled by the learning rate, which optax leaves to its caller.
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
    """Momentum whose matrices are made orthogonal by Newton-Schulz iterations; Jordan et al. 2024.

    Matrices are the kernels but the head's; a convolution's is flattened to (window · inputs, outputs).
    All else is Adam's (NAdam's, if `nesterov`), at the same learning rate: with `match_adam_rms` an
    update's root mean square is 0.2, about that of Adam's (Liu et al. 2025). Without, matrices
    are scaled by √max(1, out/in).
    """

    def matrices(params):
        def dimensions(path, leaf):
            if leaf.ndim < 2 or path[-2].key == "head":
                return None
            return contrib.MuonDimensionNumbers(tuple(range(leaf.ndim - 1)), leaf.ndim - 1)

        return jax.tree_util.tree_map_with_path(dimensions, params)

    directions = contrib.muon(  # downwards, at a learning rate of 1
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
    # Optax's own decay acts on the matrices alone, and the head's kernel is not among them.
    decay = optax.add_decayed_weights(-weight_decay, mask)
    return optax.chain(directions, decay, optax.scale(learning_rate))


def sam(
    learning_rate: Annotated[float, POSITIVE] = 0.05,
    momentum: Annotated[float, FRACTION] = 0.9,
    rho: Annotated[float, AT_LEAST_0] = 0.05,
) -> optax.GradientTransformationExtraArgs:
    """Momentum, with the gradient taken ρ up the slope: two gradients a step; Foret et al. 2021."""
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
    """SGD at points between z, where it steps, and x, the average of z, which is evaluated.

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
    """As schedule_free_sgd, with AdamW's steps (without its momentum, which b1 replaces).

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
    """SGD with Gaussian noise of variance η/(1 + t)^γ in the gradient; Neelakantan et al. 2015."""
    return optax.noisy_sgd(learning_rate, eta, gamma, seed=0)


# --- the table ----------------------------------------------------------------------------------

for _optimizer in (
    sgd, momentum, nesterov, adagrad, rmsprop, lars, adafactor, muon, sam, schedule_free_sgd,
    schedule_free_adamw, polyak_sgd, noisy_sgd,
):  # fmt: skip
    register_optimizer(_optimizer.__name__, _optimizer)


# What optax's settings may be. They mean the same from optimizer to optimizer, but for these few.
_LIMITS = {
    **dict.fromkeys(("momentum", "b1", "b2", "b3", "rho", "decay"), FRACTION),
    **dict.fromkeys(("eps", "eps_root", "weight_decay", "min_norm", "min_step_size"), AT_LEAST_0),
    **dict.fromkeys(("learning_rate", "estim_lr0", "estim_lr_coef", "max_step_size"), POSITIVE),
    **dict.fromkeys(("clip_threshold", "gamma"), POSITIVE),
    **dict.fromkeys(("alpha", "lower_bound", "threshold"), ANY),
    "beta": ANY,
    "betas": TWO_FRACTIONS,
    "eta_minus": INNER_FRACTION,
    "eta_plus": AT_LEAST_1,
    "update_interval": AT_LEAST_1,
}
_LIMITS_OF = {
    "cocob": {"alpha": POSITIVE},
    "momo": {"beta": FRACTION},
    "signum": {"beta": FRACTION},
}


def _of_optax(module, name: str, learning_rate: float, about: str, **defaults) -> None:
    """Registers optax's own, with a learning rate that suits a small network."""
    entry = partial(getattr(module, name), learning_rate=learning_rate, **defaults)
    register_optimizer(name, entry, about, limits=_LIMITS | _LIMITS_OF.get(name, {}))


_of_optax(optax, "adadelta", 1.0, "Zeiler 2012, as torch.optim.Adadelta")
_of_optax(optax, "adam", 1e-3, "m̂/(√n̂ + ε); Kingma & Ba 2015, as torch.optim.Adam")
_of_optax(optax, "amsgrad", 1e-3, "Adam with the largest n̂ so far; Reddi et al. 2018")
_of_optax(
    optax, "adamax", 2e-3, "Adam of the infinity norm; Kingma & Ba 2015, as torch.optim.Adamax"
)
_of_optax(optax, "adamaxw", 2e-3, "Adamax with decoupled weight decay")
_of_optax(optax, "adamw", 1e-3, "m̂/(√n̂ + ε) + λw; Loshchilov & Hutter 2019, as torch.optim.AdamW")
_of_optax(optax, "nadam", 1e-3, "Adam with Nesterov momentum; Dozat 2016")
_of_optax(optax, "nadamw", 1e-3, "NAdam with decoupled weight decay")
_of_optax(optax, "radam", 1e-3, "Adam with the variance of 1/√n̂ rectified; Liu et al. 2020")
_of_optax(optax, "lamb", 5e-3, "Adam scaled, layer by layer, to ‖w‖; You et al. 2020")
_of_optax(optax, "lion", 3e-4, "the sign of an interpolated momentum; Chen et al. 2023")
_of_optax(optax, "adabelief", 1e-3, "Adam with the variance of g about m; Zhuang et al. 2020")
_of_optax(optax, "adan", 3e-3, "Adam with Nesterov momentum estimated; Xie et al. 2022")
_of_optax(optax, "fromage", 0.01, "steps relative to ‖w‖, layer by layer; Bernstein et al. 2020")
_of_optax(optax, "novograd", 0.01, "second moments layer by layer; Ginsburg et al. 2019")
_of_optax(
    optax, "optimistic_adam_v2", 1e-3, "Adam of an extrapolated gradient; Daskalakis et al. 2018"
)
_of_optax(optax, "optimistic_gradient_descent", 0.1, "2gₜ − gₜ₋₁; Rakhlin & Sridharan 2013")
# Made for whole batches: the signs of small ones' gradients are random, and would halve every step.
_of_optax(optax, "rprop", 0.01, "step sizes by signs alone; Riedmiller & Braun 1993", eta_minus=0.7)
_of_optax(optax, "sign_sgd", 1e-3, "the gradient's sign; Bernstein et al. 2018")
_of_optax(optax, "signum", 1e-3, "the sign of the momentum; Bernstein et al. 2018")
_of_optax(optax, "sm3", 0.05, "Adagrad with second moments shared by rows; Anil et al. 2019")
_of_optax(optax, "yogi", 1e-2, "Adam whose n moves by additions alone; Zaheer et al. 2018")
_of_optax(
    contrib, "acprop", 1e-3, "AdaBelief with the last step's n; Zhuang et al. 2021", eps_root=1e-6
)
_of_optax(contrib, "ademamix", 1e-3, "Adam with a second, slower m; Pagliardini et al. 2024")
_of_optax(
    contrib,
    "adopt",
    1e-3,
    "Adam with the last step's n, before the momentum; Taniguchi et al. 2024",
)
_of_optax(contrib, "cocob", 1.0, "coin betting, no learning rate; Orabona & Tommasi 2017")
_of_optax(contrib, "dadapt_adamw", 1.0, "AdamW that finds its rate; Defazio & Mishchenko 2023")
_of_optax(
    contrib, "dog", 1.0, "the distance over the gradients; Ivgi et al. 2023", weight_decay=0.0
)
_of_optax(
    contrib,
    "dowg",
    1.0,
    "the distance over weighted gradients; Khaled et al. 2023",
    weight_decay=0.0,
)
_of_optax(contrib, "madgrad", 1e-3, "dual averaging with cube roots; Defazio & Jelassi 2022")
_of_optax(contrib, "momo", 0.1, "momentum with a model of the loss; Schaipp et al. 2023")
_of_optax(contrib, "momo_adam", 1e-2, "Adam with a model of the loss; Schaipp et al. 2023")
_of_optax(contrib, "prodigy", 1.0, "AdamW that finds its rate; Mishchenko & Defazio 2023")
_of_optax(contrib, "simplified_ademamix", 1e-4, "AdEMAMix with one momentum; Morwani et al. 2025")
_of_optax(
    contrib, "sophia", 1e-3, "momentum over a clipped diagonal of the Hessian; Liu et al. 2023"
)
