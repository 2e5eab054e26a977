"""What is refused before anything is written."""

import pytest

from jaxcnn.errors import UserError
from jaxcnn.train.start import train
from jaxcnn.train.workdir import Workdir


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"train.global_batch_size": 181},
            "config.train.global_batch_size=181 is larger than the training split, which has 180 images",
        ),
        (
            {"schedule.warmup": "40 steps"},
            "config.schedule.warmup='40 steps' is 40 steps, but config.train.duration='40 steps' is a "
            "run of 40; the warm-up must be shorter than the run",
        ),
        (
            {"model.widths": (4, 4, 4, 4)},
            "the images are too small for simple_cnn: 12×12, where layer 'pool4' would be empty "
            "(0×0 pixels); the smallest size is 16×16, and config.data.resize=16 scales the images",
        ),
        ({"model.activation": "reluu"}, "; did you mean 'relu'?"),
        (
            {"model.norm": "bach"},
            "config.model.norm='bach' must be one of 'batch', 'layer', 'instance', 'group', 'none'; did you mean 'batch'?",
        ),
        (
            {"model.batch_norm_mode": "ghost", "model.ghost_batch_size": 5},
            "batch_norm_mode='ghost' cannot divide a batch of 32 among parts of ghost_batch_size=5",
        ),
        ({"model.widths": (4, 0)}, "config.model.widths=(4, 0) must be at least 1"),
    ],
)
def test_refused(small_config, blobs, tmp_path, changes, message):
    for key, value in changes.items():
        section, leaf = key.split(".")
        small_config[section][leaf] = value
    with pytest.raises(UserError) as error:
        train(small_config, tmp_path / "run", dataset=blobs)
    assert message in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_workdir_of_another_config(small_config, blobs, tmp_path):
    train(small_config, tmp_path / "run", dataset=blobs)
    (tmp_path / "run" / "notes.txt").write_text("mine")
    small_config.seed = 5
    small_config.model.hidden = 8
    with pytest.raises(UserError) as error:
        train(small_config, tmp_path / "run", dataset=blobs)
    assert "config.model.hidden: 16 → 8; config.seed: 0 → 5" in str(error.value)
    assert "overwrite=True" in str(error.value)
    assert Workdir(tmp_path / "run").read_config().seed == 0
    train(small_config, tmp_path / "run", overwrite=True, dataset=blobs)
    assert Workdir(tmp_path / "run").read_config().seed == 5
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"


def test_overwriting_by_what_is_refused_leaves_the_run_there(
    small_config, blobs, tmp_path, monkeypatch
):
    train(small_config, tmp_path / "run", dataset=blobs)
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.setattr("jaxcnn.data.feeding.device.SHARE_OF_MEMORY", 0)
    small_config.data.placement = "device"
    with pytest.raises(UserError, match="config.data.placement='device': the images take"):
        train(small_config, tmp_path / "run", overwrite=True, dataset=blobs)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_workdir_that_is_a_file(small_config, blobs, tmp_path):
    (tmp_path / "run").write_text("")
    with pytest.raises(UserError, match="run is a file; it must be a directory"):
        train(small_config, tmp_path / "run", dataset=blobs)
