import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.optim.groups import parameter_groups

pytestmark = pytest.mark.fast

PARAMS = {
    "stem_conv": {"kernel": np.ones((3, 3, 1, 4)), "bias": np.ones(4)},
    "stage1_block1": {"norm1": {"scale": np.ones(4), "bias": np.ones(4)}},
    "head": {"kernel": np.ones((4, 10)), "bias": np.ones(10)},
}
DEFAULT = {"decayed": ["(^|/)kernel$"], "frozen": [], "learning_rates": []}


def test_by_default_kernels_decay_and_all_learn_alike():
    groups, rules = parameter_groups(DEFAULT, PARAMS)
    assert groups.decay_mask(PARAMS) == {
        "stem_conv": {"kernel": True, "bias": False},
        "stage1_block1": {"norm1": {"scale": False, "bias": False}},
        "head": {"kernel": True, "bias": False},
    }
    assert groups.uniform
    assert rules == ("decayed ((^|/)kernel$): 76 parameters in 2 of 6 arrays",)


def test_rules_say_what_they_matched_and_the_last_rate_counts():
    settings = {
        "decayed": ["kernel$"],
        "frozen": ["^stem", "norm"],
        "learning_rates": [
            {"pattern": "bias$", "multiplier": 2},
            {"pattern": "^head/bias", "multiplier": 3},
        ],
    }
    groups, rules = parameter_groups(settings, PARAMS)
    assert groups.multipliers == {"head/bias": 3.0}
    ones = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), PARAMS)
    factors = jax.tree.map(lambda leaf: float(leaf.max()), groups.scaled(ones))
    assert factors == {
        "stem_conv": {"kernel": 0.0, "bias": 0.0},
        "stage1_block1": {"norm1": {"scale": 0.0, "bias": 0.0}},
        "head": {"kernel": 1.0, "bias": 3.0},
    }
    assert not groups.decay_mask(PARAMS)["stem_conv"]["kernel"]  # frozen
    assert rules[1:] == (
        "learning rate × 2 (bias$): 18 parameters in 3 of 6 arrays",
        "learning rate × 3 (^head/bias): 10 parameters in 1 of 6 arrays",
        "frozen (^stem | norm): 48 parameters in 4 of 6 arrays",
    )


def test_nothing_is_computed_for_what_is_frozen():
    groups, _ = parameter_groups(DEFAULT | {"frozen": ["^stem"]}, PARAMS)

    def objective(params):
        cut = groups.without_frozen_gradients(params)
        return (cut["stem_conv"]["kernel"].sum() * cut["head"]["kernel"] ** 2).sum()

    grads = jax.grad(objective)(jax.tree.map(jnp.array, PARAMS))
    assert not grads["stem_conv"]["kernel"].any()
    assert grads["head"]["kernel"].all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"frozen": ["^steem"]},
            "config.parameters.frozen.0='^steem' matches no parameter; there are ",
        ),
        ({"decayed": ["kernel$", "("]}, "config.parameters.decayed.1='(' is not a regex"),
        ({"frozen": [5]}, "config.parameters.frozen.0=5 is not a regex: it must be a string"),
        (
            {"learning_rates": [{"pattern": "head", "multiplier": True}]},
            "multiplier=True must be a number",
        ),
        ({"frozen": [""]}, "freezes every parameter"),
        (
            {"learning_rates": [{"pattern": "haed", "multiplier": 1}]},
            "config.parameters.learning_rates.0.pattern='haed' matches no parameter",
        ),
        (
            {"learning_rates": [{"pattern": "head", "multiplier": 0}]},
            "config.parameters.learning_rates.0.multiplier=0 must be a number more than 0; "
            "to freeze parameters, use config.parameters.frozen",
        ),
        (
            {"learning_rates": [{"patern": "head"}]},
            "must be {'pattern': REGEX, 'multiplier': NUMBER}",
        ),
    ],
)
def test_refused(change, message):
    with pytest.raises(UserError) as error:
        parameter_groups(DEFAULT | change, PARAMS)
    assert message in str(error.value)
