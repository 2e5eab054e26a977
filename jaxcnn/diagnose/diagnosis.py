"""What the curves of a run say about its recipe; docs/checks.md has the rules."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jaxcnn.diagnose.curves import Curves
from jaxcnn.durations import Duration
from jaxcnn.train.workdir import COMPLETE

_JUMP = 1.5  # times the loss of the line before
_VARIES = 0.05  # of the neutral loss: a loss as small as this varies by a multiple of itself
_PARTS = 50  # of a run: a jump is from the mean of one to that of the next
_FLAT = 0.05  # of a loss: less is no change
_HIGH = 0.3  # of the neutral loss
_SMALL = 0.02  # of the neutral loss
_STUCK = 0.9  # of the neutral loss
_ABOVE = 1.001  # of the neutral loss


@dataclass(frozen=True)
class Condition:
    """A condition of a run.

    Attributes:
      name: such as 'overfitting'.
      evidence: a sentence with the numbers.
      advice: what to try, in words.
      settings: what to try, {dotted key: value}; may be empty.
      where: the steps to mark in a picture.
    """

    name: str
    evidence: str
    advice: str
    settings: dict[str, Any]
    where: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "where": list(self.where)}


def diagnose(curves: Curves) -> list[Condition]:
    """The conditions of a run, the gravest first; [] if it is healthy."""
    if diverged := _diverged(curves):
        return [diverged]
    rules = (
        _rate_too_low,
        _rate_too_high,
        _unstable,
        _overfitting,
        _underfitting,
        _plateau,
        _unended,
    )
    found: list[Condition] = []
    for rule in rules:
        if condition := rule(curves):
            found.append(condition)
        if found and found[-1].name in _EXPLAINS_ALL:
            break
    return found


_EXPLAINS_ALL = ("learning rate too high", "learning rate too low")


def _diverged(curves: Curves) -> Condition | None:
    if curves.status != "diverged" and not curves.rollbacks:
        return None
    rate = curves.config.optimizer.learning_rate
    if curves.rollbacks:
        times = f"{len(curves.rollbacks)} times" if curves.rollbacks[1:] else "once"
        evidence = (
            f"the run diverged {times}, first at step {curves.rollbacks[0][0]:,}, and went back"
        )
    else:
        last = f" after step {curves.steps[-1]:,.0f}" if len(curves.steps) else " at its start"
        evidence = f"the loss, the gradient or the weights became NaN or infinite{last}"
    where = tuple(float(step) for step, _ in curves.rollbacks)
    return _smaller_rate(
        curves, "diverged", f"{evidence}, at a learning rate of {rate:g}", 10, where
    )


def _rate_too_high(curves: Curves) -> Condition | None:
    """The loss stays near that of outputs of 0, and above it on average.

    At a smaller rate even a bias of the outputs would bring it below.
    """
    late = curves.after(0.1)
    above = late.mean() > _ABOVE * curves.neutral
    moved = abs(late.mean() - curves.losses[0]) > _SMALL * curves.neutral
    if late.min() < _STUCK * curves.neutral or not above or not moved:
        return None
    return _smaller_rate(
        curves,
        "learning rate too high",
        f"the training loss was up to {curves.losses.max():.3g}, and at least {late.min():.3g} later, "
        f"on average {late.mean():.3g}; that of outputs of 0 is {curves.neutral:.3g}",
        10,
    )


def _unstable(curves: Curves) -> Condition | None:
    """The training loss jumps up, time and again."""
    steps, means = curves.pooled(_PARTS)
    losses = means + _VARIES * curves.neutral
    past = steps[1:] > 0.1 * steps[-1]
    jumps = np.flatnonzero((losses[1:] > _JUMP * losses[:-1]) & past) + 1
    if len(jumps) < 2:
        return None
    worst = jumps[(losses[jumps] / losses[jumps - 1]).argmax()]
    before, after = means[worst - 1 : worst + 1]
    return _smaller_rate(
        curves,
        "unstable",
        f"the training loss jumped {len(jumps)} times by half or more, at worst from "
        f"{before:.3g} to {after:.3g} at step {steps[worst]:,.0f}",
        3,
        tuple(steps[jumps]),
    )


def _rate_too_low(curves: Curves) -> Condition | None:
    """The loss falls steadily, and nearly as much late as early, per learning rate times steps."""
    losses, neutral = curves.losses, curves.neutral
    way = np.cumsum(curves.rates * np.diff(curves.steps, prepend=0))
    at = np.interp(np.linspace(way[0], way[-1], 10), way, losses)
    first, last, steady = at[0] - at[3], at[6] - at[9], np.mean(np.diff(at) < 0)
    least = max(0.25 * first, 0.1 * _SMALL * neutral)
    if losses[-1] - curves.floor < _HIGH * neutral or steady < 0.8 or last < least:
        return None
    rate = 10 * curves.config.optimizer.learning_rate
    return Condition(
        "learning rate too low",
        f"the training loss fell steadily, from {losses[0]:.3g} to {losses[-1]:.3g}: by {first:.2g} in "
        f"the first third of the way and still by {last:.2g} in the last",
        "a learning rate ten times as large; jaxcnn lr-range suggests one",
        {"optimizer.learning_rate": _rounded(rate)},
    )


def _overfitting(curves: Curves) -> Condition | None:
    """The validation loss has risen since its best, while the training loss fell."""
    held_out, steps = curves.held_out, curves.held_out_steps
    if len(held_out) < 4:
        return None
    best = int(held_out.argmin())
    end = float(np.median(held_out[-3:]))
    then = float(np.interp(steps[best], curves.steps, curves.losses))
    now = float(np.median(curves.losses[-3:]))
    rose = end - held_out[best]
    if best >= 0.8 * len(held_out) or rose < max(0.15 * held_out[best], _SMALL * curves.neutral):
        return None
    if now > (1 - _FLAT) * then:
        return None
    return Condition(
        "overfitting",
        f"the validation loss rose from {held_out[best]:.3g} at step {steps[best]:,.0f} to {end:.3g}, "
        f"while the training loss fell from {then:.3g} to {now:.3g}",
        *_more_regularisation(curves),
        where=(float(steps[best]),),
    )


def _underfitting(curves: Curves) -> Condition | None:
    """Both losses end high, and neither moves any more."""
    held_out = curves.held_out
    end = float(np.median(curves.losses[-3:]))
    if end - curves.floor < _HIGH * curves.neutral or _still_falls(
        curves.after(2 / 3), curves.neutral
    ):
        return None
    # Of a training loss that is high because of augmentation, mixing or dropout, nothing follows.
    if len(held_out) and held_out[-1] < _HIGH * curves.neutral:
        return None
    beside = f", the validation loss at {held_out[-1]:.3g}" if len(held_out) else ""
    if len(held_out) and held_out[-1] > 1.3 * end:
        return None
    evidence = (
        f"the training loss ended at {end:.3g}{beside}, and no longer falls; that of outputs of 0 is "
        f"{curves.neutral:.3g}"
    )
    if end > _STUCK * curves.neutral:
        advice = "jaxcnn check, which looks for the cause, and jaxcnn lr-range"
        return Condition("not learning", evidence, advice, {})
    return Condition("underfitting", evidence, *_less_regularisation(curves))


def _plateau(curves: Curves) -> Condition | None:
    """Nothing improves in the last third, at a learning rate that is still large."""
    held_out, steps = curves.held_out, curves.held_out_steps
    late = curves.after(2 / 3)
    small = _SMALL * curves.neutral
    if curves.annealed or _still_falls(late, curves.neutral) or late[-1] - curves.floor < small:
        return None
    early = steps <= 2 / 3 * curves.steps[-1]
    both = early.any() and (~early).any()
    if both and held_out[~early].min() < 0.98 * held_out[early].min():
        return None
    share = curves.rates[-1] / curves.rates.max()
    return Condition(
        "plateau",
        f"in the last third of the run the training loss stayed near {np.median(late):.3g}, at a "
        f"learning rate of {curves.rates[-1]:.2g}, {share:.0%} of its peak",
        "a schedule that lowers the learning rate",
        {"schedule.name": "cosine"},
        where=(float(2 / 3 * curves.steps[-1]),),
    )


def _unended(curves: Curves) -> Condition | None:
    """The validation loss still falls at the end, and the schedule has not ended either."""
    losses = curves.held_out if len(curves.held_out) >= 4 else curves.losses
    what = "validation" if losses is curves.held_out else "training"
    before = losses[: max(1, round(0.75 * len(losses)))].min()
    end = losses[-1]
    if curves.status not in COMPLETE:
        return None
    if curves.annealed or losses.argmin() < 0.9 * (len(losses) - 1) or end > 0.9 * before:
        return None
    return Condition(
        "still improving",
        f"the {what} loss fell from {before:.3g} to {end:.3g} in the last quarter of the run, at a "
        f"learning rate that is {curves.rates[-1] / curves.rates.max():.0%} of its peak",
        "a run twice as long",
        {"train.duration": _twice(curves.config.train.duration)},
    )


def _still_falls(losses: np.ndarray, neutral: float) -> bool:
    """Whether the second half of some losses is lower than the first, by more than noise."""
    half = len(losses) // 2
    first, second = losses[:half].mean(), losses[half:].mean()
    return bool(first - second > _FLAT * second + 0.1 * _SMALL * neutral)


def _smaller_rate(
    curves: Curves, name: str, evidence: str, factor: float, where: tuple[float, ...] = ()
) -> Condition:
    settings = {"optimizer.learning_rate": _rounded(curves.config.optimizer.learning_rate / factor)}
    advice = f"a learning rate {factor:g} times smaller"
    if not curves.config.optimizer.clip_norm:
        settings["optimizer.clip_norm"] = 1.0
        advice += ", and clipping of the gradient"
    return Condition(name, evidence, advice, settings, where)


def _more_regularisation(curves: Curves) -> tuple[str, dict[str, Any]]:
    config = curves.config
    if not config.data.augment:
        augment = '[{"name": "pad_and_crop", "padding": 4}]'
        return "augmentation, of a kind that keeps the labels", {"data.augment": augment}
    if not config.loss.l2_regularization and not config.optimizer.get("weight_decay", 0.0):
        return "weight decay", {"loss.l2_regularization": 5e-4}
    return "early stopping, or stronger augmentation", {"early_stopping.patience": 5}


def _less_regularisation(curves: Curves) -> tuple[str, dict[str, Any]]:
    config = curves.config
    off = {
        f"model.{name}": 0.0
        for name, value in config.model.items()
        if name.endswith(("dropout_rate", "drop_path_rate")) and value
    }
    if config.data.mix:
        off["data.mix"] = "[]"
    for key, value in (
        ("loss.l2_regularization", config.loss.l2_regularization),
        ("optimizer.weight_decay", config.optimizer.get("weight_decay", 0.0)),
    ):
        if value > 1e-3:
            off[key] = _rounded(value / 10)
    if off:
        return "less regularisation, then a larger network", off
    return "a larger network (jaxcnn models lists them)", {}


def _rounded(value: float) -> float:
    return float(f"{value:.2g}")


def _twice(duration: str) -> str:
    parsed = Duration.parse(duration, "config.train.duration")
    return f"{float(2 * parsed.value):.15g} {parsed.unit}"
