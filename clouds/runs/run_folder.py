"""The folder of a run: settings, facts, best weights and tuned rule.

- `config.json`: settings; `run.json`: facts about the training and its result
- `best.weights.h5`: weights of the best epoch; `summary.txt`: layers
- `history.csv`, `history.png`: metrics of each epoch; `validation.png`: validation
  images with true and predicted masks; `tensorboard/`: the same for TensorBoard
- `checkpoints/`: state to resume from
- `trackers.json`: names of the run in experiment trackers; `wandb/`: their files
- `postprocess.json`: rule tuned for these weights, which predictions use
- `tuning.*`, `metrics*`: results of `clouds.evaluation`; `report.html`: the report
"""

import dataclasses
import datetime
import platform
import shutil
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import keras
import numpy as np
import tensorflow as tf

from clouds import __version__
from clouds.config import resolve
from clouds.config.rule import Rule
from clouds.config.training import Training
from clouds.data import manifest
from clouds.data.manifest import Manifest
from clouds.errors import InputError
from clouds.runs import checkpoints, run_facts
from clouds.runs.checkpoints import Progress
from clouds.runtime import checksums, files, startup
from clouds.runtime.json_types import NUMBER

CONFIG = resolve.FILE
FACTS = run_facts.FILE
REPORT = "report.html"
RULE = "postprocess.json"
TRACKERS = "trackers.json"
WEIGHTS = "best.weights.h5"

_REPLACED = (CONFIG, FACTS, WEIGHTS, "history.csv", "history.png")
_REPLACED += ("validation.png", "summary.txt", checkpoints.FOLDER, "tensorboard")
_REPLACED += (RULE, TRACKERS, "wandb", REPORT)
# PNGs may be there before: bin/describe draws one.
_FOREIGN = (manifest.FILE, ".tfrecord", ".jpg", ".jpeg")
_MAY_DIFFER = {"records", "run", "epochs", "cache", "checkpoint_every"}
_MAY_DIFFER |= {"deterministic", "overwrite", "tune", "records_size", "show_bands"}
_MAY_DIFFER |= {"devices", "hosts", "host_index", "coordinator", "track"}

_BAD_WEIGHTS = (
    "Copy the run again, or train again with --overwrite. If you replaced the file, "
    f"remove {FACTS}."
)
TUNED_ON = {"sha256": str, "split": str, "folds": [(int, None)], "runs": [str]}
TUNED_ON |= {"weights?": [str], "flips": bool, "class_head?": bool}
"""Types of the facts about the images that a rule was tuned on."""
DICE = {str: {str: {str: (*NUMBER, None)}}}
"""Types of metrics by name, by label, and by value or end of their interval."""
_RULE_TYPES = {"rule": {str: (str, bool, list, None)}}
_RULE_TYPES |= {"tuned_on?": TUNED_ON, "dice?": DICE}


def facts(settings: Training, records: Manifest) -> dict:
    """Collects the facts about a training that starts.

    Args:
      settings: resolved settings (size, precision).
      records: manifest of the records.

    Returns:
      The facts, for `check` and `create`.
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
        "kernels": startup.kernels(),
        "versions": versions(),
    }


def check(settings: Training, facts: dict) -> None:
    """Checks that a run can start in its folder, or resume.

    Args:
      settings: resolved settings (size, precision).
      facts: facts with the checksum of the records.

    Raises:
      InputError: the folder holds a run with other settings or records, a trained one
        without checkpoints, or no run, but records or JPEGs.
    """
    folder = Path(settings.run)
    _check_foreign(folder)
    stored = None if settings.overwrite else resolve.of_run(settings.run)
    trained = (folder / WEIGHTS).exists()
    if stored is None or not (trained or checkpoints.paths(folder)):
        return
    before, now = dataclasses.asdict(stored), dataclasses.asdict(settings)
    if trained and stored.schedule != "plateau" and stored.epochs != settings.epochs:
        raise InputError(
            f"--epochs must stay {stored.epochs}: the learning rate of --schedule "
            f"{stored.schedule} falls until that epoch, and would leap up again. "
            f"Received: {settings.epochs}, for the run in '{settings.run}'. Train a "
            "new run, from this one's encoder with --encoder-weights "
            f"{settings.run}, or give --overwrite."
        )
    differing = [
        f"--{name.replace('_', '-')} {_shown(before[name])}, not {_shown(now[name])}"
        for name in now
        if name not in _MAY_DIFFER and before[name] != now[name]
    ]
    records = run_facts.read(folder).get("records", facts["records"])
    if records["sha256"] != facts["records"]["sha256"]:
        differing.append(f"records {records.get('folder')}, not {settings.records}")
    if differing:
        raise InputError(
            f"--run: '{settings.run}' holds a run with {' and '.join(differing)}. "
            "Leave these flags out to resume it, or give another folder, or "
            "--overwrite."
        )
    if trained and not checkpoints.paths(folder):
        raise no_checkpoint(folder)


def _check_foreign(folder: Path) -> None:
    if not folder.is_dir() or (folder / CONFIG).is_file():
        return
    names = [path.name for path in folder.iterdir()]
    if foreign := [name for name in names if name.lower().endswith(_FOREIGN)]:
        raise InputError(
            f"--run: '{folder}' holds {min(foreign)}, but no {CONFIG} of a run. Give "
            "another folder, or a new one inside it."
        )


def no_checkpoint(folder: Path) -> InputError:
    """Returns the error for a trained run without an intact checkpoint."""
    return InputError(
        f"--run: '{folder}' has weights, but no intact checkpoint to resume from. Give "
        "another folder, or --overwrite."
    )


def create(settings: Training, facts: dict, results: Iterable[str] = ()) -> Path:
    """Creates or updates the folder of a run, with settings and facts.

    Args:
      settings: settings that passed `check`.
      facts: facts to store.
      results: names of files about the run that --overwrite removes, too.

    Returns:
      The folder.
    """
    folder = Path(settings.run)
    if settings.overwrite:
        _clear(folder, results)
    folder.mkdir(parents=True, exist_ok=True)
    settings = dataclasses.replace(settings, overwrite=False)
    fields = dataclasses.asdict(settings)
    run_facts.add(folder, {**facts, "config": fields})
    checksums.write_json(folder / CONFIG, fields)
    return folder


def add_results(folder: Path, progress: Progress) -> None:
    """Adds the result of a training to its facts.

    Args:
      folder: folder of the run.
      progress: progress of the finished training.
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
    run_facts.add(folder, facts)


