"""Observers of a run: console, files, TensorBoard, experiment trackers and those of the user."""

from jaxcnn.train.observers.base import Observer, Start
from jaxcnn.train.observers.table import OBSERVERS, create_observers, register_observer

__all__ = ["OBSERVERS", "Observer", "Start", "create_observers", "register_observer"]
