"""The observers that a config names: `config.observers = [{"name": "wandb", "project": "p"}]`."""

from collections.abc import Iterable, Mapping

from jaxcnn.registry import Registry
from jaxcnn.train.observers.mlflow import MLflow
from jaxcnn.train.observers.wandb import WeightsAndBiases

OBSERVERS = Registry("observer")
register_observer = OBSERVERS.register
register_observer("mlflow", MLflow)
register_observer("wandb", WeightsAndBiases)


def create_observers(entries: Iterable[Mapping]) -> list:
    """The observers that a config's `observers` lists.

    Raises:
      UserError: one does not exist, has no such setting, or needs a package that is not installed.
    """
    entries = [dict(entry) for entry in entries]
    return [OBSERVERS.create(entry.pop("name"), **entry) for entry in entries]
