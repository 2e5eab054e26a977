"""Weights taken over from another network: heads by their classes' names, parameters anew by regex."""

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from jaxcnn import create_model
from jaxcnn.errors import UserError
from jaxcnn.transfer.adopt import Weights, adopt
from jaxcnn.transfer.converted import load_converted, save_converted

SHAPE = (8, 8, 1)


def network(**fields):
    return create_model("simple_cnn", **{"num_classes": 3, "widths": (4,), "hidden": 8, **fields})


def weights(class_names, **fields):
    model = network(**fields)
    variables = model.init(jax.random.key(0), np.zeros((1, *SHAPE)), train=False)
    return Weights(model, jax.device_get(variables), class_names)


def adopted(source, class_names, reinitialize=(), **fields):
    variables, lines = adopt(
        source, network(**fields), SHAPE, class_names, "config.init_from='w'", reinitialize
    )
    return set(flatten_dict(variables["params"], sep="/")), lines


@pytest.mark.parametrize(
    ("there", "here", "taken", "line"),
    [
        (("a", "b", "c"), ("a", "b", "c"), True, "the head is kept: it is for the same 3 classes"),
        (("a", "b", "c"), ("a", "c", "b"), False, r"other classes ('b' there is 'c' here)"),
        (("a", "b", "c"), ("x", "y", "z"), False, "the head is reinitialised: it is for other classes"),
        ((), ("x", "y", "z"), False, "reinitialised: it is for targets, and these are classes"),
        (("x", "y", "z"), (), False, "reinitialised: it is for classes, and these are targets"),
        ([], (), True, "the head is kept: it is for as many targets (3)"),
        (None, ("x", "y", "z"), True, "it is also for 3 classes, whose names are unknown"),
    ],
)  # fmt: skip
def test_a_head_is_taken_over_for_the_same_classes_alone(there, here, taken, line):
    paths, (said,) = adopted(weights(there), here)
    assert ("head/kernel" in paths) == taken
    assert "conv1/kernel" in paths
    assert line in said


def test_another_number_of_classes_is_another_head():
    paths, (said,) = adopted(weights(("a", "b", "c")), ("a", "b"), num_classes=2)
    assert "head/kernel" not in paths
    assert said == "the head is reinitialised: it is for 3 classes, and these are 2"


def test_parameters_begin_anew_by_regex():
    names = ("a", "b", "c")
    paths, (_, rule) = adopted(weights(names), names, ["^dense", "bias$"])
    assert not {path for path in paths if path.startswith("dense") or path.endswith("bias")}
    assert {"conv1/kernel", "head/kernel"} <= paths
    assert rule.startswith("reinitialised (^dense | bias$): ")
    _, (rule,) = adopted(weights(names), names, ["^head/"])  # and no word of a head that is kept
    assert rule.startswith("reinitialised (^head/): ")
    with pytest.raises(UserError, match=r"config.reinitialize.0=.\^dens3. matches no parameter"):
        adopted(weights(names), names, ["^dens3"])


def test_settings_of_training_alone_may_differ():
    names = ("a", "b", "c")
    adopted(weights(names), names, dropout_rate=0.7, batch_norm_momentum=0.5, dtype="bfloat16")
    with pytest.raises(UserError, match="another network: activation is relu there and tanh here"):
        adopted(weights(names), names, activation="tanh")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda flat: flat.pop("params/conv1/kernel"), "it lacks params/conv1/kernel"),
        (lambda flat: flat.pop("batch_stats/norm1/var"), "it lacks batch_stats/norm1/var"),
        (lambda flat: flat.update({"params/conv7/kernel": np.ones(3)}), "it also has params/conv7/kern"),
        (
            lambda flat: flat.update({"params/dense/bias": np.array([1.0, np.nan] * 4)}),
            "params/dense/bias has NaN or infinity",
        ),
    ],
)  # fmt: skip
def test_weights_that_are_not_whole_are_refused(change, said):
    source = weights(("a", "b", "c"))
    flat = flatten_dict(source.variables, sep="/")
    change(flat)
    with pytest.raises(
        UserError, match=rf"config.init_from='w': its weights are not whole: {said}"
    ):
        adopted(source._replace(variables=unflatten_dict(flat, sep="/")), ("a", "b", "c"))


def test_a_part_that_begins_anew_need_not_be_there():
    source = weights(("a", "b", "c"))
    flat = flatten_dict(source.variables, sep="/")
    del flat["params/dense/kernel"], flat["params/dense/bias"]
    whole = source._replace(variables=unflatten_dict(flat, sep="/"))
    paths, _ = adopted(whole, ("a", "b", "c"), ["^dense/"])
    assert "conv1/kernel" in paths


def test_a_converted_directory_whose_bytes_changed_is_refused(tmp_path):
    source = weights(("a", "b", "c"))
    fields = {"widths": (4,), "hidden": 8}
    save_converted(tmp_path / "w", "simple_cnn", 3, fields, source.variables, "somewhere")
    _, variables, _ = load_converted(tmp_path / "w")
    jax.tree.map(np.testing.assert_array_equal, variables, dict(source.variables))
    file = tmp_path / "w" / "variables.safetensors"
    content = bytearray(file.read_bytes())
    content[-5] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="variables.safetensors is damaged"):
        load_converted(tmp_path / "w")
