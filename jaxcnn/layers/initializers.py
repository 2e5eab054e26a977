"""Weight initialisers by name."""

import flax.linen as nn

from jaxcnn.errors import UserError, suggestion

INITIALIZERS = {
    # Glorot & Bengio 2010
    "glorot_normal": nn.initializers.glorot_normal(),
    "glorot_uniform": nn.initializers.glorot_uniform(),
    # He et al. 2015: variance 2/fan
    "he_normal": nn.initializers.he_normal(),
    "he_uniform": nn.initializers.he_uniform(),
    # fan_out, as torchvision's ResNets; Gaussian without truncation
    "he_normal_fan_out": nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
    # LeCun et al. 1998: variance 1/fan_in
    "lecun_normal": nn.initializers.lecun_normal(),
    "lecun_uniform": nn.initializers.lecun_uniform(),
    "normal_0.01": nn.initializers.normal(0.01),  # Krizhevsky et al. 2012
    "zeros": nn.initializers.zeros_init(),
}


def initializer(name: str) -> nn.initializers.Initializer:
    """The initialiser of that name.

    Raises:
      UserError: there is none.
    """
    if name not in INITIALIZERS:
        raise UserError(f"initialiser '{name}' does not exist; {suggestion(name, INITIALIZERS)}")
    return INITIALIZERS[name]
