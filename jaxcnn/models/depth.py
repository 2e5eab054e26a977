"""The parts of a network by depth: stem, stages, head."""

import flax.linen as nn
from flax.traverse_util import flatten_dict

from jaxcnn.models.classifier import Classifier, abstract_variables


def parts_by_depth(
    model: Classifier, image_shape: tuple[int, int, int]
) -> dict[str, tuple[str, ...]]:
    """The layers and blocks of a network, by the part that they belong to, the first part first.

    A part ends where the network names an endpoint, and is called after it: 'stem', 'stage1', … as
    in `features`; what follows the last of them is the 'head'. A network with hidden layers between
    its last stage and its head has them in 'pre_logits'; a last normalisation belongs to the stage
    before it.

    Args:
      image_shape: (height, width, channels).

    Returns:
      The keys of `params` by part. Parts without parameters are left out.
    """
    parts: dict[str, tuple[str, ...]] = {}
    waiting: dict[str, None] = {}  # of the part that has not ended, in order

    def note(call, arguments, options, context):
        path = context.module.path
        if path and context.method_name == "__call__":
            waiting.setdefault(path[0])
        if not path and context.method_name == "endpoint" and arguments[0] != "score_map":
            end_part(arguments[0])
        return call(*arguments, **options)

    def end_part(name: str) -> None:
        known = {key for keys in parts.values() for key in keys}
        new = tuple(key for key in waiting if key in params and key not in known)
        if new and parts and not any(path[-1] == "kernel" for key in new for path in paths_of[key]):
            parts[next(reversed(parts))] += new
        elif new:
            parts[name] = new
        waiting.clear()

    params = abstract_variables(model, image_shape)["params"]
    paths_of = {key: flatten_dict({key: params[key]}) for key in params}
    with nn.intercept_methods(note):
        abstract_variables(model, image_shape)
    end_part("head")
    return parts
