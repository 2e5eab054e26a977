"""A batch processed in parts: the same gradient, and statistics of each part."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.optim.chain import gradient_clipping
from tests.train.problem import SHAPE, setting, step_of


@pytest.mark.parametrize("parts", [2, 4])
def test_microbatches_add_up_to_the_batch(parts):
    """In float64, with a penalty, clipping and a mask that leaves parts of unequal count."""
    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        batch = {
            "image": jnp.array(rng.normal(size=(8, *SHAPE))),
            "label": jnp.array(rng.integers(0, 3, 8)),
            "mask": jnp.array([True, True, False, True, True, False, True, True]),
        }
        common = {"l2_regularization": 0.1, "clipping": gradient_clipping({"clip_norm": 0.5})}
        steps = []
        for microbatches in (1, parts):
            model, recipe, state = setting(
                "mlp", recipe={**common, "microbatches": microbatches},
                widths=(16,), activation="tanh", dtype="float64", param_dtype="float64",
            )  # fmt: skip
            steps.append(step_of(model, recipe)(state, batch))
        (whole, whole_metrics), (parted, parted_metrics) = steps
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-15),
            parted.params, whole.params,
        )  # fmt: skip
        assert parted_metrics.read()[0].values == pytest.approx(
            whole_metrics.read()[0].values, rel=1e-9
        )


def test_microbatches_in_a_higher_precision_than_the_parameters():
    with jax.enable_x64(True):
        model, recipe, state = setting("linear", recipe={"microbatches": 2}, dtype="float64")
        batch = {
            "image": jnp.ones((4, *SHAPE)), "label": jnp.zeros(4, jnp.int32), "mask": jnp.ones(4, bool)
        }  # fmt: skip
        new, _ = step_of(model, recipe)(state, batch)
    assert new.params["head"]["kernel"].dtype == jnp.float32


def test_microbatches_normalise_one_by_one(batch):
    """Batch normalisation's running averages are those of two steps of half a batch."""
    model, recipe, state = setting(
        "simple_cnn", recipe={"microbatches": 2}, widths=(4,), dropout_rate=0.0
    )
    new, _ = step_of(model, recipe)(state, batch)
    batch_stats = state.batch_stats
    for first in (0, 1):
        variables = {"params": state.params, "batch_stats": batch_stats}
        images = batch["image"][first::2]
        _, changed = model.apply(variables, images, train=True, mutable=["batch_stats"])
        batch_stats = changed["batch_stats"]
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        new.batch_stats, batch_stats,
    )  # fmt: skip
