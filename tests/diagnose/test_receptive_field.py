"""Where a unit's receptive field lies: what is outside changes nothing, its outermost pixels do."""

import jax
import numpy as np
import pytest

from jaxcnn.diagnose.receptive_field import PIXEL, Reach, reaches_of
from jaxcnn.models import create_model, features
from tests.models.zoo import QUICK, variables_for


def edges(box, size):
    """The first and last rows and columns of a field that are in the image."""
    rows, columns = box
    inside = [slice(max(s.start, 0), min(s.stop, n)) for s, n in zip(box, size, strict=True)]
    for axis, (field, n) in enumerate(zip((rows, columns), size, strict=True)):
        for line in (field.start, field.stop - 1):
            if 0 <= line < n:
                yield (
                    (slice(line, line + 1), inside[1])
                    if axis == 0
                    else (
                        inside[0],
                        slice(line, line + 1),
                    )
                )


@pytest.mark.parametrize(
    ("name", "fields", "shape"),
    [
        ("lenet5", {}, (28, 28, 1)),
        ("resnet20_cifar", {"stage_sizes": (1, 1), "width": 2}, (24, 20, 3)),
        ("resnet18", {"stage_sizes": (1, 1), "width": 2}, (40, 40, 3)),
        ("densenet40_12", {"stage_sizes": (2, 2), "growth_rate": 2}, (16, 16, 3)),
        ("zfnet", {"hidden": 4}, (61, 61, 3)),
        ("vgg11", {"stage_sizes": (1, 2), "width": 2, "hidden": 4, "pool_size": 1}, (17, 16, 3)),
    ],
)
def test_a_field_is_all_that_a_unit_depends_on(name, fields, shape):
    model = create_model(name, num_classes=2, **fields)
    variables = jax.tree.map(abs, variables_for(model, shape))  # no pixel cancels another
    found = {
        layer: reach
        for layer, reach in reaches_of(model, variables, shape).items()
        if isinstance(reach, Reach) and layer != "score_map"
    }
    assert len(found) >= 2
    maps = jax.eval_shape(lambda x: features(model, variables, x), np.zeros((1, *shape), "f"))
    cases, images = [], []
    for layer, reach in found.items():
        rows, columns = maps[layer].shape[1:3]
        for place in ((0, 0), (rows - 1, columns - 1), (rows // 2, columns // 2)):
            box = reach.box(place)
            outside = np.full(shape, 1e3, np.float32)
            outside[tuple(slice(max(s.start, 0), max(s.stop, 0)) for s in box)] = 0
            cases.append((layer, place, False))
            images.append(outside)
            for edge in edges(box, shape[:2]):
                image = np.zeros(shape, np.float32)
                image[edge] = 1e3
                cases.append((layer, place, True))
                images.append(image)
    images = np.stack([np.zeros(shape, np.float32), *images])
    compute = jax.jit(lambda v, x: features(model, v, x), compiler_options=QUICK)
    seen = jax.device_get(compute(variables, images))
    for number, (layer, place, matters) in enumerate(cases, start=1):
        black, now = (seen[layer][(i, *place)] for i in (0, number))
        assert (black != now).any() == matters, (layer, place)


def test_padding_and_slices_move_a_field():
    reach = PIXEL.through((3, 5), (2, 1), before=(1, 2))
    assert reach == Reach((3, 5), (2, 1), (-1, -2))
    assert reach.box((0, 0)) == (slice(-1, 2), slice(-2, 3))
    assert reach.box((4, 1)) == (slice(7, 10), slice(-1, 4))
    deeper = reach.through((3, 3), (1, 1), before=(0, 1))
    assert deeper == Reach((7, 7), (2, 1), (-1, -3))
    assert reach.beside(Reach((1, 9), (2, 1), (0, -1))) == Reach((3, 10), (2, 1), (-1, -2))
