"""`convert` on other people's files: entries, prefixes, number types, heads, what is known of them."""

import json
import struct
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import jaxcnn
from jaxcnn import create_model, load_model
from jaxcnn.data.spec import DataSpec
from jaxcnn.errors import UserError
from jaxcnn.models import PUBLISHED_FOR
from jaxcnn.train.pretrained import load_weights
from jaxcnn.transfer.convert import export_weights, import_weights
from jaxcnn.transfer.weight_files import as_arrays, read_weights
from tests.models.zoo import variables_for
from tests.transfer.conftest import FIELDS, SHAPE
from tests.transfer.test_convert import RUN

SMALL = ("--model=resnet20_cifar", "--model.width=4", "--model.stage_sizes=(1, 1, 1)", "--input=8,8,1")  # fmt: skip


def under(prefix, tensors, factor=1):
    return {prefix + n: np.asarray(factor * v, v.dtype) for n, v in tensors.items()}


def test_prefixes_and_averages_in_a_flat_file(run_cli, error_of, network, tensors, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(under("model.module.", tensors) | under("ema_model.", tensors, 2), path)
    command = ("convert", *SMALL, f"--from={path}")
    code, out, err = run_cli(*command, f"--to={tmp_path / 'plain'}")
    assert code == 0, err
    assert out.splitlines()[:3] == [
        "read: model.module",
        "not read: ema_model, which fits too; --entry=ema_model reads it",
        f"37 of 37 tensors come from {path}",
    ]
    expected = variables_for(network, SHAPE)
    jax.tree.map(np.testing.assert_array_equal, load_model(tmp_path / "plain")[1], expected)
    assert run_cli(*command, f"--to={tmp_path / 'ema'}", "--entry=ema_model")[0] == 0
    _, doubled = load_model(tmp_path / "ema")
    jax.tree.map(lambda x, y: np.testing.assert_array_equal(x, 2 * y), doubled, expected)
    assert error_of(*command, f"--to={tmp_path / 'none'}", "--entry=emma") == (
        f"--entry=emma: {path} has no such entry with this model's tensors; those that have are "
        "ema_model, model.module"
    )


@pytest.mark.parametrize("strict", [True, False])
def test_a_file_without_one_tensor_of_the_model(run_cli, error_of, tensors, tmp_path, strict):
    path = tmp_path / "x.safetensors"
    save_file({"a.b": np.zeros(2), "c.d": np.zeros(2)}, path)
    flags = () if strict else ("--no-strict",)
    assert error_of("convert", *SMALL, *flags, f"--from={path}", f"--to={tmp_path / 'new'}") == (
        f"{path} holds no tensor of a resnet20_cifar: the first of its names are a.b, c.d, and those "
        "of a resnet20_cifar are bn1.bias, bn1.running_mean, bn1.running_var"
    )
    assert not (tmp_path / "new").exists()


def test_a_file_of_next_to_nothing_is_said_loudly(run_cli, tensors, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({name: value for name, value in tensors.items() if name.startswith("bn1")}, path)
    command = ("convert", *SMALL, "--no-strict", f"--from={path}", f"--to={tmp_path / 'new'}")
    _, out, _ = run_cli(*command)
    size = sum(v.size for name, v in tensors.items() if "num_batches" not in name)
    assert out.splitlines()[-3:-1] == [
        f"4 of 37 tensors come from {path}",
        f"WARNING: only 4 of 37 tensors, {16 / size:.1%} of the numbers, come from {path}; the rest is "
        "random",
    ]


def test_numbers_that_are_not_finite(run_cli, error_of, tensors, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(tensors | {"bn1.weight": np.array([1, np.nan, 1, 1], np.float32)}, path)
    command = ("convert", *SMALL, f"--from={path}", f"--to={tmp_path / 'new'}")
    assert error_of(*command) == (f"{path} holds NaN or infinity, in 1 of 37 tensors (bn1.weight)")
    assert "WARNING: bn1.weight holds NaN or infinity" in run_cli(*command, "--no-strict")[1]


@pytest.mark.parametrize("kind", [jnp.bfloat16, np.float16, np.float64])
def test_number_types(tensors, tmp_path, kind):
    save_file(
        {name: value.astype(kind) for name, value in tensors.items()}, tmp_path / "x.safetensors"
    )
    contents = read_weights(tmp_path / "x.safetensors")
    read = as_arrays(contents.entries[""], "x")
    for name, value in tensors.items():
        assert read[name].dtype == np.float32
        np.testing.assert_array_equal(read[name], value.astype(kind).astype(np.float32))


def test_numbers_that_float32_cannot_hold(tensors, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(tensors | {"bn1.weight": np.full(4, 1e300)}, path)
    with pytest.raises(
        UserError, match=r"holds NaN or infinity, in 1 of 37 tensors \(bn1.weight\)"
    ):
        import_weights("resnet20_cifar", path, tmp_path / "new", SHAPE, FIELDS)


def test_complex_numbers_are_refused():
    with pytest.raises(UserError, match="x: a is of complex64; weights are real numbers"):
        as_arrays({"a": np.zeros(2, np.complex64)}, "x")


# --- auxiliary heads ---


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_published_files_hold_auxiliary_heads(name, tmp_path):
    shape, _ = PUBLISHED_FOR[name]
    model = create_model(name, num_classes=10, aux_heads=True)
    variables = variables_for(model, shape)
    path = tmp_path / "x.safetensors"
    export_weights(model, variables, path)
    ours, said = import_weights(name, path, tmp_path / "new", shape, {})
    assert ours.aux_heads
    assert said[0] == "auxiliary heads: the file has them, and so does the model"
    read, weights = load_model(tmp_path / "new")
    assert read == ours
    jax.tree.map(np.testing.assert_array_equal, weights, variables)

    with pytest.raises(UserError, match="has a surplus of"):
        import_weights(name, path, tmp_path / "x", shape, {"aux_heads": False})
    save_file({n: v for n, v in load_file(path).items() if not n.lower().startswith("aux")}, path)
    assert not import_weights(name, path, tmp_path / "none", shape, {})[0].aux_heads


# --- what is known of the weights ---


@pytest.fixture
def exported(network, tmp_path):
    spec = DataSpec(
        image_shape=SHAPE,
        class_names=tuple("abcdefghiß"),
        mean=np.array([0.1], np.float32),
        std=np.array([0.3], np.float32),
        pixel_dtype="uint8",
    )
    path = tmp_path / "weights" / "deep" / "x.safetensors"
    about = {"model": "resnet20_cifar", **spec.to_json()}
    export_weights(network, variables_for(network, SHAPE), path, about)
    return path


def test_an_export_says_what_is_known(exported):
    with safe_open(exported, framework="numpy") as file:
        metadata = file.metadata()
    assert metadata == {
        "model": "resnet20_cifar",
        "class_names": json.dumps([*"abcdefghiß"]),
        "image_shape": "[8, 8, 1]",
        "mean": str([float(np.float32(0.1))]),
        "std": str([float(np.float32(0.3))]),
        "pixel_dtype": "uint8",
        "jaxcnn_version": jaxcnn.__version__,
    }


def test_a_converted_directory_keeps_it(run_cli, exported, tmp_path):
    import_weights("resnet20_cifar", exported, tmp_path / "new", SHAPE, FIELDS)
    weights = load_weights(tmp_path / "new")
    assert weights.class_names == tuple("abcdefghiß")
    assert weights.about["mean"] == [float(np.float32(0.1))]
    again = tmp_path / "again.safetensors"
    assert run_cli("convert", f"--from={tmp_path / 'new'}", f"--to={again}")[0] == 0
    assert read_weights(again).metadata == read_weights(exported).metadata


def test_what_is_known_of_another_network_is_said(tensors, tmp_path):
    path = tmp_path / "x.safetensors"
    known = {"jaxcnn_version": "1", "model": "resnet32_cifar", "class_names": '["a", "b"]'}
    save_file(tensors, path, known)
    _, said = import_weights("resnet20_cifar", path, tmp_path / "new", SHAPE, FIELDS)
    assert said[1:] == [
        f"note: {path} says that it is a resnet32_cifar, not a resnet20_cifar",
        "left out: the names of 2 classes",
    ]
    assert load_weights(tmp_path / "new").class_names is None


def test_another_program_s_metadata_say_nothing(tensors, tmp_path):
    save_file(tensors, tmp_path / "x.safetensors", {"format": "pt", "class_names": "no JSON"})
    import_weights("resnet20_cifar", tmp_path / "x.safetensors", tmp_path / "new", SHAPE, FIELDS)
    assert load_weights(tmp_path / "new").class_names is None


def test_damaged_metadata_are_named(tensors, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(tensors, path, {"jaxcnn_version": "1", "class_names": "no JSON"})
    with pytest.raises(UserError) as error:
        import_weights("resnet20_cifar", path, tmp_path / "new", SHAPE, FIELDS)
    assert str(error.value) == (
        f"{path}: the metadata class_names='no JSON' must be a JSON list of str"
    )


def test_a_run_s_classes_come_back_with_its_weights(run_cli, tmp_path, caplog):
    """Run → file → directory → a run that starts from it, whose head is for the same classes."""
    run, path, converted = tmp_path / "run", tmp_path / "x.safetensors", tmp_path / "converted"
    assert run_cli("train", *RUN, f"--workdir={run}")[0] == 0
    assert run_cli("convert", f"--from={run}", f"--to={path}")[0] == 0
    assert run_cli("convert", *SMALL, f"--from={path}", f"--to={converted}")[0] == 0
    assert load_weights(converted).class_names == load_weights(run).class_names
    start = (f"--config.init_from={converted}", f"--workdir={tmp_path / 'second'}")
    with caplog.at_level("INFO", logger="jaxcnn"):
        code, _, err = run_cli("train", *RUN, *start)
    assert code == 0, err
    assert "the head is kept: it is for the same 10 classes" in caplog.text


def safetensors(shape, end, content=bytes(16), length=None):
    """A file whose header says this, whatever its content."""
    described = {"a": {"dtype": "F32", "shape": shape, "data_offsets": [0, end]}}
    header = json.dumps(described).encode()
    return struct.pack("<Q", len(header) if length is None else length) + header + content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (safetensors([10**6], 4 * 10**6), "file not fully covered"),
        (safetensors([10**12], 4 * 10**12), "file not fully covered"),
        (safetensors([10**12], 16), "invalid shape, data type, or offset"),
        (safetensors([2**32, 2**32], 0, b""), "overflow computing buffer size"),
        (safetensors([-4], 16), "invalid value"),
        (safetensors([4], 16, bytes(160)), "file not fully covered"),
        (safetensors([4], 16, length=2**64 - 1), "header too large"),
        (safetensors([4], 16, length=99_000_000), "invalid header length"),
        (struct.pack("<Q", 10**5) + b"[" * 10**5, "invalid JSON in header"),
        (b"", "header too small"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_header_that_declares_what_the_file_has_not(tmp_path, content, message):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(UserError) as error:
            read_weights(path)
        assert tracemalloc.get_traced_memory()[1] < 5e6
    finally:
        tracemalloc.stop()
    assert str(error.value).startswith(f"{path} cannot be read as safetensors: ")
    assert message in str(error.value)
    assert "\n" not in str(error.value)
