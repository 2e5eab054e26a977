"""What is trained of a network that starts from given weights, and at which learning rate."""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from flax.traverse_util import flatten_dict

from jaxcnn.errors import UserError
from jaxcnn.models.classifier import Classifier, abstract_variables, feature_shapes
from jaxcnn.models.depth import parts_by_depth
from jaxcnn.optim.groups import Matcher

HEAD = "head"


class Plan(NamedTuple):
    """What `config.transfer` asks of a network.

    Attributes:
      model: the network, with what is frozen of its statistics.
      frozen: the paths of the parameters that are not trained.
      multipliers: factors of the learning rate by path, where they are not 1.
      rules: for the log, what is trained.
    """

    model: Classifier
    frozen: frozenset[str] = frozenset()
    multipliers: Mapping[str, float] = MappingProxyType({})
    rules: tuple[str, ...] = ()


def transfer_plan(settings: Mapping, model: Classifier, image_shape: tuple[int, int, int]) -> Plan:
    """Applies a config's `transfer` section to a network.

    In `linear_probe` the head alone is trained, and everything before it computes as in evaluation.
    In `finetune_top` the head and the last `top` parts are trained, `parts_by_depth`; the batch
    normalisations before them keep their running statistics. In `finetune` all is trained.

    Args:
      settings: the resolved section.
      image_shape: (height, width, channels).

    Raises:
      UserError: there are fewer parts than `top`, the network has no linear head to probe with, or a
        regex matches no batch normalisation.
    """
    mode = settings["mode"]
    if not mode:
        return Plan(model)
    variables = abstract_variables(model, image_shape)
    probing, parts = mode == "linear_probe", parts_by_depth(model, image_shape)
    if probing:
        _check_linear_head(model, variables, image_shape)
    trained = tuple(parts)
    if mode != "finetune":
        trained = _last_parts(parts, 0 if probing else settings["top"])
    part_of = {key: part for part, keys in parts.items() for key in keys}
    paths = {path: part_of.get(path[0]) for path in flatten_dict(variables["params"])}
    statistics, said = _frozen_statistics(settings["frozen_statistics"], variables)
    if mode == "finetune_top":
        below = [key for key, part in part_of.items() if part not in trained]
        statistics += tuple(f"^{re.escape(key)}(/|$)" for key in below)
    multiplier = settings["depth_multiplier"]
    rates = {part: multiplier ** (len(trained) - i) for i, part in enumerate(trained, start=1)}
    frozen = {path for path, part in paths.items() if part not in trained}
    return Plan(
        model.clone(frozen_statistics=statistics, frozen_trunk=probing),
        frozenset() if mode == "finetune" else frozenset(map("/".join, frozen)),
        {"/".join(path): rates[part] for path, part in paths.items() if rates.get(part, 1) != 1},
        (_said_of(mode, rates), *said),
    )


def _last_parts(parts: Mapping[str, tuple[str, ...]], count: int) -> tuple[str, ...]:
    """The last `count` parts before the head, and the head."""
    before = [part for part in parts if part != HEAD]
    if count > len(before):
        raise UserError(
            f"config.transfer.top={count}: before its head the network has {len(before)} parts "
            f"({', '.join(before)})"
        )
    return (*before[len(before) - count :], HEAD)


def _check_linear_head(
    model: Classifier, variables: Mapping, image_shape: tuple[int, int, int]
) -> None:
    """Refuses a network whose logits are no linear function of its last features."""
    last = feature_shapes(model, variables, image_shape).get("pre_logits")
    kernel = variables["params"].get(HEAD, {}).get("kernel")
    if last is None or kernel is None or kernel.shape[0] != last[-1]:
        raise UserError(
            "config.transfer.mode='linear_probe' needs a network that ends in a layer 'head' on an "
            "endpoint 'pre_logits'"
        )


def _frozen_statistics(
    patterns: list[str], variables: Mapping
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The regexes of `frozen_statistics`, checked, and log lines about them."""
    if not patterns:
        return (), ()
    means = flatten_dict(variables.get("batch_stats", {}), sep="/")
    layers = {path.removesuffix("/mean"): leaf for path, leaf in means.items() if "/mean" in path}
    setting = "config.transfer.frozen_statistics"
    if not layers:
        raise UserError(f"{setting}: the network has no batch normalisation")
    matcher = Matcher(layers, "batch normalisation")
    found = matcher.matched_by_any(patterns, setting)
    count = f"{len(found)} of {len(layers)} batch normalisations"
    return tuple(patterns), (f"running statistics kept ({' | '.join(patterns)}): {count}",)


def _said_of(mode: str, rates: Mapping[str, float]) -> str:
    said = f"{mode}: trains {', '.join(rates)}"
    if set(rates.values()) != {1}:
        said += f", at learning rate × {', '.join(f'{rate:.3g}' for rate in rates.values())}"
    return f"{said}; no dropout" if mode == "linear_probe" else said
