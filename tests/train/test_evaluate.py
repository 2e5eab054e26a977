"""Every example counts once: on the 10,000 test images, whatever the batch size."""

import pytest

from jaxcnn.config import default_config
from jaxcnn.data.dataset import load_dataset
from jaxcnn.train.experiment import resolve
from jaxcnn.train.start import train


def test_count_and_accuracy_do_not_depend_on_the_batch_size(tfds_dir, tmp_path):
    config = default_config()
    config.model.name = "linear"
    config.data.update({"source": "tfds", "name": "fashion_mnist", "data_dir": tfds_dir})
    config.optimizer.learning_rate = 0.01
    config.train.duration = "40 steps"
    dataset = load_dataset(resolve(config).data.to_dict())
    results = []
    for batch_size in (100, 128, 9_999):
        config.eval.global_batch_size = batch_size
        result = train(config, tmp_path / str(batch_size), dataset=dataset)
        results.append(result["final"]["test"])
    assert [result["count"] for result in results] == [10_000] * 3
    correct = [round(result["accuracy"] * 10_000) for result in results]
    assert max(correct) - min(correct) <= 1
    assert correct[0] > 6_000
    for result in results:
        assert result["loss"] == pytest.approx(results[0]["loss"], rel=1e-5)
