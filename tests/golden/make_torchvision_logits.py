"""Makes torchvision_logits.npz: what torchvision's own networks answer with the weights of weights.py.

    make golden

Each network gets weights that are a formula of their names and shapes (weights.py). Kept are its logits
for ten classes in evaluation and in training mode (dropout off), and samples of the running
statistics after one training pass. The tests hold our networks to them, without torch.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.golden import weights

FILE = Path(__file__).parent / "torchvision_logits.npz"

# name → (images, pixels on a side). One of each kind; the depths that are left out share their code.
NETWORKS = {
    "alexnet": (2, 224),
    "vgg11": (2, 64),
    "vgg11_bn": (4, 64),
    "googlenet": (4, 96),
    "inception_v3": (2, 299),
    "resnet18": (4, 64),
    "resnet50": (4, 64),
    "resnext50_32x4d": (4, 64),
    "wide_resnet50_2": (4, 64),
    "densenet121": (4, 64),
}


def answers(name: str) -> dict[str, np.ndarray]:
    from tests.torch.torchvision_models import torch, torchvision_model

    model = torchvision_model(name, num_classes=10)
    tensors = {key: weights.tensor(key, tuple(t.shape)) for key, t in model.state_dict().items()}
    model.load_state_dict({key: torch.from_numpy(value) for key, value in tensors.items()})
    images = torch.from_numpy(weights.images(*NETWORKS[name])).permute(0, 3, 1, 2)
    with torch.no_grad():
        found = {"eval": model.eval()(images).numpy()}
        trained = model.train()(images)
    logits = trained if torch.is_tensor(trained) else trained.logits
    found["train"] = logits.numpy()
    statistics = {key: value.numpy() for key, value in model.state_dict().items()}
    if any(key.endswith("running_var") for key in statistics):
        found["statistics"] = weights.samples(statistics).astype(np.float32)
    return found


if __name__ == "__main__":
    arrays = {}
    for name in NETWORKS:
        for kind, values in answers(name).items():
            arrays[f"{name}/{kind}"] = values
            print(f"{name}/{kind}: {values.shape}, up to {np.abs(values).max():.3g}")
    np.savez_compressed(FILE, **arrays)
    print(f"{FILE}: {FILE.stat().st_size / 1024:.0f} KiB")
