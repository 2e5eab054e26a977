"""Copies the weights of one network into another that computes the same function."""

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn.errors import UserError
from jaxcnn.models.classifier import Classifier, abstract_variables
from jaxcnn.optim.groups import Matcher


class Weights(NamedTuple):
    """A network and its variables.

    Attributes:
      class_names: in order; None if unknown.
      about: the model's name, and whichever of the `about.ABOUT` fields are known.
    """

    model: Classifier
    variables: Mapping
    class_names: tuple[str, ...] | None
    about: Mapping = MappingProxyType({})


def adopt(
    source: Weights,
    model: Classifier,
    image_shape: tuple[int, int, int],
    class_names: tuple[str, ...],
    setting: str,
    reinitialize: Iterable[str] = (),
) -> tuple[dict, list[str]]:
    """The variables of `source` that `model` starts from.

    All of them except the heads if the classes differ, the auxiliary heads if the model has none, and
    the parameters to reinitialise.

    Args:
      image_shape: the shape of the model's images.
      class_names: the model's classes; empty for a regression.
      setting: the start of an error message.
      reinitialize: regexes for the paths of the parameters to reinitialise.

    Returns:
      The variables, on the host, and log lines that say what was left out.

    Raises:
      UserError: the source is a different network, or a regex matches nothing.
    """
    problem = f"{setting} holds the weights of another network"
    if type(source.model) is not type(model):
        raise UserError(
            f"{problem}: a {type(source.model).__name__}, and this is a {type(model).__name__}"
        )
    if changed := source.model.evaluation_differences(model):
        raise UserError(f"{problem}: {'; '.join(changed)}")
    given = flatten_dict(source.variables)
    expected = flatten_dict(abstract_variables(model, image_shape))

    same_head, said = _same_head(source, model, class_names)
    if not same_head:
        given = _without_heads(given)
    if not getattr(model, "aux_heads", False):
        given = {path: value for path, value in given.items() if not path[1].startswith("aux")}
    for path, value in given.items():
        if path in expected and value.shape != expected[path].shape:
            raise UserError(
                f"{problem}, for other images: {'/'.join(path)} is {value.shape} there and "
                f"{expected[path].shape} here"
            )
    matcher = Matcher(unflatten_dict(expected)["params"])
    patterns = list(reinitialize)
    anew = matcher.matched_by_any(patterns, "config.reinitialize")
    matcher.add_rule("reinitialised", patterns, anew)
    _check_complete(given, expected if same_head else _without_heads(expected), anew, setting)
    given = {path: value for path, value in given.items() if "/".join(path[1:]) not in anew}
    variables = unflatten_dict({path: np.asarray(value) for path, value in given.items()})
    head = {"/".join(path[1:]) for path in expected if path[1] == "head"}
    return variables, [*([] if head and head <= anew else [said]), *matcher.rules]


def _without_heads(variables: Mapping) -> dict:
    return {path: value for path, value in variables.items() if not path[1].endswith("head")}


def _check_complete(given: Mapping, expected: Mapping, anew: Iterable[str], setting: str) -> None:
    """Refuses weights of which a part would be left out, random, or not a number."""
    wanted = {path for path in expected if "/".join(path[1:]) not in anew}
    problems = [
        *(f"it lacks {'/'.join(path)}" for path in sorted(wanted - set(given))),
        *(f"it also has {'/'.join(path)}" for path in sorted(set(given) - set(expected))),
        *(
            f"{'/'.join(path)} has NaN or infinity"
            for path in sorted(wanted & set(given))
            if not np.isfinite(np.asarray(given[path], np.float32)).all()
        ),
    ]
    if problems:
        more = f" (and {len(problems) - 1} more)" if problems[1:] else ""
        raise UserError(f"{setting}: its weights are not whole: {problems[0]}{more}")


def _same_head(
    source: Weights, model: Classifier, class_names: tuple[str, ...]
) -> tuple[bool, str]:
    """Whether the head has the same classes in the same order, and a log line about it."""
    there, here = source.model.num_classes, model.num_classes
    regression = source.class_names is not None and not source.class_names
    if source.class_names is not None and regression != (not class_names):
        kinds = ("targets", "classes") if regression else ("classes", "targets")
        return False, "the head is reinitialised: it is for {}, and these are {}".format(*kinds)
    if there != here:
        kind = "classes" if class_names else "targets"
        return False, f"the head is reinitialised: it is for {there} {kind}, and these are {here}"
    if regression:
        return True, f"the head is kept: it is for as many targets ({there})"
    if source.class_names is None:
        return (
            True,
            f"the head is kept: it is also for {there} classes, whose names are unknown",
        )
    if source.class_names != tuple(class_names):
        first = next(
            (
                pair
                for pair in zip(source.class_names, class_names, strict=True)
                if pair[0] != pair[1]
            ),
            (),
        )
        names = f" ('{first[0]}' there is '{first[1]}' here)" if first else ""
        return False, f"the head is reinitialised: it is for other classes{names}"
    return True, f"the head is kept: it is for the same {there} classes"
