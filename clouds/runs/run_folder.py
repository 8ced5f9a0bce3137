"""A run's folder: what it was trained with, its best weights, its network.

`config.json` the settings; `run.json` where and of what it was trained, and what
came of it; `best.weights.h5` the weights of the best epoch; `history.csv` and
`history.png` the figures of each epoch; `validation.png` a few validation images,
true and predicted, after the last one; `tensorboard/` all of these for TensorBoard;
`checkpoints/` what a training goes on from; `summary.txt` the layers;
`trackers.json` what experiment trackers call it, `wandb/` their files;
`postprocess.json` the rule that was tuned for these weights, by which predictions are
drawn; `tuning.…` and `metrics.…` what came of tuning and evaluating (`clouds.evaluation.tuning.tune`,
`clouds.evaluation.summary`).
"""

import dataclasses
import datetime
import json
import platform
import shutil
import statistics
from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf

from clouds import __version__
from clouds.config import resolve
from clouds.config.rule import Rule
from clouds.config.training import Training
from clouds.data import manifest, preprocessing
from clouds.data.manifest import Manifest
from clouds.errors import InputError
from clouds.models import unet
from clouds.runs import checkpoints
from clouds.runs.checkpoints import Progress
from clouds.runtime import files

CONFIG = resolve.FILE
FACTS = "run.json"
RULE = "postprocess.json"
TRACKERS = "trackers.json"
WEIGHTS = "best.weights.h5"

_OF_TRAINING = (CONFIG, FACTS, WEIGHTS, "history.csv", "history.png")
_OF_TRAINING += ("validation.png", "summary.txt", checkpoints.FOLDER, "tensorboard")
_OF_TRAINING += (RULE, TRACKERS, "wandb", "tuning.json", "tuning.png")
_OF_TRAINING += ("metrics.json", "metrics.txt", "metrics.csv", "metrics_images.csv")
_OF_TRAINING += ("metrics.png", "report.html")
# PNGs may be there before: bin/describe draws one.
_FOREIGN = (manifest.FILE, ".tfrecord", ".jpg", ".jpeg")
_MAY_DIFFER = {"records", "run", "epochs", "cache", "checkpoint_every"}
_MAY_DIFFER |= {"deterministic", "overwrite", "tune"}
_MAY_DIFFER |= {"devices", "hosts", "host_index", "coordinator", "track"}


def facts(settings: Training, records: Manifest) -> dict:
    """What is known of a training before it begins.

    Args:
      settings: with every choice made.
      records: the manifest of what it trains on.

    Returns:
      For `check` and `create`.
    """
    checksum = files.checksum(f"{settings.records}/{manifest.FILE}")
    return {
        "started": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "records": {
            "folder": settings.records,
            "sha256": checksum,
            "source": records.source,
        },
        "seed": settings.seed,
        "precision": settings.precision,
        "backend": keras.backend.backend(),
        "devices": _devices(),
        "versions": versions(),
    }


def check(settings: Training, facts: dict) -> None:
    """Checks that a run can begin in its folder, or go on.

    Args:
      settings: with every choice made (size, precision).
      facts: with the checksum of the records.

    Raises:
      InputError: the folder holds a run of other settings or records, a finished
        one without its checkpoints, or no run, but records or JPEGs.
    """
    folder = Path(settings.run)
    _refuse_foreign(folder)
    own = None if settings.overwrite else resolve.of_run(settings.run)
    trained = (folder / WEIGHTS).exists()
    if own is None or not (trained or checkpoints.paths(folder)):
        return
    known = read_facts(folder)
    there, here = dataclasses.asdict(own), dataclasses.asdict(settings)
    differing = [
        f"--{name.replace('_', '-')} {_shown(there[name])} there, {_shown(here[name])}"
        for name in here
        if name not in _MAY_DIFFER and there[name] != here[name]
    ]
    records = known.get("records", facts["records"])
    if records["sha256"] != facts["records"]["sha256"]:
        differing.append(f"records {records.get('folder')} there, {settings.records}")
    if differing:
        raise InputError(
            "--run must be a new folder, or a run of the same settings. Received: "
            f"'{settings.run}', with {'; '.join(differing)} here. Leave these flags "
            "out to go on with it, or give another folder, or --overwrite."
        )
    if trained and not checkpoints.paths(folder):
        raise no_checkpoint(folder)


def _refuse_foreign(folder: Path) -> None:
    if not folder.is_dir() or (folder / CONFIG).is_file():
        return
    names = [path.name for path in folder.iterdir()]
    if held := [name for name in names if name.lower().endswith(_FOREIGN)]:
        raise InputError(
            f"--run must be a new folder, or a run. Received: '{folder}', which holds "
            f"{min(held)} and no {CONFIG}. Give another folder, or a new one within it."
        )


def no_checkpoint(folder: Path) -> InputError:
    """The error for a run that was trained and has no whole checkpoint."""
    return InputError(
        "--run must be a new folder, or hold a checkpoint to go on from. Received: "
        f"'{folder}', which has weights and no whole checkpoint. Give another, or "
        "--overwrite."
    )


def create(settings: Training, facts: dict) -> Path:
    """Makes the folder of a run, or of one that goes on, and writes what is known.

    Args:
      settings: that `check` has passed.
      facts: what else to keep.

    Returns:
      The folder.
    """
    folder = Path(settings.run)
    if settings.overwrite:
        _clear(folder)
    folder.mkdir(parents=True, exist_ok=True)
    settings = dataclasses.replace(settings, overwrite=False)
    fields = dataclasses.asdict(settings)
    _add_facts(folder, {**facts, "config": fields})
    files.write_json(folder / CONFIG, fields)
    return folder


