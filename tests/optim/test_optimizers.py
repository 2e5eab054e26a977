"""Fifty steps of each optimizer against torch.optim's, and against its definition written out plainly."""

import inspect
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.optim.chain import create_optimizer
from jaxcnn.optim.optimizers import OPTIMIZERS
from tests.conftest import ROOT
from tests.optim.problem import CONSTANT, PARAMS, RATE, START, gradient, trajectory


def settings_of(name, **changes):
    return {"name": name, **OPTIMIZERS.settings(name), "learning_rate": 0.02, **changes}


# --- torch.optim ---


@pytest.fixture(scope="module")
def golden():
    return json.loads((ROOT / "tests" / "golden" / "torch_optimizers.json").read_text())


EQUAL_TO_TORCH = {
    "sgd": settings_of("sgd"),
    "momentum": settings_of("momentum"),
    "nesterov": settings_of("nesterov"),
    "adagrad": settings_of("adagrad"),
    "adadelta": settings_of("adadelta"),
    "rmsprop": settings_of("rmsprop", eps_in_sqrt=False),
    "rmsprop_momentum": settings_of("rmsprop", eps_in_sqrt=False, momentum=0.9),
    "rmsprop_centered": settings_of("rmsprop", eps_in_sqrt=False, momentum=0.9, centered=True),
    "adam": settings_of("adam"),
    "adamax": settings_of("adamax"),
    "adamw": settings_of("adamw", weight_decay=0.01),
}
# Optax's definition is another one; the definition below holds ours, and the docs name the difference.
OTHERWISE_IN_TORCH = {"amsgrad", "nadam", "radam"}


def test_every_golden_trajectory_is_accounted_for(golden):
    assert set(golden) == set(EQUAL_TO_TORCH) | OTHERWISE_IN_TORCH


@pytest.mark.parametrize("name", EQUAL_TO_TORCH)
def test_as_in_torch(golden, name):
    with jax.enable_x64(True):
        path = list(trajectory(EQUAL_TO_TORCH[name]))
    np.testing.assert_allclose(path, golden[name], rtol=1e-9)


@pytest.mark.parametrize(
    ("name", "least", "most"),
    # RAdam differs in where ε stands alone: torch has it before the bias correction of √n.
    [("amsgrad", 1e-3, 0.2), ("nadam", 1e-3, 0.2), ("radam", 1e-10, 1e-7)],
)
def test_otherwise_in_torch(golden, name, least, most):
    """Should optax come to agree with torch, this fails, and the docs are to be changed."""
    with jax.enable_x64(True):
        path = np.array(list(trajectory(settings_of(name))))
    assert least < np.abs(path - np.array(golden[name])).max() < most


# --- definitions ---


def sgd(w):
    for step in range(50):
        w = w - RATE[step] * gradient(w, step)
        yield w


def momentum(w, momentum=0.9):
    v = np.zeros_like(w)
    for step in range(50):
        v = momentum * v + gradient(w, step)
        w = w - RATE[step] * v
        yield w


def nesterov(w, momentum=0.9):
    v = np.zeros_like(w)
    for step in range(50):
        g = gradient(w, step)
        v = momentum * v + g
        w = w - RATE[step] * (g + momentum * v)
        yield w


def adagrad(w, eps=1e-10):
    total = np.zeros_like(w)
    for step in range(50):
        g = gradient(w, step)
        total = total + g**2
        w = w - RATE[step] * g / (np.sqrt(total) + eps)
        yield w


def adadelta(w, rho=0.9, eps=1e-6):
    n, u = np.zeros_like(w), np.zeros_like(w)
    for step in range(50):
        g = gradient(w, step)
        n = rho * n + (1 - rho) * g**2
        delta = np.sqrt(u + eps) / np.sqrt(n + eps) * g
        u = rho * u + (1 - rho) * delta**2
        w = w - RATE[step] * delta
        yield w


def rmsprop(w, decay=0.9, eps=1e-8):
    n = np.zeros_like(w)
    for step in range(50):
        g = gradient(w, step)
        n = decay * n + (1 - decay) * g**2
        w = w - RATE[step] * g / np.sqrt(n + eps)
        yield w


def moments(w, b1, b2):
    """For t = 1 … 50: a generator that is sent w and gives (t, g, m, n)."""
    m, n = np.zeros_like(w), np.zeros_like(w)
    for t in range(1, 51):
        g = gradient(w, t - 1)
        m, n = b1 * m + (1 - b1) * g, b2 * n + (1 - b2) * g**2
        w = yield t, g, m, n


def adam_like(direction):
    """The path of an optimizer whose step is α·direction(t, g, m, n, w)."""

    def path(w, b1=0.9, b2=0.999):
        estimates = moments(w, b1, b2)
        t, g, m, n = next(estimates)
        while True:
            w = w - RATE[t - 1] * direction(t, g, m, n, w, b1, b2)
            yield w
            if t == 50:
                return
            t, g, m, n = estimates.send(w)

    return path


