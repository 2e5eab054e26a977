"""How a model is trained: the parts of its step, state and evaluation."""

from typing import Any

import flax.struct
from jax.tree_util import Partial

from jaxcnn.optim.averaging import Averaging
from jaxcnn.optim.chain import Clipping, Optimizer
from jaxcnn.optim.groups import ParameterGroups
from jaxcnn.train.losses import softmax_cross_entropy
from jaxcnn.train.metrics import classification_means
from jaxcnn.train.mixing import Mix


class Scoring(flax.struct.PyTreeNode):
    """How a model is evaluated.

    Attributes:
      loss: (outputs, labels, mask) → Loss, without label smoothing.
      means: (loss, outputs, labels, mask) → the metrics of a batch.
    """

    loss: Partial = Partial(softmax_cross_entropy)
    means: Partial = Partial(classification_means)


class Recipe(flax.struct.PyTreeNode):
    """The configurable parts of training, as a pytree.

    The structure determines the compiled program, such as the optimizer and whether gradients are
    clipped. The leaves are hyperparameters, inputs of that program: recipes of the same structure
    share a program, and a leading axis of trials on every leaf trains them in parallel.

    Attributes:
      loss: (outputs, labels, mask) → Loss, in training.
      scoring: loss and metrics of evaluation.
      l2_regularization: factor of ½Σw² over the parameters that decay; None: no penalty.
      groups: which parameters decay and which are frozen; None: all decay, none is frozen.
      clipping: of the gradient, before the optimizer.
      averaging: of the weights, for evaluation.
      mixes: at most one of which is applied to each batch.
      microbatches: number of parts into which a batch is split, processed one after another.
    """

    optimizer: Optimizer
    loss: Partial = Partial(softmax_cross_entropy)
    scoring: Scoring = Scoring()
    l2_regularization: Any = None
    groups: ParameterGroups | None = None
    clipping: Clipping = Clipping()
    averaging: Averaging = Averaging()
    mixes: tuple[Mix, ...] = ()
    microbatches: int = flax.struct.field(pytree_node=False, default=1)
