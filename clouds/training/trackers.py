"""Experiment trackers that watch a training, through the Keras callbacks they bring.

None is needed: their packages come with the extras of their names. Where a tracker
writes to, and as whom, its own environment variables say, such as
MLFLOW_TRACKING_URI, WANDB_PROJECT and WANDB_MODE=offline.
"""

import contextlib
import dataclasses
import importlib.util
import json
import os
from collections.abc import Iterator
from pathlib import Path

import keras

from clouds.config.training import Training
from clouds.errors import InputError
from clouds.runs import run_folder
from clouds.runtime import files

PROJECT = "clouds"
"""What runs are filed under where no variable says otherwise."""


def check(track: str) -> None:
    """Checks that a tracker is there, without starting it.

    Args:
      track: of `Training`.

    Raises:
      InputError: its package is not.
    """
    if track == "none":
        return
    # A folder of that name, which trackers leave behind, is found without an origin.
    found = importlib.util.find_spec(track)
    if found is None or found.origin is None:
        raise InputError(
            f"--track {track} must find the package {track}. Received: an environment "
            f"without it. Run bin/setup {track}, or pip install {track}."
        )


@contextlib.contextmanager
def watching(
    settings: Training, folder: Path
) -> Iterator[list[keras.callbacks.Callback]]:
    """Opens the tracker's run of a training: a new one, or the one that goes on.

    Args:
      settings: of the training, the tracker among them.
      folder: of the run, where the tracker's name for it is kept.

    Yields:
      Its callback, if there is a tracker.

    Raises:
      InputError: the tracker does not start.
    """
    # Of several hosts one tells of them all.
    if settings.track == "none" or settings.host_index:
        yield []
        return
    path = folder / run_folder.TRACKERS
    known = json.loads(path.read_text()) if path.is_file() else {}
    start = {"mlflow": _mlflow, "wandb": _wandb}[settings.track]
    name, callback, end = start(settings, folder, known.get(settings.track))
    files.write_json(path, {**known, settings.track: name})
    try:
        yield [callback]
    except BaseException:
        end(False)
        raise
    end(True)


def _mlflow(settings: Training, folder: Path, name: str | None):
    import mlflow
    import mlflow.keras

    class Watcher(mlflow.keras.MlflowCallback):
        """MLflow's, without what it would say again in each `fit`."""

        def on_train_begin(self, logs=None):
            """Tells the settings, if they are not told yet."""
            if not mlflow.get_run(opened.info.run_id).data.params:
                mlflow.log_params(dataclasses.asdict(settings))
                super().on_train_begin(logs)

        def on_test_end(self, logs=None):
            """Leaves validation to the epoch's figures, which have it."""

    try:
        if name is None and not os.environ.get("MLFLOW_EXPERIMENT_NAME"):
            mlflow.set_experiment(PROJECT)
        opened = mlflow.start_run(name, run_name=None if name else folder.name)
    except mlflow.MlflowException as error:
        raise _failed(settings, "MLFLOW_TRACKING_URI says where to", error) from error

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

    # As a context W&B would print the traceback of what is raised within.
    def end(finished: bool) -> None:
        opened.finish(exit_code=0 if finished else 1)

    return opened.id, WandbMetricsLogger(), end


def _failed(settings: Training, hint: str, error: Exception) -> InputError:
    return InputError(
        f"--track {settings.track} must reach its store, and there the run that goes "
        f"on. Received: {error}. {hint}; without {settings.run}/{run_folder.TRACKERS} a new "
        "one begins."
    )
