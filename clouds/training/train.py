"""Trains the network on records, with the notebook's settings as defaults."""

import dataclasses
import math
import sys
from pathlib import Path

import keras
import tensorflow as tf

from clouds.config.checks import transposed
from clouds.config.training import Training
from clouds.data import manifest, pipeline
from clouds.data.manifest import Manifest
from clouds.data.statistics import measure
from clouds.errors import InputError
from clouds.evaluation import held_out, results
from clouds.evaluation.tuning import tune
from clouds.runs import checkpoints, run_folder
from clouds.runs.checkpoints import Progress
from clouds.runtime import files, startup
from clouds.schema import Bands
from clouds.text import counted
from clouds.training import distribution, trackers, trainer
from clouds.training.distribution import Devices
from clouds.training.trainer import Session

_STOPPED = (
    "More --epochs change nothing. To train longer, give a higher --stop-patience, and "
    "another --run or --overwrite."
)


def train(settings: Training) -> None:
    """Trains a run, or resumes it; all results are in its folder.

    Args:
      settings: settings of the training.

    Raises:
      InputError: records or folder do not fit the settings, or the loss is no longer
        finite.
    """
    startup.thaw_kernels()
    if settings.deterministic:
        _make_deterministic()
    trackers.check(settings.track)
    devices = distribution.start(settings)
    with devices.together(), devices.folder(settings.run) as folder:
        _train(settings, devices, folder)
    # An existing rule was tuned for these weights: better weights remove it.
    if settings.tune and devices.host == 0 and run_folder.rule(settings.run) is None:
        # Only training shares a batch between devices.
        keras.distribution.set_distribution(None)
        tune.tune(held_out.load([settings.run], settings.records), Path(settings.run))


def _train(settings: Training, devices: Devices, folder: Path) -> None:
    settings = dataclasses.replace(
        settings, host_index=devices.host, hosts=devices.hosts
    )
    records = manifest.read(settings.records, fold=settings.fold)
    settings = _resolve(settings, records)
    steps = pipeline.steps(settings.records, records, settings.batch_size)
    facts = run_folder.facts(settings, records)
    run_folder.check(settings, facts)
    progress, arrays = _checkpoint(settings)
    devices.agree(settings, progress.epoch, progress.step)
    if progress.stopped or progress.epoch >= settings.epochs:
        more = _STOPPED if progress.stopped else "Give more --epochs to train on."
        print(f"Already finished, {_position(progress)}. {more}")
    else:
        keras.utils.set_random_seed(settings.seed)
        with devices.scope():
            model = trainer.build(settings, steps=steps, fresh=arrays is None)
        folder.mkdir(parents=True, exist_ok=True)
        session = Session(model, settings, records, steps, progress, devices, folder)
        with (
            pipeline.naming_damaged_shards(settings.records, records),
            files.sole_writer(str(folder), "--run"),
        ):
            _check_free_space(model, folder)
            run_folder.create(
                dataclasses.replace(settings, run=str(folder)),
                facts,
                (*results.FILES, *tune.FILES),
            )
            _announce(session)
            _fit(session, arrays)
    run_folder.add_results(folder, progress)
    print(f"Best weights and history are in {settings.run}")


def _checkpoint(settings: Training) -> tuple[Progress, list | None]:
    folder = Path(settings.run)
    if settings.overwrite:
        return Progress(), None
    stored = checkpoints.load(folder)
    # Without weights, nothing is lost if the training starts over.
    if not stored and (folder / run_folder.WEIGHTS).exists():
        raise run_folder.no_checkpoint(folder)
    return stored or (Progress(), None)


def _fit(session: Session, arrays: list | None) -> None:
    settings = session.settings
    try:
        session.fit(arrays)
    except tf.errors.ResourceExhaustedError as error:
        if files.is_full(error):
            raise
        raise InputError(
            f"The device has too little memory for --batch-size {settings.batch_size} "
            f"at {settings.size[0]}x{settings.size[1]} in {settings.precision}. Give a "
            "smaller --batch-size, with --accumulate for as many images per update, or "
            "a smaller --size, and --overwrite."
        ) from error
    except KeyboardInterrupt:
        # Below the bar, which ends without a line break.
        start = "\n" if sys.stdout.isatty() else ""
        print(
            f"{start}Stopped {_position(session.progress)}. To resume: bin/train --run "
            f"{settings.run}",
            flush=True,
        )
        raise


