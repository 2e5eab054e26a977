"""The only place that imports TensorFlow: on first use, and without access to the accelerator."""

import functools
import importlib.util
import os
from collections.abc import Callable

from jaxcnn.errors import UserError


@functools.cache
def tensorflow_installed() -> bool:
    return importlib.util.find_spec("tensorflow") is not None


@functools.cache
def _import_tensorflow():
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":  # JAX sets 1 when it is imported
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # start-up message and rounding differences
    # TensorFlow imports all of Keras, which takes a third of its import time. Legacy Keras is a
    # separate package: asked for that one, TensorFlow only finds that it is not installed.
    keras = os.environ.get("TF_USE_LEGACY_KERAS")
    os.environ["TF_USE_LEGACY_KERAS"] = keras or "1"
    try:
        import tensorflow as tf
    finally:
        if keras is None:
            del os.environ["TF_USE_LEGACY_KERAS"]

    tf.config.set_visible_devices([], "GPU")
    tf.config.set_visible_devices([], "TPU")
    return tf


def tensorflow(what_for: str):
    """Imports TensorFlow on first use and returns the module.

    Args:
      what_for: what the user asked for that needs TensorFlow, for the error message.

    Raises:
      UserError: TensorFlow is not installed.
    """
    if not tensorflow_installed():
        raise UserError(
            f"{what_for} needs TensorFlow, which is not installed; `pip install tensorflow`, "
            "or use a source of arrays, such as 'digits', 'idx' or 'npz', which do not need it"
        )
    return _import_tensorflow()


def may_fail(*arguments: tuple) -> Callable[[Callable], Callable]:
    """Decorates a function of tensors that threads call eagerly although it fails for some.

    An eager op that fails makes its exception under a lock of TensorFlow's. Python may collect garbage
    there and let another thread run; if that one's op fails too, it waits for the lock, and the first
    thread for the interpreter: forever. A session raises its exceptions under no lock.

    Args:
      arguments: (shape, dtype) of each of the function's arguments.
    """

    def decorated(function: Callable) -> Callable:
        @functools.cache
        def in_a_session() -> Callable:
            tf = tensorflow("decoding images")
            v1 = tf.compat.v1
            with tf.Graph().as_default() as graph:
                inputs = [v1.placeholder(dtype, shape) for shape, dtype in arguments]
                output = function(*inputs)
            config = v1.ConfigProto(device_count={"GPU": 0}, inter_op_parallelism_threads=-1)
            config.experimental.executor_type = "SINGLE_THREADED_EXECUTOR"  # logs no failures
            return v1.Session(graph=graph, config=config).make_callable(output, inputs)

        @functools.wraps(function)
        def call(*tensors):
            tf = tensorflow("decoding images")
            if not tf.executing_eagerly():
                return function(*tensors)
            return tf.constant(in_a_session()(*[tf.constant(t).numpy() for t in tensors]))

        return call

    return decorated
