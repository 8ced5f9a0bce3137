"""The network with augmentation, loss and optimizer, and the session that fits it."""

import contextlib
import json
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from clouds import losses, metrics, schema
from clouds.config.training import Training
from clouds.data import pipeline
from clouds.data.images import preprocessing
from clouds.data.manifest import Manifest
from clouds.models import pretrained, resnet, unet
from clouds.runs import run_facts, run_folder
from clouds.runs.checkpoints import Progress
from clouds.runtime import interrupts
from clouds.training import augment, callbacks, optimizers, trackers
from clouds.training.distribution import Devices

CLASS_LOSS_WEIGHT = 0.1
"""Weight of the class head's loss, as in the competition's first place."""

_STOPPING = "Saving a checkpoint and stopping. Press Ctrl-C again to stop at once."


class Trainer(keras.Model):
    """A network with its augmentation inside the train step.

    One random draw moves images and masks, so both are inputs, and the moved masks are
    returned with the logits for the loss.
    """

    def __init__(self, network: keras.Model, augmentation, scaling: tuple, dtype=None):
        super().__init__(dtype=dtype)
        # float32 images must be scaled before they lose digits.
        self.autocast = False
        self.network = network
        self.augmentation = augmentation
        self.scaling = scaling

    def call(self, inputs, training=None):
        """(images [B,H,W,K], masks uint8[B,H,W,C]) -> (logits, moved masks).

        With a class head, the third is the logits of presence, float32[B, C].
        """
        images, masks = self.augmentation(inputs, training=training)
        prepared = preprocessing.prepare(images, *self.scaling)
        logits = self.network(prepared, training=training)
        logits, *presence = logits if isinstance(logits, list) else [logits]
        return logits, masks, *presence

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **options):
        """Returns the loss of the logits against the moved masks."""
        logits, masks, *presence = y_pred
        loss = super().compute_loss(x, masks, logits, sample_weight, **options)
        for each in presence:
            loss = loss + CLASS_LOSS_WEIGHT * losses.presence(masks, each)
        # Gradients are summed over replicas, and Keras does not scale a scalar loss.
        return loss / tf.distribute.get_strategy().num_replicas_in_sync

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """Returns the metrics of the logits against the moved masks."""
        logits, masks, *_ = y_pred
        return super().compute_metrics(x, masks, logits, sample_weight)


def build(settings: Training, *, steps: int = 1, fresh: bool = True) -> Trainer:
    """Builds and compiles the model to train.

    Args:
      settings: settings with size and precision resolved.
      steps: number of steps per epoch, for schedules.
      fresh: whether the training starts, and so needs the encoder's weights.

    Returns:
      The network with augmentation, loss, metrics and optimizer, all built.
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
        bands=settings.bands,
        seed=settings.seed,
    )
    network = unet.build(
        settings.size,
        len(settings.labels),
        class_head=settings.class_head,
        bands=len(settings.band_names),
        dtype=settings.precision,
    )
    if fresh:
        _load_encoder(network, settings.encoder_weights)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = settings.batch_norm_momentum
    trainer = Trainer(network, augmentation, settings.scaling, dtype=settings.precision)
    on_cpu = keras.backend.backend() == "tensorflow" and not (
        tf.config.list_physical_devices("GPU")
    )
    trainer.compile(
        optimizers.build(settings, steps),
        loss=getattr(losses, settings.loss),
        metrics=metrics.of_logits(settings.labels),
        # On CPUs, XLA does without oneDNN's convolutions.
        jit_compile=False if on_cpu else "auto",
    )
    # What a checkpoint restores must exist before the first step.
    trainer.optimizer.build(trainer.trainable_variables)
    masks = np.zeros((1, *settings.size, len(settings.labels)), "float32")
    trainer.compute_metrics(None, masks, (masks, masks))
    trainer.reset_metrics()
    return trainer


def fastest_precision() -> str:
    """Returns the fastest dtype policy that the first device of this machine supports.

    mixed_float16 on a GPU of compute capability 7 or more (Volta), mixed_bfloat16 on a
    TPU and on CPUs with AVX512-BF16 or AMX, else float32.
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


