"""Callbacks that control a training: checkpoints, stopping, resuming.

The callbacks share and update `checkpoints.Progress`.
"""

import math
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import keras
import numpy as np

from clouds.config.training import Training
from clouds.data import pipeline
from clouds.data.manifest import Manifest
from clouds.errors import InputError
from clouds.runs import checkpoints, run_folder
from clouds.runs.checkpoints import Progress
from clouds.training import loggers, optimizers
from clouds.training.averaging import AverageEpochs


def make(
    settings: Training,
    folder: Path,
    progress: Progress,
    examples: tuple[np.ndarray, np.ndarray],
    checkpointing: "Checkpoints",
    trackers: Iterable[keras.callbacks.Callback] = (),
    val_batches: Iterable = (),
) -> list[keras.callbacks.Callback]:
    """Returns the callbacks of `fit`, in the required order.

    Args:
      settings: settings of the training.
      folder: folder of the run.
      progress: progress so far, which the callbacks update.
      examples: images [B, H, W, K] and masks uint8[B, H, W, C] of the validation
        split, for the panel.
      checkpointing: callback that saves checkpoints.
      trackers: callbacks of an experiment tracker.
      val_batches: batches of the validation split, for `AverageEpochs`.
    """
    stopping = keras.callbacks.EarlyStopping(
        monitor="val_loss", mode="min", patience=settings.stop_patience, verbose=1
    )
    plateau = keras.callbacks.ReduceLROnPlateau(
        monitor="val_loss",
        mode="min",
        patience=settings.plateau_patience,
        factor=settings.plateau_factor,
        min_lr=settings.min_learning_rate,
        verbose=1,
    )
    averaged = [keras.callbacks.SwapEMAWeights()] if settings.ema_momentum else []
    by_loss = [stopping, plateau] if settings.schedule == "plateau" else [stopping]
    save_best = SaveBest(folder, progress, averaged)
    means = []
    if settings.average_epochs:
        numbers = settings.epochs, settings.average_epochs
        means = [AverageEpochs(*numbers, folder, save_best, val_batches, averaged)]
    return [
        checkpointing.watch,
        *averaged,
        loggers.Speed(settings.batch_size),
        save_best,
        *by_loss,
        Replay(settings, progress, by_loss),
        loggers.KeepHistory(folder, progress, settings.labels),
        loggers.Panel(
            folder,
            *examples,
            averaged,
            settings.labels,
            settings.bands,
            settings.show_bands,
        ),
        loggers.Board(folder),
        *trackers,
        *means,
        loggers.Bar(
            settings.batch_size,
            checkpointing.watch.records.examples("val"),
            settings.labels,
        ),
        checkpointing,
    ]


