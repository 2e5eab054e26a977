"""A small network, and its weights under torch's names."""

import pytest

from jaxcnn import create_model
from jaxcnn.transfer.state_dict import to_state_dict
from tests.models.zoo import variables_for

FIELDS = {"width": 4, "stage_sizes": (1, 1, 1)}
SHAPE = (8, 8, 1)


@pytest.fixture(scope="module")
def network():
    return create_model("resnet20_cifar", num_classes=10, **FIELDS)


@pytest.fixture(scope="module")
def tensors(network):
    return to_state_dict(network, variables_for(network, SHAPE))
