"""Trains the network on records, with the notebook's recipe as the default."""

import contextlib
import dataclasses
import datetime
import json
import sys
import tempfile
from pathlib import Path

import keras
import pandas as pd
import tensorflow as tf

from clouds import (
    augment,
    config,
    data,
    losses,
    manifest,
    metrics,
    pixels,
    plots,
    run,
    schema,
    unet,
)
from clouds.errors import InputError


class Trainer(keras.Model):
    """A network with its augmentation, inside the train step.

    One draw must move images and masks, so both are inputs, and the moved masks
    come out beside the logits for the loss to compare.
    """

    def __init__(self, network: keras.Model, augmentation, preprocess: str, dtype=None):
        super().__init__(dtype=dtype)
        self.network = network
        self.augmentation = augmentation
        self.preprocess = preprocess

    def call(self, inputs, training=None):
        """(images uint8[B,H,W,3], masks uint8[B,H,W,C]) -> (logits, moved masks)."""
        images, masks = self.augmentation(inputs, training=training)
        prepared = pixels.prepare(images, self.preprocess)
        return self.network(prepared, training=training), masks

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **options):
        """The loss of the logits against the moved masks."""
        logits, masks = y_pred
        return super().compute_loss(x, masks, logits, sample_weight, **options)

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """The metrics of the logits against the moved masks."""
        logits, masks = y_pred
        return super().compute_metrics(x, masks, logits, sample_weight)


def train(settings: config.Training) -> None:
    """Trains, and leaves weights, history and settings in the run's folder.

    Args:
      settings: what to train on, and how.

    Raises:
      InputError: records or folder do not fit the settings.
    """
    records = manifest.read(settings.records, fold=settings.fold)
    settings = _resolve(settings, records)
    with contextlib.ExitStack() as stack:
        stack.enter_context(data.damage_named(settings.records, records))
        batches = _batches(settings, records, stack)
        keras.utils.set_random_seed(settings.seed)
        trainer = build(settings)
        _fit(trainer, settings, records, run.create(settings), *batches)


def _fit(trainer, settings, records, folder, train_batches, val_batches) -> None:
    summary = []
    trainer.network.summary(print_fn=summary.append)
    (folder / "summary.txt").write_text("\n".join(summary) + "\n")
    steps = records.examples("train") // settings.batch_size
    print(
        f"Training on {records.examples('train')} images of "
        f"{settings.size[0]}x{settings.size[1]}, validating on "
        f"{records.examples('val')}; {trainer.network.count_params():,} parameters, "
        f"{settings.precision}; {steps} steps an epoch.",
        flush=True,
    )
    started = datetime.datetime.now(datetime.UTC)
    history = trainer.fit(
        train_batches,
        epochs=settings.epochs,
        steps_per_epoch=steps,
        validation_data=val_batches,
        callbacks=_callbacks(settings, trainer.network, folder),
        shuffle=False,
        verbose=1 if sys.stdout.isatty() else 2,
    ).history
    _write_facts(folder, history, records, started)
    print(f"Best weights and history are in {folder}")


def _resolve(settings: config.Training, records) -> config.Training:
    size = settings.size or records.size
    if size[0] > records.size[0] or size[1] > records.size[1]:
        raise InputError(
            "--size must not exceed the records'. Received: "
            f"{size[0]}x{size[1]}, with records of {records.size[0]}x"
            f"{records.size[1]} in {settings.records}. Make larger records, or "
            "train smaller."
        )
    precision = settings.precision
    if precision == "auto":
        precision = fastest_precision()
    return dataclasses.replace(
        settings, size=size, precision=precision, decode=records.decode
    )


def fastest_precision() -> str:
    """The policy in which this machine's first device computes fastest.

    Returns:
      mixed_float16 on a GPU of compute capability 7 or more (Volta),
      mixed_bfloat16 on a TPU and on CPUs with AVX512-BF16 or AMX, else float32.
    """
    if keras.backend.backend() == "jax":
        import jax

        if jax.devices()[0].platform == "tpu":
            return "mixed_bfloat16"
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        modern = details.get("compute_capability", (0, 0)) >= (7, 0)
        return "mixed_float16" if modern else "float32"
    cpu = Path("/proc/cpuinfo")
    flags = cpu.read_text().split() if cpu.exists() else []
    return "mixed_bfloat16" if {"avx512_bf16", "amx_bf16"} & set(flags) else "float32"


