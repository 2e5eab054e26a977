"""The one door to TensorFlow: imported when first needed, and never given the accelerator."""

import functools
import importlib.util
import os

from jaxcnn.errors import UserError


@functools.cache
def tensorflow_installed() -> bool:
    return importlib.util.find_spec("tensorflow") is not None


@functools.cache
def _import_tensorflow():
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # its start-up message, and its rounding
    # While it is imported TensorFlow looks for Keras, and so imports all of it, a third of the time:
    # of the legacy Keras, which is a package of its own, it only finds that it is not there.
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
    """The TensorFlow module.

    Args:
      what_for: what the user asked for that needs it, for the error.

    Raises:
      UserError: it is not installed.
    """
    if not tensorflow_installed():
        raise UserError(
            f"{what_for} needs TensorFlow, which is not installed; `pip install tensorflow`, "
            "or use a source of arrays, such as 'digits', 'idx' or 'npz', which do not need it"
        )
    return _import_tensorflow()
