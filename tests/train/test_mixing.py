import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.errors import UserError
from jaxcnn.train.mixing import create_mixes, mixed


def batch_of(size, image_size=8):
    """Example i is an image of all i."""
    images = jnp.broadcast_to(
        jnp.arange(size, dtype=jnp.float32)[:, None, None, None], (size, image_size, image_size, 1)
    )
    return {"image": images, "label": jnp.arange(size) % 3, "mask": jnp.ones(size, bool)}


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    name=st.sampled_from(["mixup", "cutmix"]),
    size=st.sampled_from([2, 5]),
)
def test_labels_hold_what_the_images_hold(seed, name, size):
    """Label mass is 1, and the share of a label is the share of its image, pixel by pixel."""
    batch = batch_of(size)
    new = mixed(create_mixes([{"name": name, "alpha": 1.0}]), jax.random.key(seed), batch, 3)
    np.testing.assert_allclose(new["label"].sum(axis=1), 1, rtol=1e-6)
    own = np.arange(size)
    partner = own[::-1]
    mean = np.asarray(new["image"]).mean(axis=(1, 2, 3))
    first = 0  # whose partner is the last: its image is 0, and its partner's size − 1
    share = 1 - mean[first] / partner[first]
    np.testing.assert_allclose(mean, share * own + (1 - share) * partner, rtol=1e-4, atol=1e-4)
    expected = share * np.eye(3)[own % 3] + (1 - share) * np.eye(3)[partner % 3]
    np.testing.assert_allclose(new["label"], expected, atol=1e-5)
    if name == "cutmix":
        assert set(np.unique(np.asarray(new["image"])[first])) <= {0.0, size - 1.0}


def test_shares_are_of_the_beta_distribution():
    batch, mixes = batch_of(2, image_size=1), create_mixes([{"name": "mixup", "alpha": 0.4}])
    step = jax.jit(lambda key: mixed(mixes, key, batch, 3)["label"][0, 0])
    shares = np.array([step(key) for key in jax.random.split(jax.random.key(0), 800)])
    assert shares.mean() == pytest.approx(0.5, abs=0.04)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.4 + 1)), abs=0.015)


def test_one_of_several_or_none():
    batch = batch_of(2)
    mixes = create_mixes(
        [
            {"name": "mixup", "probability": 0.3, "alpha": 1.0},
            {"name": "cutmix", "probability": 0.5},
        ]
    )
    step = jax.jit(lambda key: mixed(mixes, key, batch, 3)["image"][0])
    kinds = {"none": 0, "cutmix": 0, "mixup": 0}
    for key in jax.random.split(jax.random.key(1), 400):
        values = np.unique(step(key))
        kinds[
            "mixup"
            if len(values) == 1 and 0 < values[0] < 1
            else "none"
            if set(values) == {0.0}
            else "cutmix"
        ] += 1
    assert kinds["mixup"] / 400 == pytest.approx(0.3, abs=0.08)
    assert kinds["cutmix"] / 400 == pytest.approx(0.5, abs=0.12)  # some of its boxes are empty


def test_targets_are_mixed_themselves():
    batch = {**batch_of(4), "label": jnp.arange(4, dtype=jnp.float32)}
    new = mixed(create_mixes([{"name": "mixup"}]), jax.random.key(0), batch, 1)
    np.testing.assert_allclose(new["label"], new["image"][:, 0, 0, 0], rtol=1e-5)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([{"name": "mixup", "alpha": 0.0}], "mix 'mixup': alpha=0.0 must be more than 0"),
        (
            [{"name": "cutmix", "probability": 1.5}],
            "mix 'cutmix': probability=1.5 must be more than 0 and at most 1",
        ),
        ([{"name": "mixup"}, {"name": "cutmix"}], "the probabilities add up to 2"),
        ([{"name": "mixupp"}], "mix 'mixupp' does not exist; did you mean 'mixup'?"),
    ],
)
def test_refused(entries, message):
    with pytest.raises(UserError) as error:
        create_mixes(entries)
    assert message in str(error.value)
