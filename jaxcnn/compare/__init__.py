"""Fair comparisons: arms with search spaces, trials in a directory, statistics and a report."""

from jaxcnn.compare.comparison import Arm, Comparison
from jaxcnn.compare.loading import load_comparison
from jaxcnn.compare.spaces import Choice, LogUniform, Uniform

__all__ = ["Arm", "Choice", "Comparison", "LogUniform", "Uniform", "load_comparison"]
