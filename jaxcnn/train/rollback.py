"""What a run does that has diverged, where `config.train.on_divergence` is 'rollback'."""

from typing import TYPE_CHECKING

from jaxcnn import hosts
from jaxcnn.train.judge import DivergedError

if TYPE_CHECKING:
    from jaxcnn.train.loop import Run


def roll_back(run: "Run", error: DivergedError) -> None:
    """Takes a run back to its newest scheduled checkpoint, or its start, with half the learning rate.

    The batches are those of before. A run that is killed before its next checkpoint comes to the same
    divergence again, and goes back again.

    Raises:
      DivergedError: the run may not go back, or has done so as often as it may.
    """
    settings, count, seconds = run.config.train, run.keeper.rollbacks + 1, run.keeper.seconds
    if settings.on_divergence == "stop" or count > settings.max_rollbacks:
        raise error
    run.keeper.discard_after_scheduled()
    run.keeper.close()
    run.engine.state = run.restored_or_new()
    run.keeper.rollbacks, run.keeper.seconds = count, seconds
    run.engine.scale_learning_rate(run.keeper.learning_rate_scale)
    run.engine.go_on_from([run.keeper.parts])
    run.engine.start(run.step)
    line = run.step, error.step, run.keeper.learning_rate_scale
    hosts.from_primary(lambda: run.history.rollback(*line))
    run.restart_clock()
