"""An observer for Weights & Biases."""

import logging
import uuid
from typing import Annotated

from jaxcnn.errors import UserError
from jaxcnn.files import write_text
from jaxcnn.limits import one_of
from jaxcnn.train.observers.base import Observer, Start

log = logging.getLogger(__name__)

Mode = Annotated[str, one_of(("online", "offline"))]


class WeightsAndBiases(Observer):
    """Logs a run to Weights & Biases (wandb), or locally for `wandb sync` with mode='offline'.

    A resumed run keeps its wandb run ID. Files, including that ID, are in WORKDIR/wandb.
    """

    def __init__(self, project: str = "jaxcnn", mode: Mode = "online"):
        try:
            import wandb
        except ImportError:
            raise UserError(
                "config.observers: 'wandb' needs the package: pip install 'jaxcnn[wandb]'"
            ) from None
        self._wandb, self._project, self._mode, self._run = wandb, project, mode, None

    def on_start(self, start: Start) -> None:
        id_file = start.workdir / "wandb" / "id"
        id_file.parent.mkdir(exist_ok=True)
        if not id_file.exists():
            write_text(id_file, uuid.uuid4().hex[:12])
        self._run = self._wandb.init(
            project=self._project,
            name=start.workdir.name,
            id=id_file.read_text(),
            resume="allow",
            dir=str(start.workdir),
            mode=self._mode,
            config=start.config.to_dict(),
            settings=self._wandb.Settings(console="off"),
        )

    def on_log(self, line: dict) -> None:
        self._log(line)

    def on_validation(self, line: dict) -> None:
        self._log(line)

    def on_monitor(self, line: dict, histograms: dict) -> None:
        del histograms  # TensorBoard has them
        self._log(line)

    def on_rollback(self, line: dict) -> None:
        log.warning("Weights & Biases takes no line up to step %d again", line["diverged_at"])

    def _log(self, line: dict) -> None:
        split = line["split"]
        values = {f"{split}/{key}": value for key, value in line.items() if key != "split"}
        self._run.log({**values, "step": line["step"]}, step=line["step"])

    def on_end(self, result: dict) -> None:
        for which in ("best", "final"):
            for split, values in (result[which] or {}).items():
                if isinstance(values, dict):
                    for key, value in values.items():
                        self._run.summary[f"{which}/{split}/{key}"] = value
        self._run.summary["status"] = result["status"]

    def close(self) -> None:
        if self._run is not None:
            self._run.finish()
            self._run = None
