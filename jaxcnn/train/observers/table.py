"""Observers by name, for `config.observers = [{"name": "wandb", "project": "p"}]`."""

from collections.abc import Iterable, Mapping

from jaxcnn.registry import Registry
from jaxcnn.train.observers.mlflow import MLflow
from jaxcnn.train.observers.wandb import WeightsAndBiases

OBSERVERS = Registry("observer")
register_observer = OBSERVERS.register
register_observer("mlflow", MLflow)
register_observer("wandb", WeightsAndBiases)


def create_observers(entries: Iterable[Mapping]) -> list:
    """Builds the observers that a config's `observers` lists.

    Raises:
      UserError: an observer or a setting does not exist, or a package is not installed.
    """
    entries = [dict(entry) for entry in entries]
    return [OBSERVERS.create(entry.pop("name"), **entry) for entry in entries]