def _batches(settings: config.Training, records, stack: contextlib.ExitStack):
    def with_targets(images, masks):
        return (images, masks), masks

    options = {"size": settings.size}
    source = (settings.records, records, settings.batch_size)
    cache = settings.cache
    if cache and cache != "memory":
        cache = stack.enter_context(tempfile.TemporaryDirectory(dir=cache))
    train_batches = data.train_batches(
        *source, seed=settings.seed, cache=cache, **options
    )
    val_batches = data.val_batches(*source, **options)
    return train_batches.map(with_targets), val_batches.map(with_targets)


def build(settings: config.Training) -> Trainer:
    """Builds and compiles what is trained.

    Args:
      settings: with size and precision chosen.

    Returns:
      The network with its augmentation, loss, metrics and optimizer.
    """
    scale = min(settings.size) / min(schema.NETWORK_SIZE)
    augmentation = augment.build(
        horizontal_flip=settings.horizontal_flip,
        vertical_flip=settings.vertical_flip,
        grid_distortion=settings.grid_distortion,
        elastic=settings.elastic,
        elastic_sigma=50 * scale,
        elastic_affine=50 * scale,
        extra=json.loads(settings.augmentation),
        seed=settings.seed,
    )
    network = unet.build(settings.size, dtype=settings.precision)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = settings.batch_norm_momentum
    trainer = Trainer(
        network,
        augmentation,
        settings.preprocess,
        dtype=settings.precision,
    )
    on_cpu = keras.backend.backend() == "tensorflow" and not (
        tf.config.list_physical_devices("GPU")
    )
    trainer.compile(
        keras.optimizers.Adam(settings.learning_rate),
        loss=losses.bce_dice,
        metrics=metrics.of_logits(),
        # On CPUs XLA forgoes oneDNN's convolutions.
        jit_compile=False if on_cpu else "auto",
    )
    return trainer


def _callbacks(settings: config.Training, network: keras.Model, folder: Path):
    return [
        _SaveBest(network, folder),
        keras.callbacks.EarlyStopping(
            monitor="val_loss",
            mode="min",
            patience=settings.stop_patience,
            restore_best_weights=True,
            verbose=1,
        ),
        keras.callbacks.ReduceLROnPlateau(
            monitor="val_loss",
            mode="min",
            patience=settings.plateau_patience,
            factor=settings.plateau_factor,
            min_lr=settings.min_learning_rate,
            verbose=1,
        ),
        _KeepHistory(folder),
    ]


class _SaveBest(keras.callbacks.Callback):
    def __init__(self, network: keras.Model, folder: Path):
        super().__init__()
        self.network = network
        self.folder = folder
        self.best = float("inf")

    def on_epoch_end(self, epoch, logs=None):
        if logs["val_loss"] < self.best:
            self.best = logs["val_loss"]
            run.save_weights(self.network, self.folder)


class _KeepHistory(keras.callbacks.Callback):
    """Writes the epochs so far as csv and as a picture, after each one."""

    def __init__(self, folder: Path):
        super().__init__()
        self.folder = folder
        self.epochs = []

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append({"epoch": epoch, **logs})
        table = pd.DataFrame(self.epochs)
        part = self.folder / "part.history.csv"
        table.to_csv(part, index=False)
        part.replace(self.folder / "history.csv")
        plots.history(table, self.folder / "history.png")


def _write_facts(folder: Path, history: dict, records, started) -> None:
    ended = datetime.datetime.now(datetime.UTC)
    epochs = len(history["loss"])
    best = min(range(epochs), key=history["val_loss"].__getitem__)
    facts = {
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((ended - started).total_seconds(), 1),
        "epochs": epochs,
        "best_epoch": best + 1,
        "best": {name: values[best] for name, values in history.items()},
        "records": records.source,
        "backend": keras.backend.backend(),
        "devices": [device.name for device in tf.config.list_logical_devices()],
        "versions": run.versions(),
    }
    run.write_json(folder / run.FACTS, facts)