def of_adam(t, g, m, n, w, b1, b2, eps=1e-8):
    return m / (1 - b1**t) / (np.sqrt(n / (1 - b2**t)) + eps)


def of_adamw(t, g, m, n, w, b1, b2, decay=1e-4):
    return of_adam(t, g, m, n, w, b1, b2) + decay * w


def of_nadam(t, g, m, n, w, b1, b2, eps=1e-8):
    """Dozat 2016 with a constant β₁; torch's is scheduled, and has a factor 0.96^(t/250)."""
    ahead = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
    return ahead / (np.sqrt(n / (1 - b2**t)) + eps)


def of_radam(t, g, m, n, w, b1, b2, eps=1e-8):
    longest = 2 / (1 - b2) - 1
    length = longest - 2 * t * b2**t / (1 - b2**t)
    m_hat = m / (1 - b1**t)
    if length < 5:
        return m_hat
    rectified = (length - 4) * (length - 2) * longest
    rectified /= (longest - 4) * (longest - 2) * length
    return np.sqrt(rectified) * m_hat / (np.sqrt(n / (1 - b2**t)) + eps)


def of_amsgrad():
    """With both moments corrected before the maximum; torch takes the maximum before."""
    largest = np.zeros(2)

    def direction(t, g, m, n, w, b1, b2, eps=1e-8):
        nonlocal largest
        largest = np.maximum(largest, n / (1 - b2**t))
        return m / (1 - b1**t) / (np.sqrt(largest) + eps)

    return direction


def adamax(w, b1=0.9, b2=0.999, eps=1e-8):
    m, u = np.zeros_like(w), np.zeros_like(w)
    for step in range(50):
        g = gradient(w, step)
        m, u = b1 * m + (1 - b1) * g, np.maximum(b2 * u, np.abs(g) + eps)
        w = w - RATE[step] * m / (1 - b1 ** (step + 1)) / u
        yield w


def lion(w, b1=0.9, b2=0.99, weight_decay=1e-3):
    m = np.zeros_like(w)
    for step in range(50):
        g = gradient(w, step)
        w = w - RATE[step] * (np.sign(b1 * m + (1 - b1) * g) + weight_decay * w)
        m = b2 * m + (1 - b2) * g
        yield w


DEFINITIONS = {
    "sgd": sgd, "momentum": momentum, "nesterov": nesterov, "adagrad": adagrad, "adadelta": adadelta,
    "rmsprop": rmsprop, "adam": adam_like(of_adam), "amsgrad": adam_like(of_amsgrad()), "adamax": adamax,
    "adamw": adam_like(of_adamw), "nadam": adam_like(of_nadam), "radam": adam_like(of_radam), "lion": lion,
}  # fmt: skip


@pytest.mark.parametrize("name", DEFINITIONS)
def test_as_defined(name):
    with jax.enable_x64(True):
        path = list(trajectory(settings_of(name)))
    np.testing.assert_allclose(path, list(DEFINITIONS[name](START)), rtol=1e-9)


@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_definition_and_the_registry_agree_on_defaults(name):
    settings = OPTIMIZERS.settings(name)
    for parameter in list(inspect.signature(DEFINITIONS[name]).parameters.values())[1:]:
        assert settings[parameter.name] == parameter.default


def test_sam_takes_the_gradient_uphill():
    own = {"name": "sam", "learning_rate": 0.02, "momentum": 0.9, "rho": 0.1}
    w, v = START, np.zeros(2)
    with jax.enable_x64(True):
        tx = create_optimizer(own, CONSTANT)
        ours = jnp.array(START)
        state = tx.init(ours)
        for step in range(50):
            g = gradient(w, step)
            v = 0.9 * v + gradient(w + 0.1 * g / np.linalg.norm(g), step)
            w = w - 0.02 * v
            updates, state = tx.update(
                gradient(ours, step), state, ours, grad_fn=lambda p, _, t=step: gradient(p, t)
            )
            ours = ours + updates
            np.testing.assert_allclose(ours, w, rtol=1e-9)


def test_muon_makes_a_convolution_s_matrix_orthogonal_and_leaves_the_head_to_adam():
    params = jax.tree.map(lambda leaf: jnp.array(leaf, jnp.float32), PARAMS)
    rng = np.random.default_rng(0)
    grads = jax.tree.map(lambda leaf: jnp.array(rng.normal(size=leaf.shape), jnp.float32), params)
    tx = create_optimizer({"name": "muon", **OPTIMIZERS.settings("muon")}, CONSTANT)
    updates, _ = tx.update(grads, tx.init(params), params)
    matrix = np.asarray(updates["conv1"]["kernel"]).reshape(-1, 2) / 2e-3
    singular = np.linalg.svd(matrix, compute_uv=False) / (0.2 * np.sqrt(18))
    assert (np.abs(singular - 1) < 0.35).all()  # Newton-Schulz brings them to 0.7 … 1.2
    # NAdam's first step: all of one size.
    sizes = np.abs(np.asarray(updates["head"]["kernel"]))
    np.testing.assert_allclose(sizes, sizes[0, 0], rtol=1e-3)
