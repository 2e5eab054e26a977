"""PyTorch: the same networks, eager or compiled, in either memory layout."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.contestants.data_torch import arrays
from benchmarks.contestants.torchvision import torchvision


class LeNet5(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.dense1, self.dense2, self.head = (
            nn.Linear(400, 120),
            nn.Linear(120, 84),
            nn.Linear(84, 10),
        )

    def forward(self, x):
        x = F.avg_pool2d(torch.tanh(self.conv1(x)), 2)
        x = F.avg_pool2d(torch.tanh(self.conv2(x)), 2)
        x = torch.tanh(self.dense1(x.flatten(1)))
        return self.head(torch.tanh(self.dense2(x)))


class SimpleCNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32)
        self.conv2, self.norm2 = nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64)
        self.dense, self.head = nn.Linear(64 * 7 * 7, 128), nn.Linear(128, 10)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.norm2(self.conv2(x))), 2)
        x = F.relu(self.dense(x.flatten(1)))
        return self.head(F.dropout(x, 0.3, self.training))


class Block(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.new = width - inputs

    def forward(self, x):
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        if self.new:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.new // 2, self.new // 2))
        return F.relu(x + y)


class CifarResNet20(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        blocks, inputs = [], 16
        for stage in range(3):
            for block in range(3):
                width = 16 * 2**stage
                blocks.append(Block(inputs, width, 2 if stage > 0 and block == 0 else 1))
                inputs = width
        self.blocks, self.head = nn.Sequential(*blocks), nn.Linear(64, 10)

    def forward(self, x):
        x = self.blocks(F.relu(self.stem_norm(self.stem(x))))
        return self.head(x.mean((2, 3)))


class WideBlock(nn.Module):
    def __init__(self, inputs: int, width: int, stride: int):
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        widens = inputs != width
        self.shortcut = nn.Conv2d(inputs, width, 1, stride, bias=False) if widens else None

    def forward(self, x):
        y = F.relu(self.norm1(x))
        if self.shortcut is not None:
            x = self.shortcut(y)
        return x + self.conv2(F.relu(self.norm2(self.conv1(y))))


class WideResNet28x10(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        blocks, inputs = [], 16
        for width in (160, 320, 640):
            for block in range(4):
                blocks.append(WideBlock(inputs, width, 2 if width > 160 and block == 0 else 1))
                inputs = width
        self.blocks = nn.Sequential(*blocks)
        self.norm, self.head = nn.BatchNorm2d(640), nn.Linear(640, 10)

    def forward(self, x):
        x = F.relu(self.norm(self.blocks(self.stem(x))))
        return self.head(x.mean((2, 3)))


def cifar_resnet18() -> nn.Module:
    """torchvision's, whose stem is the 3×3 convolution that images of 32×32 are given."""
    model = torchvision.models.resnet18(num_classes=10)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


MODELS = {
    "lenet5": LeNet5,
    "simple_cnn": SimpleCNN,
    "resnet20_cifar": CifarResNet20,
    "resnet18_cifar": cifar_resnet18,
    "wide_resnet28_10": WideResNet28x10,
    "resnet18": torchvision.models.resnet18,
    "resnet50": torchvision.models.resnet50,
    "vgg16": torchvision.models.vgg16,
    "densenet121": torchvision.models.densenet121,
}
FORMS = {
    "torch eager": (False, False),
    "torch eager channels_last": (False, True),
    "torch compile": (True, False),
    "torch compile channels_last": (True, True),
}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def trainer(name: str, dtype: str, form: str) -> Callable[[torch.Tensor, torch.Tensor], None]:
    """A function that takes a training step on NCHW images and labels, and does not wait for it.

    Args:
      form: one of FORMS.
    """
    compiled, channels_last = FORMS[form]
    if DEVICE == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")  # TensorFloat-32, which JAX takes there too
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = MODELS[name]().to(DEVICE, memory_format=layout)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, nesterov=True, fused=True)

    def loss_of(images, labels):
        with torch.autocast(DEVICE, torch.bfloat16, enabled=dtype == "bfloat16"):
            logits = model(images)
        return F.cross_entropy(logits.float(), labels)

    if compiled:
        loss_of = torch.compile(loss_of)

    def step(images, labels) -> None:
        images = images.to(DEVICE, memory_format=layout, non_blocking=True)
        labels = labels.to(DEVICE, non_blocking=True)
        optimizer.zero_grad(set_to_none=True)
        loss_of(images, labels).backward()
        optimizer.step()

    return step


def make_step(name: str, images, labels, dtype: str, form: str):
    """A function that takes `count` training steps on one batch and waits for the last."""
    step = trainer(name, dtype, form)
    layout = torch.channels_last if FORMS[form][1] else torch.contiguous_format
    images = torch.from_numpy(images.transpose(0, 3, 1, 2).copy()).to(DEVICE, memory_format=layout)
    labels = torch.from_numpy(labels).long().to(DEVICE)
    return waiting(lambda: step(images, labels))


def make_loop(name: str, folder: Path, batch_size: int, dtype: str, form: str):
    """The same over the batches of a DataLoader: flipped, cropped and cut out by torchvision."""
    step = trainer(name, dtype, form)
    augmentation = {"padding": 4, "cutout": 8}
    batches = arrays(folder, batch_size, **augmentation, tensors=True, workers=os.cpu_count())
    return waiting(lambda: step(*next(batches)))


def waiting(step: Callable[[], None]) -> Callable[[int], None]:
    """A function that takes `count` steps and waits for the last."""

    def steps(count: int) -> None:
        for _ in range(count):
            step()
        if DEVICE == "cuda":
            torch.cuda.synchronize()

    return steps
