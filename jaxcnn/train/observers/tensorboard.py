"""An observer for TensorBoard: scalars, hyperparameters and the first augmented images."""

import io
import time
from pathlib import Path

import numpy as np
from PIL import Image

from jaxcnn.tensorflow import tensorflow, tensorflow_installed
from jaxcnn.train.observers.base import Observer, Start
from jaxcnn.train.observers.mlflow import flat_settings

_COLUMNS = 8


class TensorBoard(Observer):
    """Writes event files with tensorboard's writer; clu's would import TensorFlow."""

    def __init__(self, directory: Path):
        self._directory, self._writer = directory, None

    def on_start(self, start: Start) -> None:
        if tensorflow_installed():
            tensorflow("TensorBoard")  # otherwise tensorboard imports it and it takes the GPU
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        self._directory.mkdir(parents=True, exist_ok=True)
        self._writer = EventFileWriter(str(self._directory))
        if start.step == 0:
            settings = flat_settings(start.config.to_dict())
            self._add(hparams_pb(settings, trial_id=start.workdir.name), 0)
            self._add(_image("train/first_images", _tiled(start.first_images())), 0)

    def on_log(self, line: dict) -> None:
        self._add_line(line)

    def on_validation(self, line: dict) -> None:
        self._add_line(line)

    def on_monitor(self, line: dict, histograms: dict) -> None:
        from tensorboard.compat.proto.summary_pb2 import HistogramProto, Summary

        self._add_line(line)
        values = [
            Summary.Value(tag=f"monitor/{name}", histo=HistogramProto(**fields))
            for name, fields in histograms.items()
        ]
        if values:
            self._add(Summary(value=values), line["step"])

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def _add_line(self, line: dict) -> None:
        from tensorboard.compat.proto.summary_pb2 import Summary

        names = [key for key in line if key not in ("step", "epoch", "split", "best")]
        values = [
            Summary.Value(tag=f"{line['split']}/{name}", simple_value=line[name]) for name in names
        ]
        self._add(Summary(value=values), line["step"])

    def _add(self, summary, step: int) -> None:
        from tensorboard.compat.proto.event_pb2 import Event

        self._writer.add_event(Event(wall_time=time.time(), step=step, summary=summary))
        self._writer.flush()


def _tiled(images: np.ndarray) -> np.ndarray:
    """Images (n, height, width, channels) tiled in rows of eight, separated by black lines."""
    framed = np.pad(images, ((0, -len(images) % _COLUMNS), (0, 1), (0, 1), (0, 0)))
    _, height, width, channels = framed.shape
    grid = framed.reshape(-1, _COLUMNS, height, width, channels)
    return grid.swapaxes(1, 2).reshape(-1, _COLUMNS * width, channels)


def _image(tag: str, pixels: np.ndarray):
    """A summary of one uint8 image; channels other than 1 or 3 are averaged."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    if pixels.shape[-1] not in (1, 3):
        pixels = pixels.mean(axis=-1, keepdims=True).astype(np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(encoded, "PNG")
    height, width, channels = pixels.shape
    image = Summary.Image(
        height=height,
        width=width,
        colorspace=channels,
        encoded_image_string=encoded.getvalue(),
    )
    return Summary(value=[Summary.Value(tag=tag, image=image)])
