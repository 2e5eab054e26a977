"""Which tensors of a checkpoint are the model's: entries, prefixes, averages."""

import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.transfer.entries import choose, contents_of

pytestmark = pytest.mark.fast

HEAD = ("fc.weight", "fc.bias")
NAMES = ("conv1.weight", *(f"layer1.{i}.conv1.weight" for i in range(5)), *HEAD)


def tensors(prefix="", value=0.0, names=NAMES):
    return {prefix + name: np.full(2, value) for name in names}


def chosen(saved, entry="", source="x.pth"):
    return choose(contents_of(saved), NAMES.__contains__, source, entry)


def value_of(result):
    assert set(result.tensors) == set(NAMES)
    (value,) = {float(tensor[0]) for tensor in result.tensors.values()}
    return value


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "model.", "backbone.", "encoder.", "net.",
                                    "model.module._orig_mod.", "module.encoder_q.", "a.b.c.d."])  # fmt: skip
@pytest.mark.parametrize("entry", [None, "model", "state_dict", "net", "network", "model_state_dict", "anything"])  # fmt: skip
def test_any_prefix_in_any_entry(prefix, entry):
    state_dict = tensors(prefix, 1.0)
    result = chosen(state_dict if entry is None else {entry: state_dict, "epoch": 3})
    assert value_of(result) == 1
    path = ".".join(filter(None, (entry, prefix.rstrip("."))))
    assert result.said[:1] == ([f"read: {path}"] if path else [])
    assert result.said[1:] == ([] if entry is None else ["not read: epoch"])


def test_checkpoints_of_references_say_what_is_not_read():
    optimizer = {"state": {0: {"momentum_buffer": np.zeros(2)}}, "param_groups": [{"lr": 0.1}]}
    saved = {"model": tensors(), "optimizer": optimizer, "epoch": 89, "args": object()}
    assert chosen(saved).said == ["read: model", "not read: optimizer, epoch, args"]
    lightning = {
        "state_dict": {**tensors("net."), "criterion.weight": np.ones(3)},
        "hyper_parameters": {"lr": 0.1},
        "optimizer_states": [],
        "callbacks": {"ModelCheckpoint{'monitor': 'x.y'}": {"best_model_score": np.float32(0.1)}},
    }
    result = chosen(lightning)
    assert set(result.tensors) == {*NAMES, "criterion.weight"}
    assert result.said == [
        "read: state_dict.net",
        "not read: callbacks, hyper_parameters, optimizer_states",
    ]


@pytest.mark.parametrize(
    ("plain", "copy"),
    [
        ("state_dict", "state_dict_ema"),
        ("model", "model_ema"),
        ("model", "ema"),
        ("net", "swa_net"),
        ("network", "best_network"),
    ],
)
def test_an_average_is_neither_taken_nor_ignored_silently(plain, copy):
    saved = {copy: tensors("module.", 2.0), plain: tensors("", 1.0)}
    result = chosen(saved)
    assert value_of(result) == 1
    said = f"not read: {copy}.module, which fits too; entry={copy}.module reads it"
    assert result.said == [f"read: {plain}", said]
    assert value_of(chosen(saved, copy)) == 2
    assert value_of(chosen(saved, f"{copy}.module")) == 2
    assert chosen(saved, copy).said == [
        f"read: {copy}.module",
        f"not read: {plain}, which fits too; entry={plain} reads it",
    ]
    assert value_of(chosen({copy: tensors("", 2.0)})) == 2


def test_an_average_beside_the_network_in_one_state_dict():
    saved = {"state_dict": {**tensors("model.", 1.0), **tensors("ema_model.module.", 2.0)}}
    assert value_of(chosen(saved)) == 1
    assert value_of(chosen(saved, "state_dict.ema_model")) == 2
    nested = {**tensors("", 1.0), **tensors("ema.", 2.0)}
    assert value_of(chosen(nested)) == 1
    assert value_of(chosen(nested, "ema")) == 2
    assert chosen(nested, "ema").said[1] == (
        "not read: another, which fits too; it is at the top of the file"
    )


def test_a_wrong_entry_lists_those_that_exist():
    saved = {"state_dict": tensors(), "state_dict_ema": tensors("module."), "epoch": 3}
    with pytest.raises(UserError) as error:
        chosen(saved, "ema")
    assert str(error.value) == (
        "entry=ema: x.pth has no such entry with this model's tensors; those that have are "
        "state_dict, state_dict_ema.module"
    )


def test_of_two_networks_neither_is_guessed():
    saved = {"student": tensors("", 1.0), "teacher": tensors("", 2.0)}
    with pytest.raises(UserError) as error:
        chosen(saved)
    assert str(error.value) == (
        "entry='': x.pth holds several entries with this model's tensors: student, teacher; choose one"
    )
    assert value_of(chosen(saved, "teacher")) == 2


def test_a_head_of_one_s_own_beside_the_backbone():
    saved = {**tensors("backbone.", 1.0, NAMES[:-2]), **tensors("", 2.0, HEAD)}
    assert set(chosen(saved).tensors) == set(NAMES)
    both = {**tensors("backbone.", 1.0), "fc.weight": np.ones(2)}
    assert set(chosen(both).tensors) == {*NAMES, "fc.weight (outside backbone.)"}


def test_no_tensor_of_the_model():
    assert chosen({"model": {"a.b": np.zeros(2)}}) == ({}, [])
    assert contents_of({"epoch": 3, "args": None}).entries == {}
    assert contents_of({0: np.zeros(2), "optimizer": {1: np.zeros(2)}}).entries == {}


@pytest.mark.parametrize(
    "stray",
    [
        {"probe": {"fc.weight": np.zeros(2), "fc.bias": np.zeros(2)}},
        {"optimizer": {"sq": {"fc.weight": np.zeros(2)}}},
        {"projector": {"fc.bias": np.zeros(2)}, "epoch": 3},
    ],
)
def test_a_few_stray_tensors_do_not_beat_a_whole_average(stray):
    result = chosen({"ema": tensors("", 2.0), **stray})
    assert value_of(result) == 2
    assert result.said[0] == "read: ema"


def test_what_is_at_the_top_beside_the_network_has_a_name():
    result = chosen({"model": tensors("", 1.0), "rng_state": np.zeros(3)})
    assert value_of(result) == 1
    assert result.said == ["read: model", "not read: what is at the top of the file"]


def test_a_key_that_is_no_text_does_not_hide_the_entry_beside_it():
    assert value_of(chosen({"ckpt": {"model": tensors("", 1.0), 1: "x"}})) == 1
