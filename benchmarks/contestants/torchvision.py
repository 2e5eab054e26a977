"""torchvision, also beside a build of torch that lacks its operators, which nothing here calls."""

try:
    import torchvision
except RuntimeError:
    from tests.torch.torchvision_models import torchvision

import torchvision.transforms.v2

__all__ = ["torchvision"]
