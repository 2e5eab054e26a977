"""The same logits as torchvision's own networks, from the same weights, without torch.

tests/golden/make_torchvision_logits.py made the file; tests/torch compares all networks directly.
"""

import jax
import numpy as np
import pytest

from jaxcnn import create_model
from jaxcnn.transfer.state_dict import from_state_dict, to_state_dict
from tests.golden import weights
from tests.golden.make_torchvision_logits import FILE, NETWORKS
from tests.models.zoo import QUICK


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_and_statistics_are_torchvisions(name):
    golden = np.load(FILE)
    count, size = NETWORKS[name]
    images = weights.images(count, size)
    model = create_model(name, num_classes=10, dropout_rate=0.0)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images[:1], train=False))
    zeros = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), shapes)
    tensors = {
        key: weights.tensor(key, value.shape) for key, value in to_state_dict(model, zeros).items()
    }
    variables, _ = from_state_dict(model, tensors, (size, size, 3), "the formula")

    def both(variables):
        trained, changed = model.apply(variables, images, train=True, mutable=["batch_stats"])
        return model.apply(variables, images, train=False), trained, changed

    evaluated, trained, changed = jax.jit(both).lower(variables).compile(QUICK)(variables)
    assert relative_error(evaluated, golden[f"{name}/eval"]) <= 1e-4
    assert relative_error(trained, golden[f"{name}/train"]) <= 1e-4
    if f"{name}/statistics" in golden:
        after = to_state_dict(model, jax.device_get({**variables, **changed}))
        found, expected = weights.samples(after), golden[f"{name}/statistics"]
        assert relative_error(found, expected) <= 1e-4
        assert np.abs(found / weights.samples(tensors) - 1).max(axis=1).min() > 1e-4  # all moved


def relative_error(ours, theirs) -> float:
    return float(np.abs(np.asarray(ours) - theirs).max() / np.abs(theirs).max())
