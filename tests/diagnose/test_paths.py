"""The paths are those of the optimizers that train, and `jaxcnn paths` says where they end."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from jaxcnn.diagnose.paths import CLOSE, RATES, OptimizerPath, paths_on, picture_of, settings_of
from jaxcnn.diagnose.surfaces import CONDITION, SURFACES
from jaxcnn.errors import UserError
from jaxcnn.optim.chain import create_optimizer
from jaxcnn.optim.optimizers import OPTIMIZERS
from tests.optim.problem import CONSTANT

CURVATURES = np.array([1.0, CONDITION])
RAVINE, START = SURFACES["ravine"], np.array(SURFACES["ravine"].start)


def path_of(surface, name, steps, **settings):
    overrides = {f"{name}.{key}": str(value) for key, value in settings.items()}
    (path,) = paths_on(SURFACES[surface], [name], overrides, steps)
    return path


def test_sgd_on_the_ravine_is_its_closed_form():
    path = path_of("ravine", "sgd", 40, learning_rate=0.03)
    powers = (1 - 0.03 * CURVATURES) ** np.arange(41)[:, None]
    np.testing.assert_allclose(path.points, powers * START, rtol=1e-12)
    np.testing.assert_allclose(path.values, (CURVATURES * path.points**2).sum(1) / 2, rtol=1e-12)


def test_momentum_on_the_ravine_is_its_linear_recursion():
    """(v, w) ← (ρv + λw, w − α(ρv + λw)), for each curvature λ."""
    path = path_of("ravine", "momentum", 40, learning_rate=0.01, momentum=0.8)
    for axis, curvature in enumerate(CURVATURES):
        update = np.array([[0.8, curvature], [-0.01 * 0.8, 1 - 0.01 * curvature]])
        powers = np.array([np.linalg.matrix_power(update, t)[1, 1] for t in range(41)])
        np.testing.assert_allclose(path.points[:, axis], powers * START[axis], atol=1e-12)


@pytest.mark.parametrize("name", ["adamw", "sam", "schedule_free_sgd"])
def test_a_path_takes_the_steps_of_a_run_s_optimizer(name):
    """`create_optimizer` in a plain loop, with clipped gradients."""
    surface, settings = SURFACES["beale"], {"learning_rate": 0.02, "clip_norm": 2.0}
    path = path_of("beale", name, 25, **settings)
    steps, clipped = [surface.start], lambda gradient: gradient * min(1, 2 / np.hypot(*gradient))
    with jax.enable_x64(True):
        tx = create_optimizer({"name": name, **OPTIMIZERS.settings(name), **settings}, CONSTANT)
        gradient_of = jax.grad(surface.function)
        point = average = z = jnp.array(surface.start)
        state = tx.init(point)
        for step in range(25):
            gradient = clipped(gradient_of(point))
            more = {"grad_fn": lambda at, _: clipped(gradient_of(at))} if name == "sam" else {}
            updates, state = tx.update(gradient, state, point, **more)
            point = point + updates
            z = z - 0.02 * gradient
            average = average + (z - average) / (step + 1)
            steps.append(average if name == "schedule_free_sgd" else point)
    np.testing.assert_allclose(path.points, steps, rtol=1e-9)


def test_settings_are_those_of_a_run():
    settings = settings_of("momentum", {"momentum": "0.5", "lookahead_period": "3"})
    assert settings == {
        "name": "momentum",
        "learning_rate": 0.1,
        "momentum": 0.5,
        "clip_norm": 0.0,
        "clip_value": 0.0,
        "lookahead_period": 3,
        "lookahead_step_size": 0.5,
    }


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_every_optimizer_goes_down_or_is_refused(name):
    if name in ("lars", "muon"):
        with pytest.raises(UserError, match=f"^optimizers={name}: it is made for matrices"):
            path_of("beale", name, 1)
        return
    path = path_of("beale", name, 200)
    assert path.rate in RATES
    assert path.left is None
    assert path.values[-1] < path.values[0] / 2


@pytest.mark.parametrize(("surface", "reached"), [("saddle", True), ("rosenbrock", False)])
def test_the_rate_is_the_best_that_stays_in_the_picture(surface, reached, monkeypatch):
    """By the steps to the minimum where it is reached, else by the value."""
    rates = {"saddle": (10.0, 0.3, 0.1, 0.03), "rosenbrock": (0.01, 0.003, 0.001, 0.0003)}[surface]
    monkeypatch.setattr("jaxcnn.diagnose.paths.RATES", rates)
    leaves, *stay = (path_of(surface, "sgd", 100, learning_rate=rate) for rate in rates)
    assert leaves.left is not None
    assert all(path.left is None for path in stay)
    best = min(stay, key=lambda path: sum(path.values > CLOSE) if reached else path.values[-1])
    assert (best.values[-1] <= CLOSE) == reached
    assert path_of(surface, "sgd", 100).rate == best.rate


def test_a_path_that_leaves_is_drawn_to_there_and_said():
    """(1 − 0.05·50)ᵗ·0.9 is −1.35 after a step, beyond −1.2; in the end it overflows."""
    paths = paths_on(RAVINE, ["sgd", "adam"], {"sgd.learning_rate": "0.05"}, 900)
    assert paths[0].left == 1
    assert not np.isfinite(paths[0].values[-1])
    assert paths[0].outcome == "leaves the picture at step 1"
    figure, show = picture_of(RAVINE, paths)
    (legend,) = figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels[0] == "sgd, rate 0.05 (given): leaves the picture at step 1"
    assert labels[1].startswith(f"adam, rate {paths[1].rate:g}: f ")
    assert legend.get_title().get_text().startswith("each at its best rate of 10, 3, ")
    trail, head, curve, *of_adam = show(900)
    np.testing.assert_array_equal(trail.get_xydata(), paths[0].points[:2])
    assert not len(head.get_xydata())
    np.testing.assert_array_equal(curve.get_ydata(), paths[0].values[:2])
    np.testing.assert_array_equal(of_adam[0].get_xydata(), paths[1].points)
    trail, head, *_ = show(1)
    np.testing.assert_array_equal(head.get_xydata(), paths[0].points[1:2])


def test_a_path_that_comes_back_has_not_left():
    outside = OptimizerPath("sgd", 1.0, True, np.zeros((2, 2)), np.array([1.0, 1e-20]), None)
    assert outside.outcome == "f < 1e-12"
    path = path_of("ravine", "momentum", 200, learning_rate=0.05)
    assert (np.abs(path.points[:, 1]) > RAVINE.y[1]).any()
    assert path.left is None


def test_the_command_writes_a_picture_or_an_animation(run_cli, tmp_path):
    flags = ("--function=ravine", "--optimizers=sgd,momentum", "--steps=30")
    rates = ("--optimizer.sgd.learning_rate=0.05", "--optimizer.momentum.learning_rate=0.01")
    code, out, _ = run_cli("paths", *flags, *rates, f"--out={tmp_path / 'paths.png'}")
    assert code == 0
    assert out.splitlines()[:2] == [
        "ravine, 30 steps, at the given rates",
        "sgd       rate 0.05 (given)     leaves the picture at step 1",
    ]
    assert Image.open(tmp_path / "paths.png").size == (1100, 550)
    assert run_cli("paths", *flags, f"--out={tmp_path / 'new' / 'paths.gif'}")[0] == 0
    with Image.open(tmp_path / "new" / "paths.gif") as animation:
        assert animation.n_frames == 31  # the start, each step
        durations = []
        for frame in range(animation.n_frames):
            animation.seek(frame)
            durations.append(animation.info["duration"])
    assert set(durations[:-1]) == {100}
    assert durations[-1] == 1600  # and a moment
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["paths.gif"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--function=beal"], "--function 'beal' does not exist; did you mean 'beale'?"),
        (["--optimizers=sgd,adamm"], "optimizer 'adamm' does not exist; did you mean 'adam'?"),
        (["--optimizers=sgd,adam,sgd"], "--optimizers=sgd,adam,sgd names one twice"),
        (["--optimizers=muon"], "--optimizers=muon: it is made for matrices; for a point of the plane it would be nadam"),
        (["--optimizers=a,b,c,d,e,f,g,h"], "at most 7 can be drawn"),
        (["--optimizer.adam.b3=0.9"], "optimizer.adam.b3: 'adam' has no such setting; valid: b1, b2, clip_norm"),
        (["--optimizer.sgd.learning_rate=-1"], "optimizer.sgd.learning_rate=-1.0 must be more than 0"),
        (["--optimizer.lion.b1=0.9"], "optimizer.lion.b1=0.9 must be optimizer.NAME.KEY, with NAME one of sgd, momentum, adam"),
        (["--optimizer.learning_rate=1"], "optimizer.learning_rate=1 must be optimizer.NAME.KEY"),
        (["--steps=0"], "--steps=0 must be at least 1 and at most 10,000"),
        (["--out=paths.pdf"], "--out=paths.pdf must end in .png or .gif"),
        (["--steps=1", "--out=/proc/no/paths.gif"], "--out=/proc/no/paths.gif cannot be written: No such file"),
    ],
)  # fmt: skip
def test_mistakes(error_of, flags, said):
    assert said in error_of("paths", *flags)
