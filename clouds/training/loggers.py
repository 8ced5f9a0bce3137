"""Callbacks that log a training: csv, figures, TensorBoard, terminal.

The metrics of all epochs are in `checkpoints.Progress`.
"""

import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from clouds import metrics
from clouds.plots.false_colour import to_rgb
from clouds.plots.overlays import draw_overlays
from clouds.plots.training import draw_history
from clouds.runs import run_facts
from clouds.runs.checkpoints import Progress
from clouds.runtime import progress
from clouds.schema import CLOUDS, RGB, Bands
from clouds.training import optimizers

PANEL = "validation.png"
_PREDICTED = "predicted, above 0.5,\nnot post-processed"
BOARD = "tensorboard"
_SHOWN = 4


class Speed(keras.callbacks.Callback):
    """Adds `images_per_second`, without the first step, and `learning_rate`.

    Args:
      batch_size: number of images per step.
    """

    def __init__(self, batch_size: int):
        super().__init__()
        self.batch_size = batch_size

    def on_train_batch_begin(self, batch, logs=None):
        """Starts the clock after the first step, which may compile."""
        if batch <= 1:
            self.batch, self.started = batch, time.monotonic()

    def on_test_begin(self, logs=None):
        """Stops the clock before validation."""
        images = (self.params["steps"] - self.batch) * self.batch_size
        self.rate = images / (time.monotonic() - self.started)

    def on_epoch_end(self, epoch, logs=None):
        """Adds the metrics for the next callbacks."""
        logs["images_per_second"] = round(self.rate, 2)
        rate = self.model.optimizer.learning_rate
        logs["learning_rate"] = float(keras.ops.convert_to_numpy(rate))


class KeepHistory(keras.callbacks.Callback):
    """Writes the history as csv and as a figure after each epoch.

    Args:
      folder: folder of the run.
      progress: progress of the training, whose history is extended.
      labels: names of the labels.
    """

    def __init__(
        self, folder: Path, progress: Progress, labels: Sequence[str] = CLOUDS.labels
    ):
        super().__init__()
        self.labels = labels
        self.folder = folder
        self.progress = progress

    def on_epoch_end(self, epoch, logs=None):
        """Adds the epoch."""
        self.progress.history.append({"epoch": epoch, **logs})
        table = pd.DataFrame(self.progress.history)
        with run_facts.replacing(self.folder / "history.csv") as part:
            table.to_csv(part, index=False)
        draw_history(table, self.folder / "history.png", self.labels)


class Panel(keras.callbacks.Callback):
    """Draws a few validation images after each epoch, true and predicted masks.

    Args:
      folder: folder of the run.
      images: [B, H, W, K] of the run's bands.
      masks: uint8[B, H, W, C].
      averaged: callbacks for `optimizers.averaged_weights`.
      labels: names of the labels.
      bands: bands of the images.
      shown: bands to show, as for `false_colour.to_rgb`.
    """

    def __init__(
        self,
        folder: Path,
        images: np.ndarray,
        masks: np.ndarray,
        averaged: list,
        labels: Sequence[str] = CLOUDS.labels,
        bands: Bands = RGB,
        shown: Sequence[str] | None = None,
    ):
        super().__init__()
        self.labels = labels
        self.path = folder / PANEL
        self.images, self.masks = images[:_SHOWN], masks[:_SHOWN]
        self.pictures = [to_rgb(image, bands, shown) for image in self.images]
        self.averaged = averaged

    def on_epoch_end(self, epoch, logs=None):
        """Predicts and draws."""
        with optimizers.averaged_weights(self.averaged):
            logits, *_ = self.model((self.images, self.masks), training=False)
        predicted = keras.ops.convert_to_numpy(logits) > 0
        # Logits above 0 are probabilities above 0.5.
        rows = {"truth": self.masks > 0, _PREDICTED: predicted}
        draw_overlays(
            self.pictures * len(rows),
            [mask for masks in rows.values() for mask in masks],
            self.path,
            self.labels,
            titles=[title for title, masks in rows.items() for _ in masks],
        )


class Board(keras.callbacks.Callback):
    """Writes metrics and the panel of each epoch for TensorBoard.

    Args:
      folder: folder of the run.
    """

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.writers = {
            split: tf.summary.create_file_writer(str(folder / BOARD / split))
            for split in ("train", "validation")
        }

    def on_epoch_end(self, epoch, logs=None):
        """Writes them, with the same names for both splits."""
        for name, value in logs.items():
            split = "validation" if name.startswith("val_") else "train"
            with self.writers[split].as_default(epoch):
                tf.summary.scalar(name.removeprefix("val_"), value)
        panel = tf.io.decode_png(tf.io.read_file(str(self.folder / PANEL)), 3)
        with self.writers["validation"].as_default(epoch):
            tf.summary.image("panel", panel[None])
        for writer in self.writers.values():
            writer.flush()


class Bar(keras.callbacks.ProgbarLogger):
    """Keras's progress bar, without the metrics per label.

    Where Keras shows no bar, lines are logged (`clouds.runtime.progress`).

    Args:
      batch_size: number of images per step.
      validation: number of images in the validation split.
      labels: names of the labels.
    """

    async_safe = True

    def __init__(
        self, batch_size: int, validation: int, labels: Sequence[str] = CLOUDS.labels
    ):
        super().__init__()
        self.of_labels = tuple(map(metrics.of_label, labels))
        self.batch_size = batch_size
        self.validation = validation

    def on_epoch_begin(self, epoch, logs=None):
        """Starts a bar."""
        super().on_epoch_begin(epoch, logs)
        self.name = f"epoch {epoch + 1}/{self.epochs}"
        self._start_lines(self.name, self.target * self.batch_size)

    def on_train_batch_end(self, batch, logs=None):
        """Shows a step."""
        super().on_train_batch_end(batch, self._without_labels(logs))
        self.lines.set_postfix_str(f"loss {logs['loss']:.4f}", refresh=False)
        self._update(batch)

    def on_test_begin(self, logs=None):
        """Starts the lines of the validation."""
        self.lines.close()
        self._start_lines(f"{self.name}, validation", self.validation)

    def on_test_batch_end(self, batch, logs=None):
        """Shows a step of the validation."""
        self._update(batch)

    def on_epoch_end(self, epoch, logs=None):
        """Shows an epoch."""
        self.lines.close()
        super().on_epoch_end(epoch, self._without_labels(logs))

    def _start_lines(self, what: str, images: int):
        self.lines = progress.lines(
            desc=what, unit="image", total=images, disable=self.verbose == 1
        )

    def _update(self, batch: int):
        # Keras may report steps in another order.
        done = min((batch + 1) * self.batch_size, self.lines.total)
        self.lines.update(done - self.lines.n)

    def _without_labels(self, logs: dict) -> dict:
        return {
            name: logs[name]
            for name in logs
            if name.removeprefix("val_") not in self.of_labels
        }
