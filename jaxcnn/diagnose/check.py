"""Checks of a config before it is trained: its data, its network, whether it can learn at all."""

from collections.abc import Iterator

from ml_collections import ConfigDict

from jaxcnn.data.dataset import Dataset
from jaxcnn.diagnose.checks.data import Sample, check_inputs, check_labels, check_splits
from jaxcnn.diagnose.checks.finding import Finding
from jaxcnn.diagnose.checks.network import (
    check_activations,
    check_answers,
    check_frozen,
    check_gradients,
    check_initial_loss,
)
from jaxcnn.diagnose.checks.overfit import check_overfit
from jaxcnn.diagnose.checks.subject import Subject

EXAMPLES, STEPS = 32, 200


def check(
    config: ConfigDict, dataset: Dataset, examples: int = EXAMPLES, steps: int = STEPS
) -> Iterator[Finding]:
    """Checks a resolved config on its data; yields each finding as soon as it is known.

    Nothing is written. docs/checks.md has the rules.

    Args:
      examples: how many images are learned by heart.
      steps: in which they are to be learned.
    """
    subject = Subject.of(config, dataset, examples, steps)
    samples = {split: Sample(dataset, split) for split in dataset.splits}
    yield check_inputs(samples["train"])
    yield check_splits(samples)
    yield check_labels(samples, dataset.spec.outputs, dataset.spec.targets is None)
    state = subject.state(dataset)
    yield check_frozen(subject, state)
    yield check_initial_loss(subject, state)
    yield check_answers(subject, state)
    yield check_activations(subject, state)
    yield check_gradients(subject, state)
    del state
    yield check_overfit(subject, dataset, steps)
