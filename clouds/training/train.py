"""Trains the network on records, with the notebook's recipe as the default."""

import contextlib
import dataclasses
import json
import math
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from clouds import losses, metrics, schema
from clouds.config.checks import transposed
from clouds.config.training import Training
from clouds.data import manifest, pipeline, preprocessing
from clouds.errors import InputError
from clouds.evaluation import held_out
from clouds.evaluation.tuning import tune
from clouds.models import pretrained, resnet, unet
from clouds.runs import checkpoints, run_folder
from clouds.runtime import files, interrupts, startup
from clouds.text import counted
from clouds.training import augment, callbacks, distribution, optimizers, trackers


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
        prepared = preprocessing.prepare(images, self.preprocess)
        return self.network(prepared, training=training), masks

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, **options):
        """The loss of the logits against the moved masks."""
        logits, masks = y_pred
        loss = super().compute_loss(x, masks, logits, sample_weight, **options)
        # Gradients are added up over the replicas; of what is one number already,
        # Keras does not take a replica's share.
        return loss / tf.distribute.get_strategy().num_replicas_in_sync

    def compute_metrics(self, x, y, y_pred, sample_weight=None):
        """The metrics of the logits against the moved masks."""
        logits, masks = y_pred
        return super().compute_metrics(x, masks, logits, sample_weight)


def train(settings: Training) -> None:
    """Trains, or goes on with a run, and leaves all that came of it in its folder.

    Args:
      settings: what to train on, and how.

    Raises:
      InputError: records or folder do not fit the settings, or the loss is no
        longer finite.
    """
    startup.thaw_kernels()
    if settings.deterministic:
        _be_deterministic()
    trackers.check(settings.track)
    on = distribution.start(settings)
    with on.together(), on.folder(settings.run) as folder:
        _train(settings, on, folder)
    # A rule that is there was tuned for these weights: better ones remove it.
    if settings.tune and on.host == 0 and run_folder.rule(settings.run) is None:
        # What a batch is shared among is for training.
        keras.distribution.set_distribution(None)
        tune.tune(held_out.load([settings.run], settings.records), Path(settings.run))


def _train(settings: Training, on: distribution.Devices, folder: Path) -> None:
    settings = dataclasses.replace(settings, host_index=on.host, hosts=on.hosts)
    records = manifest.read(settings.records, fold=settings.fold)
    settings = _resolve(settings, records)
    steps = pipeline.steps(settings.records, records, settings.batch_size)
    facts = run_folder.facts(settings, records)
    run_folder.check(settings, facts)
    found = None if settings.overwrite else checkpoints.load(Path(settings.run))
    if not (found or settings.overwrite) and checkpoints.paths(Path(settings.run)):
        raise run_folder.no_checkpoint(Path(settings.run))
    progress, arrays = found or (checkpoints.Progress(), None)
    on.agree(settings, progress.epoch, progress.step)
    if _finished(progress, settings):
        more = "" if progress.stopped else " More --epochs go on from there."
        print(f"Finished before, {_place(progress)}.{more}")
    else:
        keras.utils.set_random_seed(settings.seed)
        with on.scope():
            trainer = build(settings, steps=steps, fresh=arrays is None)
        folder.mkdir(parents=True, exist_ok=True)
        with (
            pipeline.naming_damaged_shards(settings.records, records),
            files.sole_writer(str(folder), "--run"),
        ):
            _check_room(trainer, folder)
            run_folder.create(dataclasses.replace(settings, run=str(folder)), facts)
            _announce(trainer.network, settings, records, steps, progress, folder)
            _fit(trainer, settings, records, steps, progress, arrays, on, folder)
    run_folder.add_results(folder, progress)
    print(f"Best weights and history are in {settings.run}")


def _check_room(trainer: Trainer, folder: Path) -> None:
    """Checks that all weights and checkpoints fit that lie there at one time."""
    weights_size = 4 * trainer.network.count_params()
    state = sum(4 * math.prod(v.shape) for v in checkpoints.variables(trainer))
    replaced = [folder / run_folder.WEIGHTS, *checkpoints.paths(folder)]
    there = sum(path.stat().st_size for path in replaced if path.exists())
    needed = 2 * weights_size + (checkpoints.KEPT + 1) * state - there
    files.check_free_space(folder, needed, "Weights and checkpoints")


def _fit(trainer, settings, records, steps, progress, arrays, on, folder) -> None:
    val_batches = pipeline.val_batches(
        settings.records, records, settings.batch_size, size=settings.size
    )
    examples = next(val_batches.take(1).as_numpy_iterator())
    watch = callbacks.Watch(settings, records, progress)
    try:
        with (
            interrupts.requested(
                "Saving a checkpoint and stopping. Press Ctrl-C again to stop at once."
            ) as asked,
            trackers.watching(settings, folder) as tracking,
        ):
            checkpointing = callbacks.Checkpoints(
                settings.checkpoint_every, folder, progress, watch, arrays, asked
            )
            made = callbacks.make(
                settings, folder, progress, examples, checkpointing, tracking
            )
            # An epoch that was broken off has a `fit` of its own.
            while not _finished(progress, settings):
                until = _freeze(trainer, settings, progress.epoch)
                first = progress.epoch * steps + progress.step
                with _train_batches(settings, records, first) as train_batches:
                    trainer.fit(
                        train_batches,
                        initial_epoch=progress.epoch,
                        epochs=until,
                        steps_per_epoch=steps - progress.step,
                        validation_data=val_batches.map(on.repeat).map(_with_targets),
                        callbacks=made,
                        shuffle=False,
                        verbose=1 if sys.stdout.isatty() else 2,
                    )
    except tf.errors.ResourceExhaustedError as error:
        if files.is_full(error):
            raise
        raise InputError(
            "A step must fit into the device's memory. Received: --batch-size "
            f"{settings.batch_size} of {settings.size[0]}x{settings.size[1]} in "
            f"{settings.precision}, which do not. Give a smaller --batch-size, with "
            "--accumulate for as many images an update, or a smaller --size, and "
            "--overwrite."
        ) from error
    except KeyboardInterrupt:
        more = f"To go on: bin/train --run {settings.run}"
        # Below the bar, which is left within its line.
        start = "\n" if sys.stdout.isatty() else ""
        print(f"{start}Stopped {_place(progress)}. {more}", flush=True)
        raise


