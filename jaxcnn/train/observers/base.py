"""What an observer of a run may do, and what it is told first."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from jaxcnn.data.augment.base import Augmentation
from jaxcnn.data.dataset import Dataset
from jaxcnn.data.feeding.preparation import first_images
from jaxcnn.data.spec import DataSpec


@dataclass(frozen=True)
class Start:
    """A run at its start, or at its resumption.

    Attributes:
      step: where it goes on from; 0 for a new run.
      total_steps: of the whole run.
      parameters: how many are in the model.
      devices: how many it is trained on.
      remarks: what is worth knowing about the data.
      rules: which parameters decay, are frozen or have a rate of their own, in words.
      first_images: makes the run's first augmented training images, uint8 (images, height, width,
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
        """Of a run on a data set; `said` are the other attributes."""
        images = partial(first_images, dataset, augmentations, config.seed)
        spec, remarks = dataset.spec, dataset.remarks
        return cls(config, workdir, spec, step, remarks=remarks, first_images=images, **said)


class Observer:
    """Watches a run. Any object with some of these methods is one; this class has them all.

    A line is a dictionary with 'step', 'epoch', 'split' and the metrics by name. An exception of an
    observer ends the run as a bug of the program would, with the state saved.
    """

    def on_start(self, start: Start) -> None:
        """Before the first step, and before the step that a resumed run takes first."""

    def on_steps(self, step: int) -> None:
        """After each dispatch, of a step or of several; nothing has been read from the device."""

    def on_log(self, line: dict) -> None:
        """At each line about training: means since the line before, and the last step's numbers."""

    def on_validation(self, line: dict) -> bool | None:
        """At each evaluation; True stops the run, with the status 'stopped'.

        'best' says whether it is the best so far.
        """

    def on_end(self, result: dict) -> None:
        """At the end, whatever the status: what `result.json` holds."""

    def close(self) -> None:
        """At last, after an exception too."""
