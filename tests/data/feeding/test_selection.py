"""Which examples are in a batch, and with which draws: functions of the seed and the step only."""

import numpy as np
import pytest

from jaxcnn.data.feeding import selection
from jaxcnn.data.feeding.selection import TrainSelection, eval_selection

pytestmark = pytest.mark.fast


def same(one, other):
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_each_epoch_has_every_example_once_in_a_new_order():
    found = TrainSelection(10, (), 4, seed=0)(range(5)).index.ravel()
    epochs = found.reshape(2, 10)
    assert [sorted(epoch) for epoch in epochs.tolist()] == [list(range(10))] * 2
    assert epochs[0].tolist() != epochs[1].tolist()
    assert not np.array_equal(found, TrainSelection(10, (), 4, seed=1)(range(5)).index.ravel())


def test_a_step_has_the_same_examples_however_it_is_come_by():
    whole = TrainSelection(10, (), 4, seed=3)(range(9))
    for step in (8, 0, 5, 4, 2):  # also backwards, which nothing remembers
        (index, draws, mask) = TrainSelection(10, (), 4, seed=3)([step])
        expected = (part[step : step + 1] for part in whole)
        assert same((index, draws, mask), expected)


def test_seeds_in_turn_draw_each_epoch_once(monkeypatch):
    """Several runs in a process take their steps in turn, as in a pack."""
    draws, generator = [], np.random.default_rng

    def counting(seed):
        draws.append(seed)
        return generator(seed)

    monkeypatch.setattr(selection.np.random, "default_rng", counting)
    selections = [TrainSelection(10, (), 4, seed) for seed in range(4)]
    for step in range(10):
        for select in selections:
            select([step])
    assert sorted(draws) == sorted(
        (s, epoch, k) for s in range(4) for epoch in range(4) for k in (0, 1)
    )


def test_an_evaluation_counts_every_example_once():
    index, draws, mask = eval_selection(5, 2)(range(3))
    assert index[mask].tolist() == [0, 1, 2, 3, 4]
    assert mask.tolist() == [[True, True], [True, True], [True, False]]
    assert draws.shape == (3, 2, 1)
