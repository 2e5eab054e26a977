"""torchvision's networks, beside a build of torch that lacks its compiled operators."""

import torch

# torchvision's Python code asks for these two when it is imported; its networks never call them.
_operators = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _operators.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import torchvision  # noqa: E402

__all__ = ["torch", "torchvision", "torchvision_model"]


def torchvision_model(
    name: str, num_classes: int = 1000, aux_heads: bool | None = None
) -> torch.nn.Module:
    """A network of torchvision's, without dropout.

    Args:
      aux_heads: for googlenet and inception_v3, whether with their auxiliary heads (default: without).
    """
    settings = {}
    if name in ("googlenet", "inception_v3"):
        settings = {"aux_logits": bool(aux_heads), "init_weights": False}
    model = getattr(torchvision.models, name)(num_classes=num_classes, **settings)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model