def add_results(folder: Path, progress: Progress) -> None:
    """Adds what came of a training to what is known of it.

    Args:
      folder: of the run.
      progress: of a training that has ended.
    """
    best = min(progress.history, key=lambda row: row["val_loss"])
    rates = [row["images_per_second"] for row in progress.history]
    facts = {
        "seconds": round(progress.seconds, 1),
        "images_per_second": statistics.median(rates),
        "epochs": progress.epoch,
        "stopped_early": progress.stopped,
        "best_epoch": best["epoch"] + 1,
        "best": {name: value for name, value in best.items() if name != "epoch"},
    }
    _add_facts(folder, facts)


def settings(folder: str) -> Training:
    """Reads the settings that a run was trained with.

    Raises:
      InputError: the folder holds no run, or a damaged one.
    """
    found = resolve.of_run(folder)
    if found is None:
        raise InputError(
            f"--run must be a folder of bin/train. Received: '{folder}', which has no "
            f"{CONFIG}. Check the path."
        )
    return found


def read_facts(folder: Path | str) -> dict:
    """Reads what is known of a training; empty where there is nothing.

    Raises:
      InputError: it is damaged.
    """
    path = Path(folder, FACTS)
    try:
        return json.loads(path.read_text()) if path.is_file() else {}
    except json.JSONDecodeError as error:
        raise InputError(
            f"Facts of a run must be as bin/train writes them. Received: {path}, "
            f"damaged ({error}). Remove it, and the run goes on."
        ) from error


def weights(folder: str) -> Path:
    """The file of a run's best weights.

    Raises:
      InputError: there is none.
    """
    path = Path(folder, WEIGHTS)
    if not path.is_file():
        raise InputError(
            f"--run must hold trained weights. Received: '{folder}', which has no "
            f"{WEIGHTS}: not one epoch was finished. bin/train --run {folder} goes on."
        )
    return path


def weights_checksum(folder: str) -> str:
    """The SHA-256 of a run's best weights.

    Raises:
      InputError: there are none.
    """
    return files.checksum(str(weights(folder)))


def load(
    folder: str, *, name: str = "clouds", precision: str | None = None
) -> keras.Model:
    """Builds the network of a run, from pixels to probabilities.

    Args:
      folder: of the run.
      name: of the model.
      precision: dtype or policy of its layers; that of the training if None.

    Returns:
      A model from uint8[B, H, W, 3] to probabilities float32[B, H, W, C].

    Raises:
      InputError: the folder holds no run, or no weights.
    """
    chosen = settings(folder)
    path = weights(folder)
    network = unet.build(chosen.size, dtype=precision or chosen.precision)
    try:
        network.load_weights(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"Weights must be as bin/train writes them. Received: {path}, damaged "
            f"({str(error).splitlines()[0]}). Train again with --overwrite."
        ) from error
    images = keras.Input((*chosen.size, 3), dtype="uint8", name="images")
    logits = network(preprocessing.prepare(images, chosen.preprocess))
    probabilities = keras.layers.Activation("sigmoid", dtype="float32")(logits)
    return keras.Model(images, probabilities, name=name)


def rule(folder: str) -> Rule | None:
    """Reads the rule that was tuned for a run; None where none was.

    Raises:
      InputError: it is damaged.
    """
    stored = _stored_rule(folder)
    return stored and stored[0]


def rule_facts(folder: str) -> dict | None:
    """Reads how the rule of a run came about; None where none was tuned.

    Raises:
      InputError: it is damaged.
    """
    stored = _stored_rule(folder)
    return stored and stored[1]


def save_rule(folder: str, chosen: Rule, facts: dict) -> None:
    """Writes the rule that predictions of a run follow from now on.

    Args:
      folder: of the run.
      chosen: the rule.
      facts: what is known of how it came about, for people to read.
    """
    fields = {"rule": dataclasses.asdict(chosen), **facts}
    files.write_json(Path(folder, RULE), fields)


def save_weights(network: keras.Model, folder: Path) -> None:
    """Writes the weights under a temporary name, then renames them.

    A rule that was tuned for others goes: it would draw too much or too little.
    """
    # HDF5 ends the process where it meets a full disk. It needs a little beside them.
    size = 4 * network.count_params() + (1 << 20)
    files.check_free_space(folder, size, "Weights")
    (folder / RULE).unlink(missing_ok=True)
    with files.replacing(folder / WEIGHTS) as part:
        network.save_weights(part)


def versions() -> dict[str, str]:
    """The versions that a run's figures depend on."""
    modules = (tf, keras, np, cv2)
    return {
        "clouds": __version__,
        "python": platform.python_version(),
        **{module.__name__: module.__version__ for module in modules},
    }


def _stored_rule(folder: str) -> tuple[Rule, dict] | None:
    path = Path(folder, RULE)
    if not path.is_file():
        return None
    try:
        facts = json.loads(path.read_text())
        return Rule(**facts.pop("rule")), facts
    except (json.JSONDecodeError, KeyError, TypeError, InputError) as error:
        raise InputError(
            f"A rule must be as bin/evaluate --tune writes it. Received: {path}, "
            f"damaged or of another version ({error}). Tune again, or remove it."
        ) from error


def _clear(folder: Path) -> None:
    for name in _OF_TRAINING:
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _shown(value) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _add_facts(folder: Path, facts: dict) -> None:
    known = read_facts(folder)
    started = {key: known[key] for key in ("started",) if key in known}
    files.write_json(folder / FACTS, {**known, **facts, **started})


def _devices() -> list[str]:
    if keras.backend.backend() == "jax":
        import jax

        return [device.device_kind for device in jax.devices()]
    devices = tf.config.list_physical_devices()
    details = map(tf.config.experimental.get_device_details, devices)
    return [
        detail.get("device_name", device.device_type)
        for device, detail in zip(devices, details, strict=True)
    ]
