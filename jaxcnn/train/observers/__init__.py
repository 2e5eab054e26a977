"""Who watches a run: the console, its files, TensorBoard, trackers, and whoever a user adds."""

from jaxcnn.train.observers.base import Observer, Start
from jaxcnn.train.observers.table import OBSERVERS, create_observers, register_observer

__all__ = ["OBSERVERS", "Observer", "Start", "create_observers", "register_observer"]
