"""Checks of the data, before any network: inputs, the splits beside each other, labels."""

import itertools
from contextlib import closing
from dataclasses import replace

import numpy as np

from jaxcnn.data.dataset import Dataset
from jaxcnn.data.feeding.host import HostFeed
from jaxcnn.diagnose.checks.finding import Finding, failed, passed, skipped
from jaxcnn.layout import Layout

SAMPLE = 2_000  # images of a split that are looked at
_SIDE = 8  # pixels: the probe sees images this small
_FEWEST = 30  # held-out images for a verdict
_SURE = 4.0  # standard errors


class Sample:
    """Images of a split, chosen at random, as the network receives them without augmentation.

    Attributes:
      images: float32 (n, height, width, channels), normalised.
      labels: (n, …).
      spec: of the data.
    """

    def __init__(self, dataset: Dataset, split: str, count: int = SAMPLE):
        whole = dataset.splits[split]
        chosen = np.random.default_rng(0).permutation(len(whole))[:count]
        part = whole[np.sort(chosen)]
        spec = replace(dataset.spec, sizes={split: len(part)})
        layout = Layout.over_all_devices()
        feed = HostFeed(replace(dataset, splits={split: part}, spec=spec), layout)
        size = 100 + -100 % layout.replicas
        with closing(feed.eval_batches(split, size)) as batches:
            kept = [(np.asarray(b["image"]), np.asarray(b["mask"])) for b in batches]
        self.images = np.concatenate([images[mask] for images, mask in kept])
        self.labels, self.spec = part.labels, dataset.spec

    def __len__(self) -> int:
        return len(self.images)


def check_inputs(train: Sample) -> Finding:
    """The channels have a mean near 0 and a deviation near 1, as initialisations assume."""
    mean = train.images.mean((0, 1, 2), dtype=np.float64)
    std = train.images.std((0, 1, 2), dtype=np.float64)
    values = {"mean": mean.round(4).tolist(), "std": std.round(4).tolist()}
    said = f"channel means {_range(mean)}, deviations {_range(std)}"
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        return failed("inputs", "the images contain NaN or infinity", **values)
    if abs(mean).max() > 0.5 or std.min() < 0.5 or std.max() > 2.0:
        return failed(
            "inputs",
            f"the inputs are not normalised: {said}, where about 0 and 1 are expected; "
            "config.data.statistics='train' measures them",
            **values,
        )
    return passed("inputs", said, **values)


def check_splits(samples: dict[str, Sample]) -> Finding:
    """The channels of the splits have the same means, in the same order."""
    train, others = samples["train"], {k: s for k, s in samples.items() if k != "train"}
    if not others:
        return skipped("splits", "the data has a training split only")
    values, problems, unit = {}, [], train.spec.std.astype(np.float64)
    means = _channel_means(train)
    mean, deviation = means.mean(0), means.std(0)
    for name, sample in others.items():
        other = _channel_means(sample).mean(0)
        difference = (other - mean) / unit
        values[name] = {"difference": difference.round(4).tolist()}
        error = deviation * np.sqrt(1 / len(train) + 1 / len(sample)) + 1e-6 * unit
        if (abs(other - mean) / error).max() < 2 * _SURE:
            continue
        orders = list(itertools.permutations(range(len(mean)))) if len(mean) <= 4 else []
        distances = {o: np.square((other[list(o)] - mean) / unit).sum() for o in orders}
        best = min(distances, key=distances.get, default=None)
        if best and distances[best] < 0.25 * np.square(difference).sum():
            values[name]["order"] = list(best)
            problems.append(
                f"the channels of the {name} images are in another order: its channels "
                f"{', '.join(map(str, best))} look like the training images' 0 to {len(mean) - 1}"
            )
        elif abs(difference).max() > 0.5:
            problems.append(
                f"the {name} images are brighter or darker by {abs(difference).max():.2g} standard "
                "deviations: they come from elsewhere, or are prepared otherwise"
            )
    if problems:
        return failed("splits", "; ".join(problems), **values)
    largest = max(abs(d) for v in values.values() for d in v["difference"])
    names = " and ".join(others)
    return passed(
        "splits",
        f"{names}: channel means within {largest:.2g} standard deviations of train's",
        **values,
    )


