"""Programs that the runs of a process share."""

import jax
import pytest

from jaxcnn.programs import made_once
from jaxcnn.train.start import train


@pytest.mark.fast
def test_equal_arguments_give_the_same_function():
    make = made_once(lambda *arguments, **settings: lambda: (arguments, settings))
    assert make(1, "a") is make(1, "a")
    assert make(1, b=2) is make(1, b=2)
    assert make(1) is not make(2)
    assert make([1]) is not make([1])  # a list has no hash; its function is made anew
    assert make([1])() == (([1],), {})


@pytest.mark.parametrize("placement", ["host", "device"])
def test_a_second_run_that_differs_in_numbers_compiles_nothing(
    small_config, blobs, tmp_path, placement
):
    small_config.data.placement = placement
    train(small_config, tmp_path / "first", dataset=blobs)
    small_config.optimizer.learning_rate = 0.03
    small_config.seed = 1
    compiled = []
    listener = lambda event, *_, **__: compiled.append(event)  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        train(small_config, tmp_path / "second", dataset=blobs)
        same = compiled.count("/jax/core/compile/backend_compile_duration")
        small_config.optimizer.name = "adam"
        train(small_config, tmp_path / "third", dataset=blobs)
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    assert compiled.count("/jax/core/compile/backend_compile_duration") > same
    assert same == 0
