"""Weight initialisers by name."""

import math

import flax.linen as nn

from jaxcnn.errors import check_choice

variance = nn.initializers.variance_scaling

INITIALIZERS = {
    # Glorot & Bengio 2010: variance 2/(fan_in + fan_out)
    "glorot_normal": nn.initializers.glorot_normal(),
    "glorot_uniform": nn.initializers.glorot_uniform(),
    # He et al. 2015: variance 2/fan_in, or 2/fan_out; the normal ones are cut off at two deviations
    "he_normal": nn.initializers.he_normal(),
    "he_uniform": nn.initializers.he_uniform(),
    "he_uniform_fan_out": variance(2.0, "fan_out", "uniform"),
    # Without the cut, as torchvision's ResNets
    "he_normal_fan_out": variance(2.0, "fan_out", "normal"),
    # LeCun et al. 1998: variance 1/fan_in
    "lecun_normal": nn.initializers.lecun_normal(),
    "lecun_uniform": nn.initializers.lecun_uniform(),
    # Saxe, McClelland & Ganguli 2014
    "orthogonal": nn.initializers.orthogonal(),
    "zeros": nn.initializers.zeros_init(),
}


def initializer(name: str) -> nn.initializers.Initializer:
    """The initialiser of that name; 'normal_σ', as 'normal_0.01', is normal with deviation σ > 0.

    Raises:
      UserError: there is none.
    """
    if name.startswith("normal_"):
        try:
            deviation = float(name.removeprefix("normal_"))
        except ValueError:
            deviation = math.nan
        if 0 < deviation < math.inf:
            return nn.initializers.normal(deviation)
    check_choice("initialiser", name, [*INITIALIZERS, "normal_0.01"])
    return INITIALIZERS[name]
