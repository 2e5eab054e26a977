"""The test functions are those of their papers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import rosen, rosen_der, rosen_hess

from jaxcnn.diagnose.surfaces import CONDITION, SURFACES, beale, ravine, rosenbrock, saddle

pytestmark = pytest.mark.fast


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", SURFACES)
def test_the_minima_are_minima_and_in_the_picture(name):
    surface = SURFACES[name]
    for minimum in surface.minima:
        point = jnp.array(minimum)
        assert surface.function(point) == pytest.approx(0, abs=1e-25)
        np.testing.assert_allclose(jax.jit(jax.grad(surface.function))(point), 0, atol=1e-12)
        hessian = jax.jit(jax.hessian(surface.function))(point)
        assert (np.linalg.eigvalsh(hessian) > 0).all()
    for x, y in (surface.start, *surface.minima):
        assert surface.x[0] < x < surface.x[1]
        assert surface.y[0] < y < surface.y[1]
    grid = np.meshgrid(*(np.linspace(*ends, 101) for ends in (surface.x, surface.y)))
    assert (surface.function(np.stack(grid)) >= 0).all()


def test_beale_is_as_published():
    """At the start of Moré, Garbow & Hillstrom 1981 (no. 5), and its gradient by hand."""
    assert beale(jnp.array([1.0, 1.0])) == 14.203125
    x, y = 1.7, -0.4
    residuals = [c - x * (1 - y**n) for n, c in ((1, 1.5), (2, 2.25), (3, 2.625))]
    gradient = [
        sum(-2 * r * (1 - y**n) for n, r in enumerate(residuals, 1)),
        sum(2 * r * x * n * y ** (n - 1) for n, r in enumerate(residuals, 1)),
    ]
    np.testing.assert_allclose(jax.grad(beale)(jnp.array([x, y])), gradient, rtol=1e-12)


def test_rosenbrock_is_scipys(rng):
    for point in rng.normal(size=(5, 2)):
        assert rosenbrock(point) == pytest.approx(rosen(point), rel=1e-12)
        np.testing.assert_allclose(jax.grad(rosenbrock)(point), rosen_der(point), rtol=1e-12)
        np.testing.assert_allclose(jax.hessian(rosenbrock)(point), rosen_hess(point), rtol=1e-12)


def test_the_ravine_has_its_condition_number():
    assert np.linalg.cond(jax.hessian(ravine)(jnp.array([3.0, -2.0]))) == pytest.approx(CONDITION)


def test_the_saddle_is_one_at_the_origin():
    origin = jnp.zeros(2)
    assert saddle(origin) == 0.25
    np.testing.assert_array_equal(jax.grad(saddle)(origin), 0)
    np.testing.assert_array_equal(jax.hessian(saddle)(origin), np.diag([1.0, -1.0]))
