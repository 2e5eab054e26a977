"""How a model is trained: what its step, its state and its evaluation are made from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import optax

from jaxcnn.optim.averaging import NO_AVERAGING, Averaging
from jaxcnn.optim.chain import NO_CLIPPING
from jaxcnn.optim.groups import ParameterGroups
from jaxcnn.train.losses import Loss, softmax_cross_entropy
from jaxcnn.train.metrics import Means, class_means
from jaxcnn.train.mixing import Mix


@dataclass(frozen=True)
class Recipe:
    """The parts of a training that a config chooses.

    Attributes:
      tx: the optimizer, as `create_optimizer` makes it.
      loss: (outputs, labels, mask) → Loss, in training.
      eval_loss: the same in evaluation, where labels are not smoothed.
      means: (loss, outputs, labels, mask) → the metrics of a batch.
      l2_regularization: factor of ½Σw² over the parameters that decay.
      groups: which those are, and which are frozen; None: all, and none.
      clipping: of the gradient, before the optimizer.
      averaging: of the weights, for evaluation.
      microbatches: parts of a batch that go through the network one by one.
      mixes: of a batch's images and labels, one of which is chosen for each batch.
    """

    tx: optax.GradientTransformationExtraArgs
    loss: Callable[..., Loss] = softmax_cross_entropy
    eval_loss: Callable[..., Loss] = softmax_cross_entropy
    means: Callable[..., Means] = class_means
    l2_regularization: float = 0.0
    groups: ParameterGroups | None = None
    clipping: optax.GradientTransformation = NO_CLIPPING
    averaging: Averaging = NO_AVERAGING
    microbatches: int = 1
    mixes: Sequence[Mix] = ()