class StopIfNotFinite(keras.callbacks.Callback):
    """Ends the training with an error if the loss is not finite.

    Args:
      settings: settings of the training.
      records: manifest of the records.
      progress: progress of the training.
    """

    # Keras need not wait for the metrics of each step.
    async_safe = True

    def __init__(self, settings: Training, records: Manifest, progress: Progress):
        super().__init__()
        self.settings = settings
        self.records = records
        self.progress = progress

    def on_train_begin(self, logs=None):
        """Starts counting at the steps that are finished."""
        self.finished_steps = self.progress.step

    def on_epoch_begin(self, epoch, logs=None):
        """Forgets the previous epoch."""
        self.epoch, self.failures = epoch, {}

    def on_train_batch_end(self, batch, logs=None):
        """Notes a loss, averaged over the epoch so far, that is not finite."""
        if not math.isfinite(logs["loss"]):
            self.failures[batch] = f"The loss became {logs['loss']}"

    def on_train_batch_begin(self, batch, logs=None):
        """Stops if a failure was noted."""
        if self.failures:
            self.stop(*min(dict(self.failures).items()))

    def on_epoch_end(self, epoch, logs=None):
        """Stops if a failure was noted, or if the validation loss is not finite."""
        self.on_train_batch_begin(0)
        if not math.isfinite(logs["val_loss"]):
            self._stop(f"val_loss became {logs['val_loss']} after epoch {epoch + 1}")

    def stop(self, batch: int, what: str) -> NoReturn:
        """Raises the error for a batch."""
        settings, step = self.settings, self.finished_steps + batch
        source = (settings.records, self.records, settings.batch_size // settings.hosts)
        names = pipeline.train_names(
            *source,
            self.epoch * pipeline.steps(*source, hosts=settings.hosts) + step,
            seed=settings.seed,
            cache=settings.cache,
            host=settings.host_index,
            hosts=settings.hosts,
        )
        place = f"step {step + 1} of epoch {self.epoch + 1}"
        self._stop(f"{what} at {place} (images {', '.join(names)})")

    def _stop(self, what: str) -> NoReturn:
        good = checkpoints.paths(Path(self.settings.run))
        last = f"The last good checkpoint is {good[0]}. " if good else ""
        raise InputError(
            f"{what}. {last}Run the same command again to resume. If it fails here "
            "again, check these images, and train from the start with a lower "
            "--learning-rate or --precision float32."
        )


class SaveBest(keras.callbacks.Callback):
    """Saves the weights of the epoch with the lowest `val_loss`.

    Args:
      folder: folder of the run.
      progress: progress of the training.
      averaged: callbacks for `optimizers.averaged_weights`.
    """

    def __init__(self, folder: Path, progress: Progress, averaged: list):
        super().__init__()
        self.folder = folder
        self.averaged = averaged
        self.best = min((row["val_loss"] for row in progress.history), default=math.inf)

    def on_epoch_end(self, epoch, logs=None):
        """Saves the weights if the epoch is the best."""
        if logs["val_loss"] < self.best:
            self.best = logs["val_loss"]
            with optimizers.averaged_weights(self.averaged):
                run_folder.save_weights(self.model.network, self.folder)


class Replay(keras.callbacks.Callback):
    """Replays past epochs, because Keras callbacks reset when `fit` starts.

    Args:
      settings: settings of the training.
      progress: progress so far.
      replayed: callbacks that need the past epochs.
    """

    def __init__(self, settings: Training, progress: Progress, replayed: list):
        super().__init__()
        self.settings = settings
        self.progress = progress
        self.replayed = replayed

    def on_train_begin(self, logs=None):
        """Replays the history, which also restores the learning rate."""
        if self.settings.schedule == "plateau":
            self.model.optimizer.learning_rate = self.settings.learning_rate
        for callback in self.replayed:
            verbose, callback.verbose = callback.verbose, 0
            for row in self.progress.history:
                callback.on_epoch_end(int(row["epoch"]), dict(row))
            callback.verbose = verbose


class Checkpoints(keras.callbacks.Callback):
    """Saves checkpoints at the start, every few steps, after each epoch, at the end.

    Args:
      every: number of steps between checkpoints.
      folder: folder of the run.
      progress: progress of the training.
      watch: callback that stops a training that is not finite.
      arrays: arrays of the checkpoint to resume from, if there is one.
      stop: event that is set when the training should save and stop.
    """

    def __init__(self, every, folder, progress, watch, arrays, stop):
        super().__init__()
        self.every = every
        self.folder = folder
        self.progress = progress
        self.watch = watch
        self.arrays = arrays
        self.stop_requested = stop

    def on_train_begin(self, logs=None):
        """Starts counting at the steps that are finished."""
        self.finished_steps = self.progress.step
        self.clock = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        """Restores the checkpoint, after `fit` has reset the metrics, or saves a first.

        With a checkpoint from before the first step, a training that is killed after
        its first weights can resume.
        """
        if self.arrays is None:
            if not epoch and not self.progress.step:
                self._save(0)
            return
        checkpoints.restore(self.model, self.arrays, self.folder)
        if not self.progress.step:
            self.model.reset_metrics()
        self.arrays = None

    def on_train_batch_begin(self, batch, logs=None):
        """Saves the state after the previous step, if it is time or on request."""
        stop, step = self.stop_requested.is_set(), self.finished_steps + batch
        if stop or (batch and step % self.every == 0):
            self.progress.step = step
            self._save(batch)
        if stop:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        """Saves; an epoch that started before this `fit` ends it."""
        self.progress.epoch, self.progress.step = epoch + 1, 0
        self.progress.stopped = self.model.stop_training
        self._save(self.params["steps"])
        if self.finished_steps:
            self.model.stop_training = True

    def _save(self, batch: int):
        now = time.monotonic()
        self.progress.seconds += now - self.clock
        self.clock = now
        arrays = checkpoints.values(self.model)
        if not all(np.isfinite(array).all() for array in arrays):
            self.watch.stop(batch - 1, "Weights became infinite or NaN")
        checkpoints.save(self.folder, self.progress, arrays)
