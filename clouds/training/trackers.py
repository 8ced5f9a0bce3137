"""Experiment trackers (MLflow, W&B), through their own Keras callbacks.

They are optional: their packages come with the extras of the same names. They are
configured by their own environment variables, such as MLFLOW_TRACKING_URI,
WANDB_PROJECT and WANDB_MODE=offline.
"""

import contextlib
import dataclasses
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import keras

from clouds.config.training import Training
from clouds.errors import InputError
from clouds.runs import run_folder
from clouds.runtime import checksums

PROJECT = "clouds"
"""Default project of the runs."""


def check(track: str) -> None:
    """Checks that the package of a tracker is installed.

    Args:
      track: tracker of the settings.

    Raises:
      InputError: it is not installed.
    """
    if track == "none":
        return
    # A folder of that name, which trackers create, is a package without origin.
    spec = importlib.util.find_spec(track)
    if spec is None or spec.origin is None:
        raise InputError(
            f"{track} is not installed, which --track {track} needs. Run bin/setup "
            f"{track}, or pip install {track}."
        )


@contextlib.contextmanager
def watching(
    settings: Training, folder: Path
) -> Iterator[list[keras.callbacks.Callback]]:
    """Opens the tracker's run, a new one or the one to resume.

    Args:
      settings: settings of the training.
      folder: folder of the run, where the tracker's name of the run is stored.

    Yields:
      A list with the tracker's callback, or an empty list without a tracker.

    Raises:
      InputError: the tracker does not start.
    """
    # One host reports for all.
    if settings.track == "none" or settings.host_index:
        yield []
        return
    path = folder / run_folder.TRACKERS
    names = _stored_names(path)
    start = {"mlflow": _mlflow, "wandb": _wandb}[settings.track]
    name, callback, end = start(settings, folder, names.get(settings.track))
    checksums.write_json(path, {**names, settings.track: name})
    try:
        yield [callback]
    except BaseException:
        end(False)
        raise
    end(True)


def _stored_names(path: Path) -> dict:
    try:
        return checksums.read_json(path) if path.is_file() else {}
    except ValueError as error:
        raise InputError(
            f"{path} is damaged ({error}). Remove it to start a new run in the tracker."
        ) from error


def _mlflow(settings: Training, folder: Path, name: str | None):
    import mlflow
    import mlflow.keras

    class Watcher(mlflow.keras.MlflowCallback):
        """MLflow's callback, without what it would repeat in each `fit`."""

        def on_train_begin(self, logs=None):
            """Logs the settings, once."""
            if not mlflow.get_run(opened.info.run_id).data.params:
                mlflow.log_params(dataclasses.asdict(settings))
                super().on_train_begin(logs)

        def on_test_end(self, logs=None):
            """Does nothing: the metrics of the epoch include the validation."""

    try:
        if name is None and not os.environ.get("MLFLOW_EXPERIMENT_NAME"):
            mlflow.set_experiment(PROJECT)
        opened = mlflow.start_run(name, run_name=None if name else folder.name)
    except mlflow.MlflowException as error:
        raise _failed(settings, "MLFLOW_TRACKING_URI sets the server", error) from error

    def end(finished: bool) -> None:
        mlflow.end_run("FINISHED" if finished else "FAILED")

    return opened.info.run_id, Watcher(), end


def _wandb(settings: Training, folder: Path, name: str | None):
    import wandb
    from wandb.integration.keras import WandbMetricsLogger

    try:
        opened = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=folder.name,
            dir=os.environ.get("WANDB_DIR", folder),
            config=dataclasses.asdict(settings),
            id=name,
            resume="allow",
        )
    except wandb.Error as error:
        raise _failed(settings, "WANDB_MODE=offline needs no account", error) from error

    # As a context manager, W&B would print the traceback of any exception.
    def end(finished: bool) -> None:
        opened.finish(exit_code=0 if finished else 1)

    return opened.id, WandbMetricsLogger(), end


def _failed(settings: Training, hint: str, error: Exception) -> InputError:
    return InputError(
        f"--track {settings.track}: the tracker did not start ({error}). {hint}; "
        f"remove {settings.run}/{run_folder.TRACKERS} to start a new run there."
    )
