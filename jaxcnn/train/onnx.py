"""A trained network as an ONNX file, compared with the network itself before it is given out."""

import logging
from collections.abc import Callable, Mapping
from types import ModuleType

import jax
import numpy as np
from jax.extend.core import jaxpr_as_fun

from jaxcnn.cpu.forms import plain_forms
from jaxcnn.data.spec import DataSpec
from jaxcnn.errors import UserError
from jaxcnn.models.classifier import Classifier
from jaxcnn.train.exporting import to_serve
from jaxcnn.train.prediction import compiled_answer

TOLERANCE = 1e-4  # of the largest output


def exported_to_onnx(
    model: Classifier, variables: Mapping, spec: DataSpec, preprocessing: bool = False
) -> tuple[bytes, float]:
    """A network with its weights, in evaluation mode, as an ONNX model; and how exact that is.

    The model takes `images` and gives `outputs` (images, outputs), for any number of images.

    Arguments as `to_serve`.

    Returns:
      The model; and the largest difference of its outputs, in onnxruntime on the CPU, from those of the
      network, for random images, as a share of the largest output.

    Raises:
      UserError: a package is missing, the network does not convert, onnxruntime does not run what it
        converts to, or the difference is more than `TOLERANCE`.
    """
    to_onnx, onnxruntime = _packages()
    pixels = _random_pixels(spec, 6)
    normalised = (pixels.astype(np.float32) - spec.mean) * (1 / spec.std)
    plain = model.clone(replicas=None, layout=None, precision="float32")
    expected = np.asarray(compiled_answer(plain, "none")(variables, {"image": normalised}))

    answer, images = to_serve(model, variables, spec, preprocessing)
    # Traced here: where jax2onnx traces, it replaces layers of Flax by others that take less padding.
    with plain_forms():
        network = jaxpr_as_fun(jax.make_jaxpr(answer)(images))
    try:
        converted = to_onnx(
            lambda images: network(images)[0],
            [images],
            input_names=["images"],
            output_names=["outputs"],
        )
        _take_maxima_in_three_dimensions(converted)
        content = converted.SerializeToString()
    except Exception as error:
        raise UserError(f"this network does not convert: {_first_line(error)}") from error

    takes = pixels if preprocessing else normalised
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        found = [session.run(None, {"images": some})[0] for some in (takes[:1], takes[1:])]
    except Exception as error:
        raise UserError(f"onnxruntime does not run this network: {_first_line(error)}") from error
    difference = np.abs(np.concatenate(found) - expected).max() / (np.abs(expected).max() or 1)
    if not difference <= TOLERANCE:  # also where it is not a number
        raise UserError(
            f"in onnxruntime this network's outputs differ by {difference:.1e} of the largest"
        )
    return content, float(difference)


def _packages() -> tuple[Callable, ModuleType]:
    # They warn of parts for other libraries, and of shapes that onnxruntime works out for itself.
    for name in ("jax2onnx", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        import onnxruntime
        from jax2onnx import to_onnx
    except ImportError as error:
        needs = f"ONNX needs the package {error.name}: pip install 'jaxcnn[onnx]'"
        raise UserError(needs) from error
    return to_onnx, onnxruntime


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}{f' ({lines[0][:200]})' if lines else ''}"


def _random_pixels(spec: DataSpec, count: int) -> np.ndarray:
    """Pixels (count, height, width, channels), as they are stored."""
    rng, shape = np.random.default_rng(0), (count, *spec.image_shape)
    if spec.pixel_dtype == "uint8":
        return rng.integers(0, 256, shape, np.uint8)
    return spec.mean + spec.std * rng.standard_normal(shape, np.float32)


def _take_maxima_in_three_dimensions(model) -> None:
    """Rewrites the maxima over windows of an `onnx.ModelProto`, which onnxruntime would not run.

    jax2onnx takes a batch for one image of one channel, so that the windows have four dimensions, and
    onnxruntime takes maxima over three at most. Here the images become the channels.
    """
    from onnx import helper, numpy_helper

    first, nodes = numpy_helper.from_array(np.array([0]), "first_axis"), []
    for node in model.graph.node:
        window = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        if node.op_type != "MaxPool" or len(window["kernel_shape"]) != 4:
            nodes.append(node)
            continue
        pads = window.pop("pads", 8 * [0])
        window = {name: values[1:] for name, values in window.items()}
        (x,), (y,) = node.input, node.output
        nodes += [
            helper.make_node("Squeeze", [x, first.name], [f"{x}_images"]),
            helper.make_node(
                "MaxPool", [f"{x}_images"], [f"{y}_images"], pads=pads[1:4] + pads[5:], **window
            ),
            helper.make_node("Unsqueeze", [f"{y}_images", first.name], [y]),
        ]
    if len(nodes) > len(model.graph.node):
        model.graph.initializer.append(first)
        del model.graph.node[:]
        model.graph.node.extend(nodes)
