"""Writes torch_optimizers.json and torch_schedules.json: what torch.optim itself does.

    make golden

Each optimizer takes fifty float64 steps on the same two-dimensional problem, with a learning rate that
changes at every step; each scheduler runs over a whole short run.
"""

import json
import math
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).parent
MATRIX = np.array([[3.0, 0.5], [0.5, 1.0]])

OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9, "dampening": 0}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "dampening": 0, "nesterov": True}),
    "adagrad": (torch.optim.Adagrad, {}),
    "adadelta": (torch.optim.Adadelta, {"rho": 0.9, "eps": 1e-6}),
    "rmsprop": (torch.optim.RMSprop, {"alpha": 0.9}),
    "rmsprop_momentum": (torch.optim.RMSprop, {"alpha": 0.9, "momentum": 0.9}),
    "rmsprop_centered": (torch.optim.RMSprop, {"alpha": 0.9, "momentum": 0.9, "centered": True}),
    "adam": (torch.optim.Adam, {}),
    "amsgrad": (torch.optim.Adam, {"amsgrad": True}),
    "adamax": (torch.optim.Adamax, {}),
    "nadam": (torch.optim.NAdam, {}),
    "radam": (torch.optim.RAdam, {}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.01}),
}


def trajectory(optimizer, settings: dict) -> list[list[float]]:
    w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    tx = optimizer([w], lr=0.02, **settings)
    path = []
    for step in range(50):
        tx.param_groups[0]["lr"] = 0.02 * (1 - step / 100)
        w.grad = torch.tensor(MATRIX @ w.detach().numpy() + math.sin(step))
        tx.step()
        path.append(w.tolist())
    return path


STEPS = 60
SCHEDULERS = {
    "step": lambda tx: torch.optim.lr_scheduler.StepLR(tx, 7, 0.5),
    "multistep": lambda tx: torch.optim.lr_scheduler.MultiStepLR(tx, [12, 30, 31], 0.3),
    "exponential": lambda tx: torch.optim.lr_scheduler.ExponentialLR(tx, 0.93),
    "linear": lambda tx: torch.optim.lr_scheduler.LinearLR(tx, 1.0, 0.2, STEPS),
    "warmup": lambda tx: torch.optim.lr_scheduler.LinearLR(tx, 1 / 11, 1.0, 10),
    "cosine": lambda tx: torch.optim.lr_scheduler.CosineAnnealingLR(tx, STEPS, 0.1),
    "cosine_restarts": lambda tx: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(
        tx, 8, 2, 0.1
    ),
    "cyclic_triangular": lambda tx: _cyclic(tx, "triangular"),
    "cyclic_triangular2": lambda tx: _cyclic(tx, "triangular2"),
    "cyclic_exp_range": lambda tx: _cyclic(tx, "exp_range"),
    "one_cycle": lambda tx: torch.optim.lr_scheduler.OneCycleLR(tx, 1.0, total_steps=STEPS),
}


def _cyclic(tx, mode: str):
    return torch.optim.lr_scheduler.CyclicLR(
        tx, 0.1, 1.0, step_size_up=7, mode=mode, gamma=0.97, cycle_momentum=False
    )


def factors(make) -> dict[str, list[float]]:
    """The learning rate that each step of a run would use, its peak 1; the momentum too."""
    w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    tx = torch.optim.SGD([w], lr=1.0, momentum=0.9)
    scheduler = make(tx)
    rates, momenta = [], []
    for _ in range(STEPS):
        rates.append(tx.param_groups[0]["lr"])
        momenta.append(tx.param_groups[0]["momentum"])
        tx.step()
        if len(rates) < STEPS:
            scheduler.step()
    return {"factor": rates, "momentum": momenta}


# A validation loss that falls, stands, falls by too little, and rises; an accuracy that mirrors it.
LOSSES = [
    1,
    0.8,
    0.7,
    0.7,
    0.71,
    0.6999,
    0.7,
    0.5,
    0.51,
    0.52,
    0.53,
    0.5,
    0.49,
    0.49,
    0.49,
    0.6,
    0.6,
    0.6,
]
LOSSES += [0.6] * 12


def plateau(mode: str, **settings) -> list[float]:
    w = torch.zeros(1, requires_grad=True)
    tx = torch.optim.SGD([w], lr=1.0)
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(tx, mode, eps=0.0, **settings)
    rates = []
    for loss in LOSSES:
        scheduler.step(loss if mode == "min" else 1 - loss)
        rates.append(tx.param_groups[0]["lr"])
    return rates


PLATEAUS = {
    "min": {"factor": 0.5, "patience": 2},
    "cooldown": {"factor": 0.5, "patience": 1, "cooldown": 2, "threshold": 0.01},
    "floor": {"factor": 0.1, "patience": 0, "min_lr": 0.05},
    "max": {"mode": "max", "factor": 0.5, "patience": 2},
}


def main() -> None:
    written = {name: trajectory(*entry) for name, entry in OPTIMIZERS.items()}
    (HERE / "torch_optimizers.json").write_text(json.dumps(written) + "\n")
    schedules = {name: factors(make) for name, make in SCHEDULERS.items()}
    plateaus = {}
    for name, settings in PLATEAUS.items():
        settings = dict(settings)
        plateaus[name] = plateau(settings.pop("mode", "min"), **settings)
    written = {"schedules": schedules, "losses": LOSSES, "plateaus": plateaus}
    (HERE / "torch_schedules.json").write_text(json.dumps(written) + "\n")


if __name__ == "__main__":
    main()
