"""Checks of a network before its first step: its loss, its answers, what flows through it."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from jaxcnn.diagnose.checks.finding import Finding, failed, passed
from jaxcnn.diagnose.checks.subject import Subject
from jaxcnn.models.flow import flow
from jaxcnn.train.gradient import batch_gradient
from jaxcnn.train.state import TrainState

_DEAD = 0.9  # of a layer's units


def check_frozen(subject: Subject, state: TrainState) -> Finding:
    """What is frozen was trained before."""
    groups = subject.experiment.recipe.groups
    frozen = groups.frozen if groups else ()
    sizes = {path: leaf.size for path, leaf in flatten_dict(state.params, sep="/").items()}
    count, total = sum(sizes[path] for path in frozen), sum(sizes.values())
    values = {"frozen": count, "parameters": total}
    if not count:
        return passed("frozen", f"all {total:,} parameters are trained", **values)
    share = f"{count:,} of {total:,} parameters ({count / total:.0%}) are frozen"
    if subject.pretrained is None:
        return failed(
            "frozen",
            f"{share} at their random initial values: config.init_from names no weights for them",
            **values,
        )
    return passed("frozen", f"{share}, with the weights of config.init_from", **values)


def check_initial_loss(subject: Subject, state: TrainState) -> Finding:
    """The loss before training is near that of outputs of 0, which prefer nothing."""
    loss = subject.loss(_forward(subject, state, subject.batch["image"], train=True))
    neutral = subject.neutral_loss
    values = {"loss": round(loss, 4), "expected": round(neutral, 4)}
    said = f"the initial loss is {loss:.3g}; outputs of 0 would have {neutral:.3g}"
    if not np.isfinite(loss):
        return failed("initial loss", f"the initial loss is {loss}", **values)
    if subject.pretrained is None and loss > 2 * neutral:
        return failed(
            "initial loss",
            f"{said}: the outputs are too large at first; look at the inputs and model.head_init",
            **values,
        )
    return passed("initial loss", said, **values)


def check_answers(subject: Subject, state: TrainState) -> Finding:
    """In evaluation, an image has one answer: the same twice, and the same without its batch."""
    images = subject.batch["image"]
    first, again = (_forward(subject, state, images, train=False) for _ in range(2))
    one = jnp.roll(images, 1, axis=0)
    turned = jnp.roll(_forward(subject, state, one, train=False), -1, axis=0)
    scale = float(jnp.abs(first).max()) or 1.0
    differences = [float(jnp.abs(first - other).max()) / scale for other in (again, turned)]
    values = {"twice": differences[0], "in another place": differences[1]}
    if differences[0] > 0:
        return failed(
            "answers",
            "the same batch gives other answers the second time, in evaluation: something is random",
            **values,
        )
    mixed = jnp.concatenate([images[:1], jnp.zeros_like(images[1:])])
    alone = _forward(subject, state, mixed, train=False)[0]
    values["beside others"] = float(jnp.abs(first[0] - alone).max()) / scale
    if max(values.values()) > 1e-3:
        return failed(
            "answers",
            "in evaluation, the answer for an image depends on its batch: something averages over it",
            **values,
        )
    return passed(
        "answers", "an image has the same answer twice, and beside other images", **values
    )


def check_activations(subject: Subject, state: TrainState) -> Finding:
    """Outputs keep their scale from layer to layer, and units are alive."""
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    images = subject.batch["image"]
    deviation, dead = flow(subject.experiment.model, variables, images, subject.key)
    values = {"deviation": _rounded(deviation), "dead": _rounded(dead)}
    if worst := {name: share for name, share in dead.items() if share > _DEAD}:
        name = next(iter(worst))
        return failed(
            "activations",
            f"{worst[name]:.0%} of the units of {name} are dead: their ReLU is 0 for every image"
            f"{f' (and so in {len(worst) - 1} more layers)' if worst.keys() - {name} else ''}; look at "
            "biases, initialisation and the inputs' scale",
            **values,
        )
    low, high = (pick(deviation, key=deviation.get) for pick in (min, max))
    said = f"outputs deviate by {deviation[low]:.2g} ({low}) to {deviation[high]:.2g} ({high})"
    first = max(deviation[next(iter(deviation))], 1e-30)
    if not np.isfinite(list(deviation.values())).all() or deviation[high] > 1e3 * max(first, 1.0):
        return failed("activations", f"{said}: they explode", **values)
    inner = [value for name, value in deviation.items() if name != list(deviation)[-1]]
    if min(inner, default=1.0) < 1e-4 * first:
        return failed("activations", f"{said}: they vanish; look at model.kernel_init", **values)
    most = f"; at most {max(dead.values()):.0%} of a layer's units are dead" if dead else ""
    return passed("activations", said + most, **values)


def check_gradients(subject: Subject, state: TrainState) -> Finding:
    """The gradient is finite, and no layer's is far from the others'."""
    experiment, batch = subject.experiment, subject.batch
    gradient = batch_gradient(
        experiment.model, experiment.recipe, state.batch_stats, batch, subject.key
    )
    _, grads = jax.jit(gradient)(state.params)
    norms = {p: float(jnp.linalg.norm(leaf)) for p, leaf in flatten_dict(grads, sep="/").items()}
    kernels = {
        path: norms[path] / np.sqrt(leaf.size)
        for path, leaf in flatten_dict(grads, sep="/").items()
        if path.endswith("kernel") and norms[path]
    }
    norm = float(np.sqrt(sum(each**2 for each in norms.values())))
    values = {"norm": norm, "by parameter": _rounded(norms)}
    if not np.isfinite(norm):
        return failed("gradients", "the gradient is not finite", **values)
    if not kernels:
        return failed(
            "gradients", "the gradient of every kernel is 0: nothing is learned", **values
        )
    low, high = (pick(kernels, key=kernels.get) for pick in (min, max))
    said = f"norm {norm:.2g}; by entry {kernels[low]:.1g} ({low}) to {kernels[high]:.1g} ({high})"
    if kernels[high] > 1e6 * kernels[low]:
        return failed("gradients", f"{said}: they vanish or explode between layers", **values)
    return passed("gradients", said, **values)


def _forward(subject: Subject, state: TrainState, images: jax.Array, train: bool) -> jax.Array:
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    model, key = subject.experiment.model, subject.key

    @jax.jit
    def answer(variables, images):
        if not train:
            return model.apply(variables, images, train=False)
        mutable = ["batch_stats", "aux_logits"]
        return model.apply(variables, images, train=True, mutable=mutable, rngs={"dropout": key})[0]

    return answer(variables, images)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in values.items()}
