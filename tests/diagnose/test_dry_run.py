"""A dry run compiles what the run would, says what it needs, and writes nothing."""

import json

import jax
import pytest

from jaxcnn.data.feeding import device as on_device
from jaxcnn.diagnose.dry_run import dry_run
from jaxcnn.layout import Layout, abstract
from jaxcnn.models import count_parameters, create_model
from jaxcnn.train.engine import create_engine, engine_for
from jaxcnn.train.experiment import Experiment, create_feed, resolve
from jaxcnn.train.state import abstract_state, init_state
from jaxcnn.train.step import make_train_step
from tests.conftest import DIGITS, QUICK


@pytest.mark.parametrize("placement", ["host", "device"])
def test_it_lowers_the_program_of_the_run(small_config, blobs, placement, monkeypatch):
    monkeypatch.setattr(on_device, "STEPS_PER_DISPATCH", {"cpu": 4})
    config = resolve(small_config, {"data.placement": placement, "data.augment": "[]"})
    layout, lowered = Layout.over_all_devices(), []
    experiment = Experiment.of(config, blobs.spec, layout)
    model, recipe, shape = experiment.model, experiment.recipe, blobs.spec.image_shape
    feed = create_feed(config, blobs, experiment, layout)
    step = make_train_step(model)

    engine = create_engine(step, init_state(model, recipe, shape, 0, layout), recipe, feed)
    lowered.append(engine.lowered(step, engine.state, engine._recipe, feed))
    shapes = abstract_state(model, recipe, shape, layout), abstract(recipe, layout.numbers)
    lowered.append(engine_for(feed).lowered(step, *shapes, feed))
    assert lowered[0].as_text() == lowered[1].as_text()


def test_what_it_says(small_config, blobs):
    found = dry_run(small_config, blobs)
    model = create_model("simple_cnn", num_classes=3, widths=(4, 8), hidden=16)
    assert found.parameters == count_parameters(model, (12, 12, 1))
    assert (found.steps, found.warmup, found.batch_size) == (40, 4, 32)
    assert found.needs.flop > 6 * 32 * 12 * 12 * 9 * 4  # the first convolution's, and more
    assert found.bound is None
    assert "examples per step     32, " in found.table()
    assert found.to_json()["per_device"]["arguments"] == found.needs.arguments


def test_on_the_command_line(run_cli, error_of, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    command = "train", f"--config={DIGITS}", *QUICK
    code, out, _ = run_cli(*command, "--dry_run")
    assert code == 0
    assert "parameters            10,250" in out
    assert "steps                 20, of which 0 of warm-up" in out
    code, out, _ = run_cli(*command, "--dry_run", "--json")
    assert json.loads(out)["devices"] == jax.device_count()
    assert list(tmp_path.iterdir()) == []

    assert error_of(*command) == "--workdir is missing: it is the directory of the run"
    assert error_of(*command, "--json") == "--json needs --dry_run"
    assert error_of(*command, "--topology=v5e:2x2") == "--topology needs --dry_run"
    refused = error_of(*command, "--dry_run", "--topology=v5e:3x3")
    assert refused.startswith("--topology='v5e:3x3' does not exist; valid: 1x1, ")
