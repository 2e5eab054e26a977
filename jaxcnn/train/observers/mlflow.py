"""An observer for MLflow."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from jaxcnn.errors import UserError
from jaxcnn.files import write_text
from jaxcnn.train.observers.base import Observer, Start

_ALLOW = "MLFLOW_ALLOW_FILE_STORE"


class MLflow(Observer):
    """Logs a run to MLflow: settings as parameters, lines as metrics.

    `tracking_uri` is the address of a server, a database or a directory; MLflow 3 allows a
    directory only with MLFLOW_ALLOW_FILE_STORE=true. The default is WORKDIR/mlruns. A resumed run
    keeps its MLflow run ID, which is stored in the workdir.
    """

    def __init__(self, experiment: str = "jaxcnn", tracking_uri: str = ""):
        try:
            from mlflow.tracking import MlflowClient
        except ImportError:
            raise UserError(
                "config.observers: 'mlflow' needs the package: pip install 'jaxcnn[mlflow]'"
            ) from None
        self._make_client, self._experiment, self._uri = MlflowClient, experiment, tracking_uri
        self._client = self._id = None

    def on_start(self, start: Start) -> None:
        if self._uri:
            self._client = self._make_client(tracking_uri=self._uri)
        else:
            with _directory_allowed():
                uri = (start.workdir / "mlruns").absolute().as_uri()
                self._client = self._make_client(tracking_uri=uri)
        id_file = start.workdir / "mlflow_run_id"
        if id_file.exists():
            self._id = id_file.read_text()
            self._client.update_run(self._id, status="RUNNING")
            return
        known = self._client.get_experiment_by_name(self._experiment)
        experiment = known.experiment_id if known else None
        experiment = experiment or self._client.create_experiment(self._experiment)
        run = self._client.create_run(experiment, run_name=start.workdir.name)
        self._id = run.info.run_id
        write_text(id_file, self._id)
        for key, value in flat_settings(start.config.to_dict()).items():
            self._client.log_param(self._id, key, value)

    def on_log(self, line: dict) -> None:
        self._log(line)

    def on_validation(self, line: dict) -> None:
        self._log(line)

    def on_monitor(self, line: dict, histograms: dict) -> None:
        del histograms  # MLflow has none
        self._log(line)

    def _log(self, line: dict) -> None:
        for key, value in line.items():
            if key not in ("step", "split", "best"):
                name = f"{line['split']}/{key}"
                self._client.log_metric(self._id, name, value, step=line["step"])

    def on_end(self, result: dict) -> None:
        self._client.set_tag(self._id, "jaxcnn.status", result["status"])
        status = "FAILED" if result["status"] == "diverged" else "FINISHED"
        self._client.set_terminated(self._id, status)
        self._id = None

    def close(self) -> None:
        if self._id is not None:
            self._client.set_terminated(self._id, "KILLED")
            self._id = None


@contextmanager
def _directory_allowed() -> Iterator[None]:
    """Lets MLflow 3 open a directory, which still suits a single run."""
    given = os.environ.get(_ALLOW)
    os.environ[_ALLOW] = given or "true"
    try:
        yield
    finally:
        if given is None:
            del os.environ[_ALLOW]


def flat_settings(settings: dict, prefix: str = "") -> dict:
    """Nested settings as {'optimizer.learning_rate': 0.1, …}, with lists as text."""
    flat = {}
    for key, value in settings.items():
        if isinstance(value, dict):
            flat |= flat_settings(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value if isinstance(value, bool | int | float) else str(value)
    return flat
