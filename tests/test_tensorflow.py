"""The one door to TensorFlow."""

import os
import subprocess
import sys

SCRIPT = """
import os, sys
from jaxcnn.tensorflow import tensorflow
tf = tensorflow("a test")
print("keras" in sys.modules, os.environ.get("TF_USE_LEGACY_KERAS"))
print(tf.keras.layers.Dense.__name__)
"""


def test_keras_is_imported_by_who_asks_for_it_alone():
    """It is a third of the time that TensorFlow takes to be imported."""
    environment = {key: value for key, value in os.environ.items() if key != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout == "False None\nDense\n", done.stderr
