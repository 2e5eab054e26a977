"""Optimizers by name: those of `constructors`, and optax's with a default learning rate each."""

from functools import partial

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
from jaxcnn.optim import constructors
from jaxcnn.registry import Registry

# Parameters of optax's constructors that take a parameter mask, such as
# `config.parameters.decayed`.
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

for _name in (
    "sgd", "momentum", "nesterov", "adagrad", "rmsprop", "lars", "adafactor", "muon", "sam",
    "schedule_free_sgd", "schedule_free_adamw", "polyak_sgd", "noisy_sgd",
):  # fmt: skip
    register_optimizer(_name, getattr(constructors, _name))


# Limits of optax's settings. A name means the same in every optimizer, except in `_LIMITS_OF`.
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
    """Registers an optax optimizer, with a learning rate that suits a small network."""
    entry = partial(getattr(module, name), learning_rate=learning_rate, **defaults)
    register_optimizer(name, entry, about, limits=_LIMITS | _LIMITS_OF.get(name, {}))


_of_optax(optax, "adadelta", 1.0, "Zeiler 2012, as torch.optim.Adadelta")
_of_optax(optax, "adam", 1e-3, "m̂/(√n̂ + ε); Kingma & Ba 2015, as torch.optim.Adam")
_of_optax(optax, "amsgrad", 1e-3, "Adam with the largest n̂ so far; Reddi et al. 2018")
_of_optax(
    optax, "adamax", 2e-3, "Adam with the infinity norm; Kingma & Ba 2015, as torch.optim.Adamax"
)
_of_optax(optax, "adamaxw", 2e-3, "Adamax with decoupled weight decay")
_of_optax(optax, "adamw", 1e-3, "m̂/(√n̂ + ε) + λw; Loshchilov & Hutter 2019, as torch.optim.AdamW")
_of_optax(optax, "nadam", 1e-3, "Adam with Nesterov momentum; Dozat 2016")
_of_optax(optax, "nadamw", 1e-3, "NAdam with decoupled weight decay")
_of_optax(optax, "radam", 1e-3, "Adam with the variance of 1/√n̂ rectified; Liu et al. 2020")
_of_optax(optax, "lamb", 5e-3, "Adam scaled, layer by layer, to ‖w‖; You et al. 2020")
_of_optax(optax, "lion", 3e-4, "the sign of an interpolated momentum; Chen et al. 2023")
_of_optax(optax, "adabelief", 1e-3, "Adam with the variance of g about m; Zhuang et al. 2020")
_of_optax(optax, "adan", 3e-3, "Adam with estimated Nesterov momentum; Xie et al. 2022")
_of_optax(optax, "fromage", 0.01, "steps relative to ‖w‖, layer by layer; Bernstein et al. 2020")
_of_optax(optax, "novograd", 0.01, "second moments layer by layer; Ginsburg et al. 2019")
_of_optax(
    optax, "optimistic_adam_v2", 1e-3, "Adam with an extrapolated gradient; Daskalakis et al. 2018"
)
_of_optax(optax, "optimistic_gradient_descent", 0.1, "2gₜ − gₜ₋₁; Rakhlin & Sridharan 2013")
# Made for full batches: with the noisy signs of small batches, 0.5 would shrink every step size.
_of_optax(
    optax,
    "rprop",
    0.01,
    "step sizes from gradient signs only; Riedmiller & Braun 1993",
    eta_minus=0.7,
)
_of_optax(optax, "sign_sgd", 1e-3, "the gradient's sign; Bernstein et al. 2018")
_of_optax(optax, "signum", 1e-3, "the sign of the momentum; Bernstein et al. 2018")
_of_optax(optax, "sm3", 0.05, "Adagrad with second moments shared by rows; Anil et al. 2019")
_of_optax(optax, "yogi", 1e-2, "Adam with additive updates of n; Zaheer et al. 2018")
_of_optax(
    contrib, "acprop", 1e-3, "AdaBelief with the last step's n; Zhuang et al. 2021", eps_root=1e-6
)
_of_optax(contrib, "ademamix", 1e-3, "Adam with a second, slower m; Pagliardini et al. 2024")
_of_optax(
    contrib,
    "adopt",
    1e-3,
    "Adam with the last step's n, applied before the momentum; Taniguchi et al. 2024",
)
_of_optax(contrib, "cocob", 1.0, "coin betting, no learning rate; Orabona & Tommasi 2017")
_of_optax(
    contrib,
    "dadapt_adamw",
    1.0,
    "AdamW that estimates its learning rate; Defazio & Mishchenko 2023",
)
_of_optax(contrib, "dog", 1.0, "rate: distance over gradients; Ivgi et al. 2023", weight_decay=0.0)
_of_optax(
    contrib,
    "dowg",
    1.0,
    "rate: distance over weighted gradients; Khaled et al. 2023",
    weight_decay=0.0,
)
_of_optax(contrib, "madgrad", 1e-3, "dual averaging with cube roots; Defazio & Jelassi 2022")
_of_optax(contrib, "momo", 0.1, "momentum with a model of the loss; Schaipp et al. 2023")
_of_optax(contrib, "momo_adam", 1e-2, "Adam with a model of the loss; Schaipp et al. 2023")
_of_optax(
    contrib, "prodigy", 1.0, "AdamW that estimates its learning rate; Mishchenko & Defazio 2023"
)
_of_optax(contrib, "simplified_ademamix", 1e-4, "AdEMAMix with one momentum; Morwani et al. 2025")
_of_optax(
    contrib, "sophia", 1e-3, "momentum over a clipped diagonal of the Hessian; Liu et al. 2023"
)
