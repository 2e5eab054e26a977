"""How a run does on each class: the confusion matrix, and what follows from it."""

import itertools
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.train.ensemble import probabilities_of
from jaxcnn.train.saved_run import SavedRun


@dataclass(frozen=True)
class Confusion:
    """The confusion matrix of a split.

    Attributes:
      counts: int (classes, classes), images by their class (rows) and their prediction (columns).
    """

    class_names: tuple[str, ...]
    counts: np.ndarray

    @classmethod
    def of(
        cls, class_names: tuple[str, ...], labels: np.ndarray, predicted: np.ndarray
    ) -> "Confusion":
        """Of labels and predictions (images,), int."""
        counts = np.zeros((len(class_names),) * 2, int)
        np.add.at(counts, (labels, predicted), 1)
        return cls(class_names, counts)

    @property
    def accuracies(self) -> np.ndarray:
        """(classes,), the share of each class's images that are recognised (recall); NaN of none."""
        return _shares(self.counts.diagonal(), self.counts.sum(axis=1))

    @property
    def precisions(self) -> np.ndarray:
        """(classes,), the share of the predictions of each class that are right; NaN of none."""
        return _shares(self.counts.diagonal(), self.counts.sum(axis=0))

    @property
    def balanced_accuracy(self) -> float:
        """The mean of the accuracies of the classes that have images (Brodersen et al. 2010)."""
        return float(np.nanmean(self.accuracies))

    def to_json(self) -> dict[str, Any]:
        """In JSON types; None for what is NaN."""
        named = zip(self.class_names, self.counts, self.accuracies, self.precisions, strict=True)
        return {
            "balanced_accuracy": self.balanced_accuracy,
            "classes": [
                {
                    "class": name,
                    "count": int(row.sum()),
                    "accuracy": _number(accuracy),
                    "precision": _number(precision),
                }
                for name, row, accuracy, precision in named
            ],
            "confusion": self.counts.tolist(),
        }

    def table(self) -> str:
        """A line for each class: its images, accuracy and precision, and its commonest mistake."""
        lines = [f"{'':<32}  accuracy precision    images  taken for"]
        for row in self.rows():
            shares = f"{row['accuracy']:>10}{row['precision']:>10}{row['count']:>10}"
            lines.append(f"{_in_cells(row['name'], 32)}{shares}  {row['mistake']}".rstrip())
        lines.append(f"{'balanced accuracy':<32}{_percent(self.balanced_accuracy):>10}")
        return "\n".join(lines)

    def rows(self) -> list[dict[str, str]]:
        """'name', 'count', 'accuracy', 'precision' and 'mistake' of each class, as text."""
        found = []
        for number, (name, row) in enumerate(zip(self.class_names, self.counts, strict=True)):
            wrong = np.where(np.arange(len(row)) == number, 0, row)
            mistake = self.class_names[wrong.argmax()] if wrong.any() else ""
            shares = (self.accuracies[number], self.precisions[number])
            accuracy, precision = map(_percent, shares)
            found.append({
                "name": name,
                "count": f"{row.sum():,}",
                "accuracy": accuracy,
                "precision": precision,
                "mistake": f"{wrong.max() / row.sum():.1%} {mistake}" if mistake else "",
            })  # fmt: skip
        return found


def confusion_of(
    run: SavedRun, split: str = "test", location: Mapping[str, str] | None = None
) -> Confusion:
    """The confusion matrix of a run on a split of its data.

    Args:
      location: where the data is now, if it moved: {"data.root": "/new/photos"}.

    Raises:
      UserError: the run is a regression, or the data has no such split.
    """
    if run.spec.targets:
        raise UserError("this run is a regression; it has no classes")
    dataset = run.dataset(split, location or {})
    predicted = probabilities_of(run, dataset, split).argmax(axis=1)
    labels = np.asarray(dataset.splits[split].labels)
    return Confusion.of(run.spec.class_names, labels, predicted)


def _shares(parts: np.ndarray, wholes: np.ndarray) -> np.ndarray:
    return np.where(wholes > 0, parts / np.maximum(wholes, 1), np.nan)


def _number(share: float) -> float | None:
    return None if np.isnan(share) else float(share)


def _percent(share: float) -> str:
    return "—" if np.isnan(share) else f"{share:.2%}"


def _in_cells(text: str, width: int) -> str:
    """The text, cut or filled up to so many cells of a terminal; some characters take two."""
    cells = [2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text]
    if sum(cells) <= width:
        return text + " " * (width - sum(cells))
    kept = sum(end <= width - 1 for end in itertools.accumulate(cells))
    return f"{text[:kept]}…" + " " * (width - 1 - sum(cells[:kept]))
