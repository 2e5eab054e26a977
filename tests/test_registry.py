import pytest

from jaxcnn.errors import UserError
from jaxcnn.registry import Registry


@pytest.fixture
def shapes() -> Registry:
    registry = Registry("shape", not_settings=("unit",))
    registry.register("circle", lambda size, unit="m", radius=1.0: (size, unit, radius))
    return registry


def test_settings_are_the_parameters_with_defaults(shapes):
    assert shapes.settings("circle") == {"radius": 1.0}
    assert shapes.create("circle", 3, radius=2.0) == (3, "m", 2.0)


def test_a_name_is_registered_once(shapes):
    with pytest.raises(ValueError, match="shape 'circle' is registered twice"):
        shapes.register("circle", dict)


def test_unknown_names_and_settings_get_the_nearest(shapes):
    with pytest.raises(UserError, match="shape 'circel' does not exist; did you mean 'circle'"):
        shapes["circel"]
    with pytest.raises(
        UserError, match="shape 'circle' has no setting 'radios'; did you mean 'radius'"
    ):
        shapes.create("circle", 3, radios=2.0)
