"""What a training run would need, from its compiled step; nothing is trained or written."""

from dataclasses import dataclass

import jax
from ml_collections import ConfigDict

from jaxcnn.data.dataset import Dataset, load_dataset
from jaxcnn.diagnose.programs import Needs
from jaxcnn.diagnose.tpus import Topology
from jaxcnn.errors import UserError
from jaxcnn.layout import Layout, abstract
from jaxcnn.train.engine import engine_for
from jaxcnn.train.experiment import Experiment, check_trainable, create_feed, resolve
from jaxcnn.train.state import abstract_state
from jaxcnn.train.step import make_train_step


@dataclass(frozen=True)
class Bound:
    """How fast a chip could take a step at its published speeds; an estimate, not a measurement.

    Attributes:
      compute: seconds for the program's FLOP.
      memory: seconds for its bytes, as if all of them went to and from HBM.
    """

    compute: float
    memory: float

    @property
    def by(self) -> str:
        """What takes longer: 'compute' or 'memory bandwidth'."""
        return "compute" if self.compute > self.memory else "memory bandwidth"

    @property
    def seconds(self) -> float:
        return max(self.compute, self.memory)


@dataclass(frozen=True)
class DryRun:
    """What a run would be, and what its step needs on each device."""

    model: str
    dtype: str
    parameters: int
    steps: int
    warmup: int
    batch_size: int
    devices: int
    device_kind: str
    needs: Needs
    topology: Topology | None = None

    @property
    def bound(self) -> Bound | None:
        """For a TPU that is compiled for."""
        if self.topology is None:
            return None
        chip = self.topology.chip
        return Bound(self.needs.flop / chip.flops, self.needs.bytes_accessed / chip.bandwidth)

    def table(self) -> str:
        """The same as text, a line for each number."""
        needs, share = self.needs, self.batch_size // self.devices
        slices = f" ({self.topology.name})" if self.topology else ""
        lines = [
            ("model", f"{self.model}, {self.dtype}"),
            ("parameters", f"{self.parameters:,}"),
            ("steps", f"{self.steps:,}, of which {self.warmup:,} of warm-up"),
            ("devices", f"{self.devices} × {self.device_kind}{slices}"),
            ("examples per step", f"{self.batch_size:,}, {share:,} per device"),
            ("per device and step", ""),
            ("  arithmetic", _amount(needs.flop, "FLOP")),
            ("  bytes accessed", _amount(needs.bytes_accessed)),
            ("  arguments", _amount(needs.arguments)),
            ("  outputs", f"{_amount(needs.outputs)}, mostly in the arguments' place"),
            ("  temporaries", _amount(needs.temporaries)),
            ("  peak, by XLA", _amount(needs.peak)),
        ]
        for kind, traffic in needs.collectives.items():
            lines.append((f"  {kind}", f"{traffic.count:,}, of {_amount(traffic.bytes)} in all"))
        if not needs.collectives:
            lines.append(("  collectives", "none"))
        lines += self._of_chip()
        return "\n".join(f"{name:<22}{value}".rstrip() for name, value in lines)

    def _of_chip(self) -> list[tuple[str, str]]:
        """The lines on a TPU that is compiled for."""
        if not (bound := self.bound):
            return []
        chip, most = self.topology.chip, self.batch_size / bound.seconds
        times = [f"{1e3 * seconds:.3g} ms" for seconds in (bound.compute, bound.memory)]
        speeds = _amount(chip.flops, "FLOP/s"), _amount(chip.bandwidth, "B/s")
        return [
            (
                f"on a {self.topology.kind} chip",
                "from published speeds: a bound, not a measurement",
            ),
            ("  memory", f"{_amount(self.needs.total)} of {_amount(chip.memory)}: it fits"),
            ("  for the arithmetic", f"{times[0]} at {speeds[0]} (bfloat16)"),
            ("  for the bytes", f"{times[1]} at {speeds[1]}"),
            ("  bound by", f"{bound.by}: at most {most:,.0f} examples/s on all chips"),
        ]

    def to_json(self) -> dict:
        """All of it in JSON types; bytes, FLOP and seconds are per device and step."""
        described = {
            "model": self.model,
            "dtype": self.dtype,
            "parameters": self.parameters,
            "steps": self.steps,
            "warmup_steps": self.warmup,
            "examples_per_step": self.batch_size,
            "examples_per_device": self.batch_size // self.devices,
            "devices": self.devices,
            "device_kind": self.device_kind,
            "per_device": self.needs.to_json(),
        }
        if bound := self.bound:
            described["topology"] = self.topology.name
            described["memory_of_chip"] = self.topology.chip.memory
            described["bound_not_measured"] = {
                "by": bound.by,
                "seconds": bound.seconds,
                "compute_seconds": bound.compute,
                "memory_seconds": bound.memory,
            }
        return described


def dry_run(
    config: ConfigDict, dataset: Dataset | None = None, topology: Topology | None = None
) -> DryRun:
    """Compiles the step that `train` would, for the devices here or for TPUs that are not.

    Args:
      config: as `train` takes it.
      dataset: data in memory, instead of the data that `config.data` names.
      topology: the TPUs to compile for.

    Raises:
      UserError: the config does not fit the data or the devices, or the step their memory.
    """
    config = resolve(config)
    if config.transfer.mode == "linear_probe":
        raise UserError(
            "config.transfer.mode='linear_probe' trains the head alone, on features; a dry run takes "
            "the step of a whole network"
        )
    devices = topology.devices() if topology else jax.devices()
    layout = Layout.over(devices, config.sharding)
    dataset = dataset or load_dataset(config.data.to_dict())
    spec = dataset.spec
    experiment = Experiment.of(config, spec, layout)
    check_trainable(config, experiment, spec, layout)
    model, recipe = experiment.model, experiment.recipe
    state = abstract_state(model, recipe, spec.image_shape, layout)
    feed = create_feed(config, dataset, experiment, layout)
    lowered = engine_for(feed).lowered(
        make_train_step(model), state, abstract(recipe, layout.numbers), feed
    )
    return DryRun(
        model=config.model.name,
        dtype=model.dtype,
        parameters=state.count_parameters(),
        steps=experiment.length.steps,
        warmup=experiment.length.warmup,
        batch_size=config.train.global_batch_size,
        devices=layout.replicas,
        device_kind=layout.mesh.devices.flat[0].device_kind,
        needs=Needs.of(_compiled(lowered, experiment, config.train.global_batch_size)),
        topology=topology,
    )


def _amount(count: float, unit: str = "B") -> str:
    """A number in the unit's thousands, millions, …, to four digits."""
    for prefix in ("", "k", "M", "G"):
        if count < 999.95:
            return f"{count:.4g} {prefix}{unit}"
        count /= 1e3
    return f"{count:,.4g} T{unit}"


def _compiled(
    lowered: jax.stages.Lowered, experiment: Experiment, batch_size: int
) -> jax.stages.Compiled:
    try:
        return lowered.compile(experiment.compiler_options)
    except jax.errors.JaxRuntimeError as error:
        code, _, reason = str(error).partition(": ")
        if code != "RESOURCE_EXHAUSTED":
            raise
        raise UserError(
            f"config.train.global_batch_size={batch_size} does not fit these devices: "
            f"{reason.splitlines()[0]} valid: a smaller batch, more devices or "
            "config.train.microbatches"
        ) from error