def _check_free_space(model: keras.Model, folder: Path) -> None:
    """Checks that the weights and checkpoints fit that exist at the same time."""
    weights = 4 * model.network.count_params()
    state = sum(4 * math.prod(v.shape) for v in checkpoints.variables(model))
    replaced = [folder / run_folder.WEIGHTS, *checkpoints.paths(folder)]
    existing = sum(path.stat().st_size for path in replaced if path.exists())
    needed = 2 * weights + (checkpoints.KEPT + 1) * state - existing
    files.check_free_space(folder, needed, "Weights and checkpoints")


def _make_deterministic() -> None:
    tf.config.experimental.enable_op_determinism()
    try:
        # AddN sums in an order that depends on which of its inputs are ready. With one
        # thread they are ready in a fixed order.
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        raise InputError(
            "--deterministic must be set before TensorFlow starts, and this process "
            "has used it. Train in a new process."
        ) from error


def _position(progress: Progress) -> str:
    step = f" and {counted(progress.step, 'step')}" if progress.step else ""
    early = ", early, since val_loss stopped improving" if progress.stopped else ""
    return f"after {counted(progress.epoch, 'epoch')}{step}{early}"


def _announce(session: Session) -> None:
    lines, network = [], session.trainer.network
    network.summary(print_fn=lines.append)
    files.write(session.folder / "summary.txt", "\n".join(lines) + "\n")
    settings, records = session.settings, session.records
    print(
        f"Training on {counted(records.examples('train'), 'image')} of "
        f"{settings.size[0]}x{settings.size[1]}, validating on "
        f"{records.examples('val'):,}; {network.count_params():,} parameters, "
        f"{settings.precision}; {counted(session.steps, 'step')} per epoch."
    )
    if session.progress.epoch or session.progress.step:
        print(f"Resuming {_position(session.progress)}.")
    if (session.folder / run_folder.RULE).exists() and not settings.tune:
        print(
            "The run's rule was tuned for its present weights: better weights remove "
            "it, and bin/evaluate --tune makes a new one."
        )
    sys.stdout.flush()


def _resolve(settings: Training, records: Manifest) -> Training:
    size = settings.size or records.size
    if size[0] > records.size[0] or size[1] > records.size[1]:
        raise InputError(
            f"--size must not exceed the size of the records. Received: {size[0]}x"
            f"{size[1]}, with records of {records.size[0]}x{records.size[1]} in "
            f"{settings.records}. Make larger records, or train smaller."
        )
    if warning := transposed(size, records.size, "the records"):
        print(f"train: warning: {warning}", file=sys.stderr)
    if settings.freeze_epochs and keras.backend.backend() == "jax":
        raise InputError(
            "--freeze-epochs must be 0 on JAX, where Keras's optimizers update all "
            f"weights or none. Received: {settings.freeze_epochs}. Leave it out, or "
            "train on TensorFlow."
        )
    precision = settings.precision
    if precision == "auto":
        precision = trainer.fastest_precision()
    _check_bands(settings, records.bands, precision)
    statistics = settings.band_means, settings.band_deviations
    if settings.preprocess == "statistics" and None in statistics:
        statistics = measure(settings.records, records)
    return dataclasses.replace(
        settings,
        size=size,
        precision=precision,
        band_names=records.bands.names,
        dtype=records.bands.dtype,
        band_means=statistics[0],
        band_deviations=statistics[1],
        decode=records.decode,
        records_size=records.size,
        labels=records.labels,
        grid=records.truth_size,
    )


def _check_bands(settings: Training, bands: Bands, precision: str) -> None:
    shown = settings.show_bands
    if shown and (len(shown) not in (1, 3) or not set(shown) <= set(bands.names)):
        raise InputError(
            f"--show-bands must be one or three of {', '.join(bands.names)}. Received: "
            f"{', '.join(shown)}."
        )
    scaling = settings.preprocess
    advice = "Give --preprocess statistics."
    if scaling == "unit" and bands.dtype == "float32":
        raise InputError(
            "--preprocess unit needs images of 8 or 16 bits, whose highest value is "
            f"known. Received: records of {bands}. {advice}"
        )
    if (scaling, precision) == ("raw", "mixed_float16") and bands.dtype != "uint8":
        raise InputError(
            "--preprocess raw cannot be combined with mixed_float16, which holds "
            f"numbers up to 65504. Received: records of {bands}. {advice}"
        )