def settings(folder: str) -> Training:
    """Reads the settings that a run was trained with.

    Raises:
      InputError: the folder holds no run, or a damaged one.
    """
    stored = resolve.of_run(folder)
    if stored is None:
        raise InputError(
            f"--run: '{folder}' is not the folder of a run: it has no {CONFIG}. Check "
            "the path."
        )
    return stored


def weights(folder: str) -> Path:
    """Returns the file of a run's best weights.

    Raises:
      InputError: there is none.
    """
    path = Path(folder, WEIGHTS)
    if not path.is_file():
        raise InputError(
            f"--run: '{folder}' has no {WEIGHTS}, since no epoch is finished. Resume "
            f"the training: bin/train --run {folder}"
        )
    return path


def weights_checksum(folder: str) -> str:
    """Returns the SHA-256 of a run's best weights.

    Raises:
      InputError: there are none, or they are damaged.
    """
    return run_facts.check_file(weights(folder), _BAD_WEIGHTS)


def rule(folder: str) -> Rule | None:
    """Reads the rule that was tuned for a run; None without one.

    Raises:
      InputError: it is damaged.
    """
    stored = _stored_rule(folder)
    return stored and stored[0]


def rule_facts(folder: str) -> dict | None:
    """Reads the facts about the tuning of a run's rule; None without a rule.

    Raises:
      InputError: they are damaged.
    """
    stored = _stored_rule(folder)
    return stored and stored[1]


def rule_warning(folders: Sequence[str]) -> str | None:
    """Returns a warning if the rule of the first run was tuned for other weights.

    Args:
      folders: folders of the runs that are averaged.

    Raises:
      InputError: rule or weights are damaged, or there are no weights.
    """
    weights = (rule_facts(folders[0]) or {}).get("tuned_on", {}).get("weights")
    if weights is None:
        return None
    others = [folder for folder in folders if weights_checksum(folder) not in weights]
    if not others:
        return None
    return (
        f"{Path(folders[0], RULE)} was tuned for other weights than those in "
        f"{', '.join(others)}. Tune again with bin/evaluate --tune, or remove it."
    )


def save_rule(folder: str, chosen: Rule, facts: dict) -> None:
    """Writes the rule that predictions with a run use from now on.

    Args:
      folder: folder of the run.
      chosen: the rule.
      facts: facts about its tuning.
    """
    fields = {"rule": dataclasses.asdict(chosen), **facts}
    checksums.write_json(Path(folder, RULE), fields)


def save_weights(network: keras.Model, folder: Path) -> None:
    """Writes the best weights, and removes the rule that was tuned for others."""
    # HDF5 crashes on a full disk. The file is slightly larger than the weights.
    files.check_free_space(folder, 4 * network.count_params() + (1 << 20), "Weights")
    (folder / RULE).unlink(missing_ok=True)
    with run_facts.replacing(folder / WEIGHTS) as part:
        network.save_weights(part)


def versions() -> dict[str, str]:
    """Returns the versions of the packages that affect the results."""
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
        facts = checksums.read_json(path, _RULE_TYPES)
        stored = Rule(**facts.pop("rule"))
    except (ValueError, TypeError) as error:
        raise InputError(
            f"The rule {path} is damaged or of another version ({error}). Run "
            "bin/evaluate --tune again, or remove the file."
        ) from error
    if Path(folder, CONFIG).is_file():
        stored.check_labels(settings(folder).spec, str(path))
    return stored, facts


def _clear(folder: Path, results: Iterable[str]) -> None:
    for name in (*_REPLACED, *results):
        path = folder / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _shown(value) -> str:
    return "x".join(map(str, value)) if isinstance(value, tuple) else str(value)


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
