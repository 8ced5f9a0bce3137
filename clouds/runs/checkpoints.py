"""Checkpoints: the complete state of a training in one file, for an exact resume.

A file is an uncompressed `.npz` with `progress`, JSON as bytes, and the variables of
model, optimizer and metrics in their order. The checksums of the zip format reveal a
damaged one.
"""

import dataclasses
import json
from pathlib import Path

import keras
import numpy as np

from clouds.errors import InputError
from clouds.runtime import files, json_types

FOLDER = "checkpoints"
KEPT = 2

_TYPES = {"epoch": int, "step": int, "history": [{str: json_types.NUMBER}]}
_TYPES |= {"arrays?": int, "stopped": bool, "seconds": json_types.NUMBER}


@dataclasses.dataclass
class Progress:
    """Progress of a training.

    Attributes:
      epoch: number of finished epochs.
      step: number of finished steps of the current epoch.
      history: metrics of each finished epoch.
      stopped: whether training stopped before the last epoch.
      seconds: time so far, over all its processes.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    stopped: bool = False
    seconds: float = 0.0


def variables(trainer: keras.Model) -> list[keras.Variable]:
    """Returns everything that changes while a compiled model is trained.

    Args:
      trainer: model with its optimizer and metrics built.

    Returns:
      Weights, moving averages, states of random generators, optimizer, metrics.
    """
    return [
        *trainer.variables,
        *trainer.optimizer.variables,
        *trainer.metrics_variables,
    ]


def values(trainer: keras.Model) -> list[np.ndarray]:
    """Returns the values of `variables`."""
    return [keras.ops.convert_to_numpy(v) for v in variables(trainer)]


def save(folder: Path, progress: Progress, arrays: list[np.ndarray]) -> Path:
    """Writes a checkpoint, and removes all but the previous one.

    Args:
      folder: folder of the run.
      progress: progress of the training.
      arrays: arrays from `values`.

    Returns:
      The file.

    Raises:
      InputError: the disk has too little free space.
    """
    path = folder / FOLDER / f"epoch{progress.epoch:04}-step{progress.step:06}.npz"
    path.parent.mkdir(exist_ok=True)
    size = sum(array.nbytes for array in arrays)
    files.check_free_space(path.parent, size, "Checkpoints")
    fields = {**dataclasses.asdict(progress), "arrays": len(arrays)}
    text = json.dumps(fields).encode()
    numbered = {str(number): array for number, array in enumerate(arrays)}
    with files.replacing(path) as part:
        np.savez(part, progress=np.frombuffer(text, np.uint8), **numbered)
    existing = paths(folder)
    newest = existing.index(path)
    # Later ones are damaged, or the training would have resumed from them.
    for other in existing[:newest] + existing[newest + KEPT :]:
        other.unlink()
    return path


def paths(folder: Path) -> list[Path]:
    """Returns the checkpoints of a run, the newest first."""
    return sorted((folder / FOLDER).glob("epoch*.npz"), reverse=True)


def load(folder: Path) -> tuple[Progress, list[np.ndarray]] | None:
    """Reads the newest intact checkpoint, and reports damaged ones.

    Args:
      folder: folder of the run.

    Returns:
      Its progress and arrays; None without a checkpoint.
    """
    for path in paths(folder):
        try:
            with path.open("rb") as file, np.load(file) as saved:
                fields = json.loads(saved["progress"].tobytes())
                json_types.check(fields, _TYPES)
                count = len(saved.files) - 1
                if fields.pop("arrays", count) != count:
                    raise ValueError(f"{count} arrays")
                progress = Progress(**fields)
                arrays = [saved[str(number)] for number in range(count)]
        except MemoryError:
            raise
        except Exception as error:  # zipfile raises many kinds, as for unknown flags.
            print(f"Skipping the damaged checkpoint {path} ({error}).", flush=True)
            continue
        return progress, arrays
    return None


def restore(trainer: keras.Model, arrays: list[np.ndarray], folder: Path) -> None:
    """Assigns the arrays of a checkpoint to `variables`.

    Args:
      trainer: model built as the one that was saved.
      arrays: arrays of the checkpoint.
      folder: folder of the run, for the error.

    Raises:
      InputError: the arrays do not fit the model.
    """
    targets = variables(trainer)
    expected = [tuple(variable.shape) for variable in targets]
    if expected != [array.shape for array in arrays]:
        raise InputError(
            f"The checkpoint in {folder / FOLDER} does not fit the network: it has "
            f"{len(arrays)} arrays, and the network has {len(expected)} of other "
            "shapes. Another version wrote it. Use that version, or train again with "
            "--overwrite."
        )
    for variable, array in zip(targets, arrays, strict=True):
        variable.assign(array)
