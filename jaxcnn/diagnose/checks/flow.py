"""What flows through a network: statistics of each layer's output, and the units that are dead."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jax.extend.core import Jaxpr, Literal

from jaxcnn.cpu.forms import plain_forms
from jaxcnn.diagnose.receptive_field import called
from jaxcnn.diagnose.summary import layer_at
from jaxcnn.models.classifier import Classifier


class Flow(NamedTuple):
    """Numbers of a forward pass of a batch, by layer, in order of computation.

    Attributes:
      deviation: of all outputs of a layer with parameters.
      dead: the share of the units of a ReLU that are 0 for every image, everywhere.
    """

    deviation: dict[str, float]
    dead: dict[str, float]


def flow(model: Classifier, variables: Mapping, images: jax.Array, key: jax.Array) -> Flow:
    """The flow of a batch in training mode.

    Args:
      images: (batch, height, width, channels), normalised.
      key: of dropout.
    """

    def forward(variables, images):
        collections = {"mutable": ["batch_stats", "aux_logits"], "rngs": {"dropout": key}}
        return model.apply(variables, images, train=True, **collections)[0]

    def watched(variables, images):
        closed = jax.make_jaxpr(forward)(variables, images)
        watch = _Watch(
            {tuple(path[:-1]) for path in flatten_dict(variables["params"])}, len(images)
        )
        watch.run(closed.jaxpr, closed.consts, jax.tree.leaves((variables, images)), ())
        return watch.found

    with plain_forms():
        found = jax.device_get(jax.jit(watched)(variables, images))
    named = [{k: float(v) for k, v in found[kind].items()} for kind in ("deviation", "dead")]
    return Flow(*named)


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
                    self._note_activation(here, outgoing[0])
            else:
                outgoing = eqn.primitive.bind(*incoming, **eqn.params)
                outgoing = outgoing if eqn.primitive.multiple_results else [outgoing]
                self._note_layer(here, outgoing[0])
            values.update(zip(eqn.outvars, outgoing, strict=True))
        return [value_of(atom) for atom in jaxpr.outvars]

    def _note_layer(self, scope: tuple[str, ...], output: jax.Array) -> None:
        path = layer_at(scope, self._modules)
        of_images = jnp.ndim(output) > 1 and output.shape[0] == self._batch_size
        if path in self._modules and of_images and jnp.issubdtype(output.dtype, jnp.floating):
            self.found["deviation"]["/".join(path)] = jnp.std(output.astype(jnp.float32))

    def _note_activation(self, scope: tuple[str, ...], output: jax.Array) -> None:
        dead = (output <= 0).all(range(output.ndim - 1)).mean()
        parts = [part for part in scope[1:] if "." not in part and part != "relu"]
        name = "/".join(parts) or scope[0]
        count = sum(known.split(" ")[0] == name for known in self.found["dead"])
        self.found["dead"][f"{name} ({count + 1})" if count else name] = dead
