"""Which layers and units there are, and what a unit sees."""

import numpy as np
import pytest

from jaxcnn.diagnose.inside.layers import chosen_layer, chosen_map, chosen_units, maps_of, seen_by
from jaxcnn.diagnose.receptive_field import EVERYTHING, Reach
from jaxcnn.errors import UserError

pytestmark = pytest.mark.fast


def test_maps_are_in_order_and_the_last_is_the_default(untrained):
    run = untrained("vgg11", (16, 16, 3), stage_sizes=(1,) * 2, width=4, hidden=4, pool_size=1)
    assert list(maps_of(run)) == ["stem", "stage1", "stage2"]
    assert (chosen_map(run, "", 0), chosen_layer(run, "")) == ("stem", "stage2")
    assert chosen_units(run, "stage2", (), 6).tolist() == [0, 1, 2, 3, 4, 5]
    assert chosen_units(run, "stem", (3, 0), 6).tolist() == [3, 0]
    for call, message in (
        (lambda: chosen_map(run, "pre_logits", 0), "layer='pre_logits' is no feature map; "),
        (lambda: chosen_layer(run, "stage3"), "layer='stage3': did you mean 'stage2'"),
        (lambda: chosen_units(run, "stem", (1, 4), 6), "units=4: stem has 4 units, 0 to 3"),
        (lambda: chosen_map(untrained("mlp", (4, 4, 1)), "", 0), "mlp has no feature maps"),
    ):
        with pytest.raises(UserError) as raised:
            call()
        assert message in str(raised.value)
    assert chosen_layer(untrained("mlp", (4, 4, 1)), "") == "pre_logits"


def test_a_part_is_the_field_and_blank_beyond_the_image(rng):
    image = rng.random((6, 5, 3))
    reach = Reach((3, 3), (2, 1), (-1, 0))
    np.testing.assert_array_equal(seen_by(image, reach, (1, 2)), image[1:4, 2:5])
    part = seen_by(image, reach, (0, 1))  # rows -1 to 1
    assert np.isnan(part[0]).all()
    np.testing.assert_array_equal(part[1:], image[:2, 1:4])
    # Along an axis where the field is larger: the image, without what is outside the field.
    part = seen_by(image, Reach((9, 3), (1, 1), (-5, 0)), (0, 0))
    assert part.shape == (6, 3, 3)
    np.testing.assert_array_equal(part[:4], image[:4, :3])
    assert np.isnan(part[4:]).all()
    np.testing.assert_array_equal(seen_by(image, EVERYTHING, (0, 0)), image)
