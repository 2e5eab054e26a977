"""How a model is trained: what its step, its state and its evaluation are made from."""

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
    """What a model is judged by.

    Attributes:
      loss: (outputs, labels, mask) → Loss, without smoothed labels.
      means: (loss, outputs, labels, mask) → the metrics of a batch.
    """

    loss: Partial = Partial(softmax_cross_entropy)
    means: Partial = Partial(classification_means)


class Recipe(flax.struct.PyTreeNode):
    """The parts of a training that a config chooses, as a pytree.

    Its structure shapes the compiled program: which optimizer, whether there is clipping. Its leaves
    are the hyperparameters, values that the program is given: two recipes of one structure share a
    program, and a leading axis of trials on every leaf trains them side by side.

    Attributes:
      loss: (outputs, labels, mask) → Loss, in training.
      l2_regularization: factor of ½Σw² over the parameters that decay; None: no such term.
      groups: which those are, and which are frozen; None: all, and none.
      clipping: of the gradient, before the optimizer.
      averaging: of the weights, for evaluation.
      mixes: of a batch's images and labels, one of which is chosen for each batch.
      microbatches: parts of a batch that go through the network one by one.
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
