"""Learning-rate schedules by name: step → a factor of the peak learning rate, in [0, 1]."""

import optax

from jaxcnn.registry import Registry

# `steps` is what the warm-up leaves of the run; no config sets it.
SCHEDULES = Registry("schedule", not_settings=("steps",))


def constant(steps: int) -> optax.Schedule:
    """1 throughout."""
    del steps
    return optax.constant_schedule(1.0)


def cosine(steps: int, final: float = 0.0) -> optax.Schedule:
    """From 1 to `final` along half a cosine: f + (1 − f)·½(1 + cos(πt/T)); Loshchilov & Hutter 2017."""
    return optax.cosine_decay_schedule(1.0, decay_steps=steps, alpha=final)


SCHEDULES.register("constant", constant)
SCHEDULES.register("cosine", cosine)


def create_schedule(settings: dict, run_steps: int, warmup_steps: int) -> optax.Schedule:
    """Builds the schedule that a config's `schedule` section describes, after a linear warm-up.

    Args:
      settings: the resolved section: `name`, `warmup` and the schedule's own settings.
      run_steps: length of the whole run, in steps.
      warmup_steps: the factor rises linearly from 1/(warmup_steps + 1) at step 0 to 1 at step
        `warmup_steps`, where the schedule proper begins; less than `run_steps`.
    """
    settings = {k: v for k, v in settings.items() if k != "warmup"}
    body = SCHEDULES.create(settings.pop("name"), run_steps - warmup_steps, **settings)
    if warmup_steps == 0:
        return body
    warmup = optax.linear_schedule(1 / (warmup_steps + 1), 1.0, warmup_steps)
    return optax.join_schedules([warmup, body], [warmup_steps])