class Session:
    """Fits a trainer, epoch by epoch, from where its progress is.

    Args:
      trainer: the compiled model.
      settings: resolved settings.
      records: manifest of the records.
      steps: number of steps per epoch.
      progress: progress so far, which is updated.
      devices: devices of the training.
      folder: folder of the run on this host.
    """

    def __init__(
        self,
        trainer: Trainer,
        settings: Training,
        records: Manifest,
        steps: int,
        progress: Progress,
        devices: Devices,
        folder: Path,
    ):
        self.trainer = trainer
        self.settings = settings
        self.records = records
        self.steps = steps
        self.progress = progress
        self.devices = devices
        self.folder = folder

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or training stopped early."""
        return self.progress.stopped or self.progress.epoch >= self.settings.epochs

    def fit(self, arrays: list[np.ndarray] | None) -> None:
        """Trains until all epochs are done.

        Args:
          arrays: arrays of the checkpoint to resume from, if there is one.

        Raises:
          InputError: the loss or the weights are no longer finite.
        """
        settings, progress = self.settings, self.progress
        val_batches = pipeline.val_batches(
            settings.records, self.records, settings.batch_size, size=settings.size
        )
        examples = next(val_batches.take(1).as_numpy_iterator())
        val_batches = val_batches.map(self.devices.repeat).map(_with_targets)
        watch = callbacks.StopIfNotFinite(settings, self.records, progress)
        with (
            interrupts.requested(_STOPPING) as stop,
            trackers.watching(settings, self.folder) as tracking,
        ):
            checkpointing = callbacks.Checkpoints(
                settings.checkpoint_every, self.folder, progress, watch, arrays, stop
            )
            all_callbacks = callbacks.make(
                settings,
                self.folder,
                progress,
                examples,
                checkpointing,
                tracking,
                val_batches,
            )
            # The rest of an interrupted epoch is a `fit` of its own.
            while not self.finished:
                self._fit_once(val_batches, all_callbacks)

    def _fit_once(self, val_batches, all_callbacks) -> None:
        last_epoch = self._freeze_encoder()
        with self._train_batches() as train_batches:
            self.trainer.fit(
                train_batches,
                initial_epoch=self.progress.epoch,
                epochs=last_epoch,
                steps_per_epoch=self.steps - self.progress.step,
                validation_data=val_batches,
                callbacks=all_callbacks,
                shuffle=False,
                verbose=1 if sys.stdout.isatty() else 2,
            )

    def _freeze_encoder(self) -> int:
        """Freezes or unfreezes the encoder; returns until which epoch that is valid."""
        settings = self.settings
        if not settings.freeze_epochs:
            return settings.epochs
        frozen = self.progress.epoch < settings.freeze_epochs
        for layer in self.trainer.network.layers:
            if resnet.is_encoder_layer(layer.name):
                layer.trainable = not frozen
        # The step was traced for the weights that were trainable then.
        self.trainer.make_train_function(force=True)
        return (
            min(settings.freeze_epochs, settings.epochs) if frozen else settings.epochs
        )

    @contextlib.contextmanager
    def _train_batches(self):
        settings = self.settings
        with contextlib.ExitStack() as stack:
            cache = settings.cache
            if cache and cache != "memory":
                cache = stack.enter_context(tempfile.TemporaryDirectory(dir=cache))
            yield pipeline.train_batches(
                settings.records,
                self.records,
                settings.batch_size // settings.hosts,
                size=settings.size,
                seed=settings.seed,
                first=self.progress.epoch * self.steps + self.progress.step,
                cache=cache,
                host=settings.host_index,
                hosts=settings.hosts,
            ).map(_with_targets)


def _with_targets(images, masks):
    return (images, masks), masks


def _load_encoder(network: keras.Model, source: str) -> None:
    if source == "none":
        return
    if Path(source).is_dir():
        source = Path(source, run_folder.WEIGHTS)
    if Path(source).name == run_folder.WEIGHTS and Path(source).is_file():
        run_facts.check_file(Path(source), "Copy the run again, or train it again.")
    print(f"Encoder weights: {pretrained.load(network, source)}", flush=True)
