"""What flows through a network: statistics of each layer's output, and the units that are dead."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jax.extend.core import Jaxpr, Literal

from jaxcnn.cpu.forms import plain_forms
from jaxcnn.models.classifier import Classifier
from jaxcnn.models.tracing import called, layer_at


class Flow(NamedTuple):
    """Numbers of a forward pass of a batch, by layer, in order of computation.

    Attributes:
      deviation: of all outputs of a layer with parameters.
      dead: the share of the units of a ReLU that are 0 for every image, everywhere; by the layer
        before it.
    """

    deviation: dict[str, float]
    dead: dict[str, float]


def flow(model: Classifier, variables: Mapping, images: jax.Array, key: jax.Array) -> Flow:
    """The flow of a batch in training mode.

    Args:
      images: (batch, height, width, channels), normalised.
      key: of dropout.
    """

    found = jax.device_get(jax.jit(traced_flow, static_argnums=0)(model, variables, images, key))
    return Flow(*({name: float(value) for name, value in numbers.items()} for numbers in found))


def traced_flow(model: Classifier, variables: Mapping, images: jax.Array, key: jax.Array) -> Flow:
    """As `flow`, of scalars on the device: to be called in a program."""

    def forward(variables, images):
        collections = {"mutable": ["batch_stats", "aux_logits"], "rngs": {"dropout": key}}
        return model.apply(variables, images, train=True, **collections)[0]

    with plain_forms():
        closed = jax.make_jaxpr(forward)(variables, images)
    modules = {tuple(path[:-1]) for path in flatten_dict(variables["params"])}
    watch = _Watch(modules, len(images))
    watch.run(closed.jaxpr, closed.consts, jax.tree.leaves((variables, images)), ())
    return Flow(**watch.found)


class _Watch:
    """Computes a traced function, and notes statistics of what its layers and activations return."""

    def __init__(self, modules: set[tuple[str, ...]], batch_size: int):
        self._modules, self._batch_size = modules, batch_size
        self.found: dict[str, dict[str, jax.Array]] = {"deviation": {}, "dead": {}}

    def run(self, jaxpr: Jaxpr, consts: Any, inputs: Any, scope: tuple[str, ...]) -> list:
        values = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *inputs], strict=True))

        def value_of(atom) -> Any:
            return atom.val if isinstance(atom, Literal) else values[atom]

        for eqn in jaxpr.eqns:
            incoming = [value_of(atom) for atom in eqn.invars]
            here = scope + tuple(filter(None, str(eqn.source_info.name_stack).split("/")))
            inner = called(eqn)
            if inner is not None:
                outgoing = self.run(inner.jaxpr, inner.consts, incoming, here)
                if "relu" in (inner.jaxpr.debug_info.func_name, eqn.params.get("name")):
                    self._note_activation(outgoing[0])
            else:
                params = eqn.primitive.get_bind_params(eqn.params)
                outgoing = eqn.primitive.bind(*incoming, **params)
                outgoing = outgoing if eqn.primitive.multiple_results else [outgoing]
                self._note_layer(here, outgoing[0])
            values.update(zip(eqn.outvars, outgoing, strict=True))
        return [value_of(atom) for atom in jaxpr.outvars]

    def _note_layer(self, scope: tuple[str, ...], output: jax.Array) -> None:
        path = layer_at(scope, self._modules)
        of_images = jnp.ndim(output) > 1 and output.shape[0] == self._batch_size
        if path in self._modules and of_images and jnp.issubdtype(output.dtype, jnp.floating):
            self.found["deviation"]["/".join(path)] = jnp.std(output.astype(jnp.float32))

    def _note_activation(self, output: jax.Array) -> None:
        name = next(reversed(self.found["deviation"]), "input")
        count = sum(known.split(" ")[0] == name for known in self.found["dead"])
        dead = (output <= 0).all(range(output.ndim - 1)).mean()
        self.found["dead"][f"{name} ({count + 1})" if count else name] = dead