def _freeze(trainer: Trainer, settings: Training, epoch: int) -> int:
    """Stops or frees the encoder as the epoch wants; until which epoch that holds."""
    frozen = epoch < settings.freeze_epochs
    if settings.freeze_epochs:
        for layer in trainer.network.layers:
            if resnet.is_encoder_layer(layer.name):
                layer.trainable = not frozen
        # The step was traced for the weights that moved then.
        trainer.make_train_function(force=True)
    return min(settings.freeze_epochs, settings.epochs) if frozen else settings.epochs


def _be_deterministic() -> None:
    tf.config.experimental.enable_op_determinism()
    try:
        # AddN adds up in an order that depends on which of its inputs other ops are
        # done with. One at a time, they are done in one order.
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        raise InputError(
            "--deterministic must be set before TensorFlow has started. Received: a "
            "process that has used it. Train in a new one."
        ) from error


def _finished(progress, settings: Training) -> bool:
    return progress.stopped or progress.epoch >= settings.epochs


def _place(progress) -> str:
    step = f" and {counted(progress.step, 'step')}" if progress.step else ""
    early = ", early, for want of a better val_loss" if progress.stopped else ""
    return f"after {counted(progress.epoch, 'epoch')}{step}{early}"


def _announce(network, settings, records, steps, progress, folder: Path) -> None:
    lines = []
    network.summary(print_fn=lines.append)
    files.write(folder / "summary.txt", "\n".join(lines) + "\n")
    print(
        f"Training on {counted(records.examples('train'), 'image')} of "
        f"{settings.size[0]}x{settings.size[1]}, validating on "
        f"{records.examples('val'):,}; {network.count_params():,} parameters, "
        f"{settings.precision}; {counted(steps, 'step')} an epoch."
    )
    if progress.epoch or progress.step:
        print(f"Goes on {_place(progress)}.")
    if (folder / run_folder.RULE).exists() and not settings.tune:
        print(
            "Its rule was tuned for the weights that it has: better ones remove it, "
            "and bin/evaluate --tune makes another."
        )
    sys.stdout.flush()


def _resolve(settings: Training, records) -> Training:
    size = settings.size or records.size
    if size[0] > records.size[0] or size[1] > records.size[1]:
        raise InputError(
            "--size must not exceed the records'. Received: "
            f"{size[0]}x{size[1]}, with records of {records.size[0]}x"
            f"{records.size[1]} in {settings.records}. Make larger records, or "
            "train smaller."
        )
    if warning := transposed(size, records.size, "the records"):
        print(f"train: warning: {warning}", file=sys.stderr)
    if settings.freeze_epochs and keras.backend.backend() == "jax":
        raise InputError(
            "--freeze-epochs must be 0 on JAX, where Keras's optimizers move all "
            f"weights or none. Received: {settings.freeze_epochs}. Leave it out, or "
            "train on TensorFlow."
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


@contextlib.contextmanager
def _train_batches(settings: Training, records, first: int):
    with contextlib.ExitStack() as stack:
        cache = settings.cache
        if cache and cache != "memory":
            cache = stack.enter_context(tempfile.TemporaryDirectory(dir=cache))
        yield pipeline.train_batches(
            settings.records,
            records,
            settings.batch_size // settings.hosts,
            size=settings.size,
            seed=settings.seed,
            first=first,
            cache=cache,
            host=settings.host_index,
            hosts=settings.hosts,
        ).map(_with_targets)


def _with_targets(images, masks):
    return (images, masks), masks


def build(settings: Training, *, steps: int = 1, fresh: bool = True) -> Trainer:
    """Builds and compiles what is trained.

    Args:
      settings: with size and precision chosen.
      steps: an epoch; a schedule needs it.
      fresh: whether it begins, and so needs the encoder's weights.

    Returns:
      The network with its augmentation, loss, metrics and optimizer, all built.
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
    if fresh:
        _load_weights(network, settings.encoder_weights)
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
        optimizers.build(settings, steps),
        loss=getattr(losses, settings.loss),
        metrics=metrics.of_logits(),
        # On CPUs XLA forgoes oneDNN's convolutions.
        jit_compile=False if on_cpu else "auto",
    )
    # What a checkpoint restores must be there before the first step.
    trainer.optimizer.build(trainer.trainable_variables)
    masks = np.zeros((1, *settings.size, len(schema.LABELS)), "float32")
    trainer.compute_metrics(None, masks, (masks, masks))
    trainer.reset_metrics()
    return trainer


def _load_weights(network: keras.Model, source: str) -> None:
    if source == "none":
        return
    if Path(source).is_dir():
        source = Path(source, run_folder.WEIGHTS)
    print(f"Encoder weights: {pretrained.load(network, source)}", flush=True)
