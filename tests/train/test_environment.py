import copy
import json

import pytest

from jaxcnn.errors import UserError
from jaxcnn.train.environment import environment, other_conditions
from jaxcnn.train.start import train
from jaxcnn.train.workdir import Workdir
from tests.train.runs import preempted, stop_at


def test_an_environment_is_json():
    values = environment()
    assert values["versions"]["flax"]
    assert values["devices"]
    assert values["command"]
    assert values["cores"] >= 1
    assert values["processor"]
    assert json.loads(json.dumps(values)) == values


@pytest.mark.fast
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cores": 1}, "cores 2 → 1"),
        ({"processor": "Z80"}, "processor 6502 → Z80"),
        ({"devices": ["cpu"]}, "devices 8 × cpu → 1 × cpu"),
        ({"processes": 2}, "processes 1 → 2"),
        ({"xla_flags": "--xla_x"}, "xla_flags None → --xla_x"),
        ({"jax_flags": {"jax_enable_x64": True}}, "jax_enable_x64 False → True"),
        ({"versions": {"jaxlib": "2", "orbax-checkpoint": "1"}}, "jaxlib 1 → 2"),
    ],
)
def test_what_may_change_bits_is_said(change, said):
    before = {
        "processor": "6502", "cores": 2, "devices": ["cpu"] * 8, "backend": "cpu", "xla_flags": None,
        "processes": 1, "versions": {"jaxlib": "1", "orbax-checkpoint": "1"},
        "jax_flags": {"jax_enable_x64": False}, "command": ["jaxcnn"], "git_revision": "abc",
    }  # fmt: skip
    assert other_conditions(before, copy.deepcopy(before)) == []
    assert other_conditions(before, {**before, "command": ["x"], "git_revision": "def"}) == []
    assert other_conditions(before, {**before, **change}) == [said]
    now = {**before, **change}
    del before[next(iter(change))]  # an earlier version did not write it
    assert other_conditions(before, now) == []


@pytest.mark.fast
def test_a_gpu_does_not_care_for_the_cores():
    on_gpu = {"backend": "gpu", "devices": ["H100"], "cores": 16, "processor": "one"}
    assert other_conditions(on_gpu, {**on_gpu, "cores": 8, "processor": "other"}) == []


def test_a_run_under_other_conditions(small_config, blobs, tmp_path, monkeypatch, caplog):
    with monkeypatch.context() as patch:
        stop_at(patch, 7)
        preempted(small_config, tmp_path / "run", dataset=blobs)
    directory, cores = Workdir(tmp_path / "run"), environment()["cores"]
    (first,) = directory.read_environments()
    directory.environment.write_text(json.dumps([{**first, "cores": 99}]))

    def contents():
        return {path: path.read_bytes() for path in directory.path.rglob("*.json*")}

    small_config.reproducible, before = "strict", contents()
    with pytest.raises(UserError, match=f"^config.reproducible='strict': .* .cores 99 → {cores}.;"):
        train(small_config, directory.path, dataset=blobs)
    assert contents() == before
    small_config.reproducible = "warn"
    train(small_config, directory.path, dataset=blobs)
    said = "resuming under other conditions, so that numbers may differ by rounding"
    assert f"{said}: cores 99 → {cores}" in caplog.text
    assert [each["cores"] for each in directory.read_environments()] == [99, cores]
