"""The examples in each step's batch, and the random draws for their augmentation.

Both are functions of the seed and the step, so a run resumes from its step without saved input state.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxcnn.data.augment.base import Augmentation


class Selection(NamedTuple):
    """The examples of some batches; where `mask` is False, padding that does not count.

    There is at least one draw per example, used or not: TensorFlow 2.21 crashes when it re-batches
    empty tensors.
    """

    index: np.ndarray  # int32 (steps, batch), into the split
    draws: np.ndarray  # float32 (steps, batch, draws per example), uniform in [0, 1)
    mask: np.ndarray  # bool (steps, batch)

    def rows(self, rows: np.ndarray) -> "Selection":
        """These rows of each batch."""
        return Selection(*(array[:, rows] for array in self))


Select = Callable[[Sequence[int]], Selection]  # takes consecutive steps


class TrainSelection:
    """Selects the examples of training batches.

    Each epoch is a new permutation of all examples; a batch may span two epochs.
    """

    def __init__(
        self, examples: int, augmentations: Sequence[Augmentation], batch_size: int, seed: int
    ):
        self._examples, self._batch_size, self._seed = examples, batch_size, seed
        self._draws = max(1, sum(augmentation.draws for augmentation in augmentations))
        self._epochs: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def __call__(self, steps: Sequence[int]) -> Selection:
        """The selection for consecutive steps."""
        examples = self._examples
        start, stop = steps[0] * self._batch_size, (steps[-1] + 1) * self._batch_size
        index, uniform = [], []
        for epoch in range(start // examples, -(-stop // examples)):
            order, numbers = self._epoch(epoch)
            begin = epoch * examples
            index.append(order[max(start - begin, 0) : stop - begin])
            uniform.append(numbers[index[-1]])
        shape = len(steps), self._batch_size
        return Selection(
            np.concatenate(index).reshape(shape),
            np.concatenate(uniform).reshape(*shape, self._draws),
            np.ones(shape, bool),
        )

    def draws_of(self, epoch: int) -> np.ndarray:
        """Each example's draws in an epoch: float32 (examples, draws per example)."""
        return self._epoch(epoch)[1]

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """An epoch's order, and each example's uniform draws in it."""
        if epoch not in self._epochs:
            order = np.random.default_rng((self._seed, epoch, 0)).permutation(self._examples)
            shape = self._examples, self._draws
            numbers = np.random.default_rng((self._seed, epoch, 1)).random(shape, np.float32)
            # The next selection may start in this epoch, but never in an earlier one.
            recent = {e: known for e, known in self._epochs.items() if e == epoch - 1}
            self._epochs = {**recent, epoch: (order.astype(np.int32), numbers)}
        return self._epochs[epoch]


def eval_selection(examples: int, batch_size: int) -> Select:
    """Selects the examples of evaluation batches."""

    def select(steps: Sequence[int]) -> Selection:
        positions = np.array(steps)[:, None] * batch_size + np.arange(batch_size)
        mask = positions < examples
        draws = np.zeros((*positions.shape, 1), np.float32)
        return Selection(np.where(mask, positions, 0).astype(np.int32), draws, mask)

    return select