def check_labels(samples: dict[str, Sample], outputs: int, classes: bool) -> Finding:
    """A linear probe on small images tells labels better than one that learnt shuffled labels."""
    train = samples["train"]
    held_out = len(train) // 4
    if held_out < _FEWEST:
        return skipped("labels", f"{len(train)} training images are too few for a probe")
    pixels = {name: _small(sample.images) for name, sample in samples.items()}
    targets = {name: _targets(sample.labels, outputs, classes) for name, sample in samples.items()}
    order = np.random.default_rng(1).permutation(len(train))
    rest, held = order[held_out:], order[:held_out]
    shuffled = np.random.default_rng(2).permutation(rest)
    x, y = pixels["train"], targets["train"]
    of_classes = (_ridge_of_classes, _balanced_accuracy, _chance_of_classes)
    of_targets = (_ridge, _correlation, _chance_of_targets)
    fit, score, chance_of = of_classes if classes else of_targets
    probe, chance = fit(x[rest], y[rest]), fit(x[rest], y[shuffled])
    what = "balanced accuracy" if classes else "correlation"
    base = score(x[held] @ chance, y[held])
    seen = score(x[held] @ probe, y[held])
    values = {what: {"held out": round(seen, 4)}, "shuffled": round(base, 4)}

    def needed(y: np.ndarray) -> float:
        expected, error = chance_of(y)
        return max(base if classes else 0.0, expected) + _SURE * error

    if needed(y[held]) >= 1:
        return skipped("labels", "a class has too few training images for a probe", **values)
    if seen < needed(y[held]):
        return failed(
            "labels",
            "the labels do not belong to the images, or a linear probe cannot tell: its "
            f"{what} on unseen training images is {seen:.2f}, and {base:.2f} with shuffled labels",
            **values,
        )
    for name, sample in samples.items():
        theirs = targets[name]
        if name == "train" or len(sample) < _FEWEST or needed(theirs) >= 1:
            continue
        its = score(pixels[name] @ probe, theirs)
        values[what][name] = round(its, 4)
        if its < needed(theirs):
            return failed(
                "labels",
                f"the labels of the {name} images are not those that the training images teach: a "
                f"linear probe's {what} is {its:.2f} there, {seen:.2f} on unseen training images",
                **values,
            )
    return passed(
        "labels",
        f"a linear probe: {what} {seen:.2f} on unseen images, {base:.2f} with shuffled labels",
        **values,
    )


def _balanced_accuracy(answers: np.ndarray, y: np.ndarray) -> float:
    """The mean of the shares of each class that are told, of the classes with images."""
    right = answers.argmax(1) == y.argmax(1)
    counts = y.sum(0)
    return float(((right @ y)[counts > 0] / counts[counts > 0]).mean())


def _correlation(answers: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(answers.ravel(), y.ravel())[0, 1])


def _chance_of_targets(y: np.ndarray) -> tuple[float, float]:
    """The correlation of guesses at random, and its standard error."""
    return 0.0, 1 / np.sqrt(len(y))


def _chance_of_classes(y: np.ndarray) -> tuple[float, float]:
    """The balanced accuracy of guesses at random, and its standard error."""
    counts = y.sum(0)[y.sum(0) > 0]
    p = 1 / len(counts)
    return p, float(np.sqrt((p * (1 - p) / counts).sum()) / len(counts))


def _channel_means(sample: Sample) -> np.ndarray:
    """(n, channels): the mean of each channel of each image, in stored pixels."""
    spec = sample.spec
    return sample.images.mean((1, 2), dtype=np.float64) * spec.std + spec.mean


def _small(images: np.ndarray) -> np.ndarray:
    """(n, features): pixels averaged over a grid of at most 8 × 8, and a constant."""
    for axis in (1, 2):
        size = images.shape[axis]
        starts = np.arange(min(_SIDE, size)) * size // min(_SIDE, size)
        counts = np.diff([*starts, size])
        shape = [-1 if i == axis else 1 for i in range(4)]
        images = np.add.reduceat(images, starts, axis) / counts.reshape(shape)
    flat = images.reshape(len(images), -1).astype(np.float64)
    return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)


def _targets(labels: np.ndarray, outputs: int, classes: bool) -> np.ndarray:
    if classes:
        return np.eye(outputs)[labels]
    return labels.reshape(len(labels), -1).astype(np.float64)


def _ridge(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The weights of least squares with a little decay."""
    decay = 0.01 * len(x) * np.eye(x.shape[1])
    return np.linalg.solve(x.T @ x + decay, x.T @ y)


def _ridge_of_classes(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The same, in which every class counts alike, however many images it has."""
    counts = y.sum(0)
    weights = np.sqrt(y @ (len(y) / np.maximum(counts, 1) / (counts > 0).sum()))[:, None]
    return _ridge(x * weights, y * weights)


def _range(values: np.ndarray) -> str:
    low, high = f"{values.min():.3g}", f"{values.max():.3g}"
    return low if low == high else f"{low} to {high}"
