"""What steers a training beside its steps: checkpoints, when to stop, how to go on.

The callbacks share `checkpoints.Progress` and bring it forward.
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


def make(
    settings: Training,
    folder: Path,
    progress: Progress,
    examples: tuple[np.ndarray, np.ndarray],
    checkpointing: "Checkpoints",
    trackers: Iterable[keras.callbacks.Callback] = (),
) -> list[keras.callbacks.Callback]:
    """Lists the callbacks of one call of `fit`, in the order that they need.

    Args:
      settings: of the training.
      folder: of the run.
      progress: so far; the callbacks bring it forward.
      examples: images uint8[B, H, W, 3] and masks uint8[B, H, W, C] of the
        validation split, for the panel.
      checkpointing: the one that saves.
      trackers: those of an experiment tracker.

    Returns:
      Callbacks.
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
    return [
        checkpointing.watch,
        *averaged,
        loggers.Speed(settings.batch_size),
        SaveBest(folder, progress, averaged),
        *by_loss,
        Replay(settings, progress, by_loss),
        loggers.KeepHistory(folder, progress),
        loggers.Panel(folder, *examples, averaged),
        loggers.Board(folder),
        *trackers,
        loggers.Bar(settings.batch_size, checkpointing.watch.records.examples("val")),
        checkpointing,
    ]


class Watch(keras.callbacks.Callback):
    """Stops at the first loss that is not finite.

    Args:
      settings: of the training.
      records: the manifest of what it trains on.
      progress: of the training.
    """

    # Keras need not wait for the figures of each step.
    async_safe = True

    def __init__(self, settings: Training, records: Manifest, progress: Progress):
        super().__init__()
        self.settings = settings
        self.records = records
        self.progress = progress

    def on_train_begin(self, logs=None):
        """Counts on from the steps that were done before."""
        self.done = self.progress.step

    def on_epoch_begin(self, epoch, logs=None):
        """Has seen nothing yet."""
        self.epoch, self.found = epoch, {}

    def on_train_batch_end(self, batch, logs=None):
        """Notes a loss, a mean over the epoch so far, that is not finite."""
        if not math.isfinite(logs["loss"]):
            self.found[batch] = f"a loss of {logs['loss']}"

    def on_train_batch_begin(self, batch, logs=None):
        """Stops if one was noted."""
        if self.found:
            self.stop(*min(dict(self.found).items()))

    def on_epoch_end(self, epoch, logs=None):
        """Stops if one was noted, or if validation was not finite."""
        self.on_train_batch_begin(0)
        if not math.isfinite(logs["val_loss"]):
            self._stop(f"a val_loss of {logs['val_loss']} after epoch {epoch + 1}")

    def stop(self, batch: int, what: str) -> NoReturn:
        """Raises the error of a batch."""
        settings, step = self.settings, self.done + batch
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
        self._stop(f"{what} after {place}, on {', '.join(names)}")

    def _stop(self, received: str) -> NoReturn:
        good = checkpoints.paths(Path(self.settings.run))
        raise InputError(
            f"Training must stay finite. Received: {received}. The last good "
            f"checkpoint is {good[0] if good else 'none'}; the same command goes on "
            "from there. If it ends here again, train anew with a lower "
            "--learning-rate or --precision float32, and look at those images."
        )


class SaveBest(keras.callbacks.Callback):
    """Keeps the weights of the epoch with the least `val_loss`.

    Args:
      folder: of the run.
      progress: of the training.
      averaged: of `optimizers.averages`.
    """

    def __init__(self, folder: Path, progress: Progress, averaged: list):
        super().__init__()
        self.folder = folder
        self.averaged = averaged
        self.best = min((row["val_loss"] for row in progress.history), default=math.inf)

    def on_epoch_end(self, epoch, logs=None):
        """Writes them if they are."""
        if logs["val_loss"] < self.best:
            self.best = logs["val_loss"]
            with optimizers.averages(self.averaged):
                run_folder.save_weights(self.model.network, self.folder)


class Replay(keras.callbacks.Callback):
    """Shows callbacks the epochs before this `fit`, at whose begin they forget all.

    Args:
      settings: of the training.
      progress: so far.
      shown: the callbacks.
    """

    def __init__(self, settings: Training, progress: Progress, shown: list):
        super().__init__()
        self.settings = settings
        self.progress = progress
        self.shown = shown

    def on_train_begin(self, logs=None):
        """Replays the history; the learning rate comes out as it was."""
        if self.settings.schedule == "plateau":
            self.model.optimizer.learning_rate = self.settings.learning_rate
        for callback in self.shown:
            verbose, callback.verbose = callback.verbose, 0
            for row in self.progress.history:
                callback.on_epoch_end(int(row["epoch"]), dict(row))
            callback.verbose = verbose


class Checkpoints(keras.callbacks.Callback):
    """Saves every few steps, at each epoch's end, and when it is asked to stop.

    Args:
      every: how many steps.
      folder: of the run.
      progress: of the training.
      watch: what stops a training that is not finite, so that none is saved.
      arrays: of the checkpoint to begin with, if there is one.
      asked: set where the training should save and stop.
    """

    def __init__(self, every, folder, progress, watch, arrays, asked):
        super().__init__()
        self.every = every
        self.folder = folder
        self.progress = progress
        self.watch = watch
        self.arrays = arrays
        self.asked = asked

    def on_train_begin(self, logs=None):
        """Counts on from the steps that were done before."""
        self.done = self.progress.step
        self.clock = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        """Restores; not before, as `fit` has only now reset the metrics."""
        if self.arrays is None:
            return
        checkpoints.restore(self.model, self.arrays, self.folder)
        if not self.progress.step:
            self.model.reset_metrics()
        self.arrays = None

    def on_train_batch_begin(self, batch, logs=None):
        """Saves what the steps before this one made, if it is time."""
        asked = self.asked.is_set()
        if asked or (batch and (self.done + batch) % self.every == 0):
            self.progress.step = self.done + batch
            self._save(batch)
        if asked:
            raise KeyboardInterrupt

    def on_epoch_end(self, epoch, logs=None):
        """Saves; an epoch begun before this `fit` ends it."""
        self.progress.epoch, self.progress.step = epoch + 1, 0
        self.progress.stopped = self.model.stop_training
        self._save(self.params["steps"])
        if self.done:
            self.model.stop_training = True

    def _save(self, batch: int):
        now = time.monotonic()
        self.progress.seconds += now - self.clock
        self.clock = now
        arrays = checkpoints.values(self.model)
        if not all(np.isfinite(array).all() for array in arrays):
            self.watch.stop(batch - 1, "weights that are not finite")
        checkpoints.save(self.folder, self.progress, arrays)
