import importlib
import sys
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import flax.linen as nn
import pytest

from jaxcnn.errors import UserError
from jaxcnn.limits import AT_LEAST_1, FRACTION, POSITIVE
from jaxcnn.registry import Registry

pytestmark = pytest.mark.fast


def square(unit: str = "m", side: Annotated[float, POSITIVE] = 1.0, name: str = ""):
    """Four equal sides.

    And more.
    """
    return unit, side


@dataclass(frozen=True)
class Polygon:
    corners: Annotated[int, AT_LEAST_1] = 5


class Star(nn.Module):
    points: Annotated[int, AT_LEAST_1] = 5


def circle(size, unit="m", radius=1.0):
    return size, unit, radius


@pytest.fixture
def shapes() -> Registry:
    registry = Registry("shape", not_settings=("unit",))
    registry.register("circle", circle, limits={"radius": POSITIVE})
    registry.register("square", square)
    return registry


def test_settings_are_the_parameters_with_defaults(shapes):
    assert shapes.settings("circle") == {"radius": 1.0}
    assert shapes.create("circle", 3, radius=2.0) == (3, "m", 2.0)


def test_unknown_names_and_settings_get_the_nearest(shapes):
    with pytest.raises(UserError, match="shape 'circel' does not exist; did you mean 'circle'"):
        shapes["circel"]
    with pytest.raises(
        UserError, match="shape 'circle' has no setting 'radios'; did you mean 'radius'"
    ):
        shapes.create("circle", 3, radios=2.0)


# --- registering ---


def test_a_decorator_registers_what_it_decorates(shapes):
    @shapes.register("mine", about="an own shape")
    def mine(size: int = 3):
        return size

    assert mine(4) == 4
    assert shapes.create("mine", size=5) == 5
    assert shapes.about("mine") == "an own shape"


def test_a_name_is_registered_once(shapes):
    with pytest.raises(ValueError, match="shape 'circle' is registered twice"):
        shapes.register("circle", dict)
    shapes.register("long", partial(square, side=3.0))
    with pytest.raises(ValueError, match="shape 'long' is registered twice"):
        shapes.register("long", partial(square, side=4.0))
    shapes.register("anonymous", lambda: 1)
    with pytest.raises(ValueError, match="shape 'anonymous' is registered twice"):
        shapes.register("anonymous", lambda: 2)


def test_a_reloaded_module_replaces_its_entries(shapes, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    file = tmp_path / "parts_of_a_user.py"
    file.write_text("def made(): return 1")
    module = importlib.import_module("parts_of_a_user")
    shapes.register("made", module.made)
    shapes.register("fixed", partial(module.made))
    file.write_text("def made(): return 2")
    importlib.reload(module)
    shapes.register("made", module.made)
    shapes.register("fixed", partial(module.made))
    assert shapes.create("made") == shapes.create("fixed") == 2


def test_what_an_entry_is(shapes):
    for undocumented in (Polygon, Star, circle):
        shapes.register(undocumented.__name__ + "_", undocumented)
        assert shapes.about(undocumented.__name__ + "_") == ""
    shapes.register("large", partial(square, side=9.0))
    assert shapes.about("square") == shapes.about("large") == "Four equal sides"


# --- limits ---


@pytest.mark.parametrize(
    ("constructor", "limits"),
    [
        (square, {"side": POSITIVE}),
        (partial(square, side=2.0), {"side": POSITIVE}),
        (Polygon, {"corners": AT_LEAST_1}),
        (Star, {"points": AT_LEAST_1}),
        (circle, {}),
    ],
)
def test_limits_stand_in_the_signature(constructor, limits):
    registry = Registry("shape")
    registry.register("it", constructor)
    assert registry.limits("it") == limits


def test_limits_that_are_registered_take_precedence(shapes):
    assert shapes.limits("circle") == {"radius": POSITIVE}
    shapes.register("unit_square", square, limits={"side": FRACTION})
    assert shapes.limits("unit_square") == {"side": FRACTION}


def test_limits_in_annotations_that_are_strings(shapes):
    source = """
from __future__ import annotations
from typing import Annotated
from jaxcnn.limits import AT_LEAST_1

def later(size: Annotated[int, AT_LEAST_1] = 3): return size
def unknown(size: Nowhere = 3): return size
"""
    namespace = {"__name__": "parts_of_a_user"}
    exec(source, namespace)
    shapes.register("later", namespace["later"])
    shapes.register("unknown", namespace["unknown"])
    assert shapes.limits("later") == {"size": AT_LEAST_1}
    assert shapes.limits("unknown") == {}


def test_a_value_outside_its_limit(shapes):
    shapes.check("square", {"side": 0.1, "unit": "km"})
    shapes.check("square", {})
    with pytest.raises(UserError) as error:
        shapes.check("square", {"side": 0}, "config.shape.")
    assert str(error.value) == "config.shape.side=0 must be more than 0"
    with pytest.raises(UserError) as error:
        shapes.create("circle", 3, radius=-1.0)
    assert str(error.value) == "shape 'circle': radius=-1.0 must be more than 0"
    with pytest.raises(UserError) as error:
        shapes.create("square", side="long")
    assert str(error.value) == "shape 'square': side='long' must be more than 0"
