"""Which examples the batch of a step holds, and the random numbers of their augmentation.

Both are functions of the seed and the step. So a run resumes from its step, and no state of the input
is ever saved.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxcnn.data.augment.base import Augmentation


class Selection(NamedTuple):
    """The examples of some batches; where `mask` is False, a filler that does not count.

    There is at least one draw per example, used or not: TensorFlow 2.21 crashes when it re-batches
    tensors without elements.
    """

    index: np.ndarray  # int32 (steps, batch), into the split
    draws: np.ndarray  # float32 (steps, batch, draws per example), uniform in [0, 1)
    mask: np.ndarray  # bool (steps, batch)


Select = Callable[[Sequence[int]], Selection]  # of steps that follow each other


class Host(NamedTuple):
    """Which of the processes that train together this is; each makes an equal part of every batch."""

    index: int = 0
    count: int = 1

    def part(self, selection: Selection) -> Selection:
        """This host's examples of each batch, whose size divides by the hosts."""
        size = selection.index.shape[1] // self.count
        rows = slice(self.index * size, (self.index + 1) * size)
        return Selection(*(array[:, rows] for array in selection))


ALONE = Host()


def train_selection(
    examples: int, augmentations: Sequence[Augmentation], batch_size: int, seed: int
) -> Select:
    """What the batches of training steps hold.

    Every epoch is a new permutation of all examples; batches run on over its end.
    """
    draws = max(1, sum(augmentation.draws for augmentation in augmentations))

    def select(steps: Sequence[int]) -> Selection:
        start, stop = steps[0] * batch_size, (steps[-1] + 1) * batch_size
        index, uniform = [], []
        for epoch in range(start // examples, -(-stop // examples)):
            order, numbers = _epoch(seed, epoch, examples, draws)
            begin = epoch * examples
            index.append(order[max(start - begin, 0) : stop - begin])
            uniform.append(numbers[index[-1]])
        shape = len(steps), batch_size
        return Selection(
            np.concatenate(index).reshape(shape),
            np.concatenate(uniform).reshape(*shape, draws),
            np.ones(shape, bool),
        )

    return select


def eval_selection(examples: int, batch_size: int) -> Select:
    """What the batches of an evaluation hold."""

    def select(steps: Sequence[int]) -> Selection:
        positions = np.array(steps)[:, None] * batch_size + np.arange(batch_size)
        mask = positions < examples
        draws = np.zeros((*positions.shape, 1), np.float32)
        return Selection(np.where(mask, positions, 0).astype(np.int32), draws, mask)

    return select


@functools.lru_cache(maxsize=2)  # two epochs may meet between one selection and the next
def _epoch(seed: int, epoch: int, examples: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """The order of an epoch, and each example's uniform numbers in it."""
    order = np.random.default_rng((seed, epoch, 0)).permutation(examples).astype(np.int32)
    numbers = np.random.default_rng((seed, epoch, 1)).random((examples, draws), np.float32)
    return order, numbers
