"""Whether the probabilities of a network are those with which it is right."""

from dataclasses import dataclass

import numpy as np

_BINS = 15


@dataclass(frozen=True)
class Calibration:
    """Predictions by the probability of the predicted class, in equal bins.

    Attributes:
      edges: (bins + 1,), from 0 to 1.
      confidence, accuracy: (bins,), means; NaN of an empty bin.
      counts: (bins,).
    """

    edges: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, probabilities: np.ndarray, labels: np.ndarray) -> "Calibration":
        """Of class probabilities (images, classes), and labels (images,)."""
        edges = np.linspace(0, 1, _BINS + 1)
        confidence = probabilities.max(axis=1)
        right = probabilities.argmax(axis=1) == labels
        place = np.clip(np.digitize(confidence, edges, right=True) - 1, 0, _BINS - 1)
        counts = np.bincount(place, minlength=_BINS)
        known = np.where(counts > 0, counts, np.nan)
        sums = (np.bincount(place, weights, _BINS) for weights in (confidence, right))
        means = [total / known for total in sums]
        return cls(edges, *means, counts)

    @property
    def error(self) -> float:
        """The expected calibration error: the mean of |accuracy − confidence| (Guo et al. 2017)."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps * self.counts) / self.counts.sum())
