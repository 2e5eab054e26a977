"""The observer interface, and the description of a run passed to it at the start."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxcnn.config import data_seed
from jaxcnn.data.augment.base import Augmentation
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.feeding.preparation import first_images
from jaxcnn.data.spec import DataSpec


@dataclass(frozen=True)
class Start:
    """A run when it starts or resumes.

    Attributes:
      spec: of the data.
      step: the step to continue from; 0 for a new run.
      total_steps: of the whole run.
      parameters: number of model parameters.
      devices: number of devices.
      remarks: warnings about the data.
      rules: which parameters decay, are frozen or have a separate learning rate, as text.
      first_images: returns the run's first augmented training images, uint8 (images, height, width,
        channels).
    """

    config: ConfigDict
    workdir: Path
    spec: DataSpec
    step: int
    total_steps: int
    parameters: int
    devices: int
    remarks: tuple[str, ...]
    rules: tuple[str, ...]
    first_images: Callable[[], np.ndarray]

    @classmethod
    def of(
        cls,
        config: ConfigDict,
        workdir: Path,
        dataset: Dataset,
        augmentations: Sequence[Augmentation],
        step: int,
        **said: Any,
    ) -> "Start":
        """The start of a run on a data set; `said` are the other attributes."""
        images = partial(first_images, dataset, augmentations, data_seed(config))
        spec, remarks = dataset.spec, dataset.remarks
        return cls(config, workdir, spec, step, remarks=remarks, first_images=images, **said)


class Observer:
    """Observes a run. Any object with some of these methods is an observer; this class has all.

    A line is a dictionary with 'step', 'epoch', 'split' and the metrics by name. An exception in an
    observer ends the run with a traceback, after the state is saved.
    """

    def on_start(self, start: Start) -> bool | None:
        """Called before the first step of a new or resumed run; True stops it there."""

    def on_steps(self, step: int) -> None:
        """Called after each dispatch of one or more steps; nothing is read from the device."""

    def on_log(self, line: dict) -> None:
        """Called with each training line: means since the previous line, last step's numbers."""

    def on_validation(self, line: dict) -> bool | None:
        """Called after each evaluation; returning True stops the run, with the status 'stopped'.

        The line also has 'best', whether this evaluation is the best so far.
        """

    def on_monitor(self, line: dict, histograms: dict) -> None:
        """Called where `config.monitor` asks, with numbers of each layer: see `monitor.Layers`.

        The line's split is 'monitor'.
        """

    def on_rollback(self, line: dict) -> None:
        """Called when a run that diverged goes back; its next lines follow the step of this one.

        The line also has 'diverged_at', a step, and 'learning_rate_scale'. Its split is 'rollback'.
        """

    def on_end(self, result: dict) -> None:
        """Called at the end, whatever the status, with the content of `result.json`."""

    def close(self) -> None:
        """Called last, even after an exception."""
