"""Checkpoints: a training's whole state in one file, so that it can go on exactly.

A file is an uncompressed `.npz`: `progress`, JSON as bytes, and every variable of
model, optimizer and metrics as it is, in their order. It is written under a
temporary name and renamed; the zip's checksums tell a broken one.
"""

import dataclasses
import json
import zipfile
from pathlib import Path

import keras
import numpy as np

from clouds.errors import InputError
from clouds.runtime import files

FOLDER = "checkpoints"
KEPT = 2

_BROKEN = (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile)


@dataclasses.dataclass
class Progress:
    """How far a training has come.

    Attributes:
      epoch: epochs done.
      step: steps done of the epoch under way.
      history: the figures of each epoch done.
      stopped: whether it ended before the last epoch.
      seconds: it took so far, in all its processes.
    """

    epoch: int = 0
    step: int = 0
    history: list[dict[str, float]] = dataclasses.field(default_factory=list)
    stopped: bool = False
    seconds: float = 0.0


def variables(trainer: keras.Model) -> list[keras.Variable]:
    """All that changes while a compiled model is trained.

    Args:
      trainer: with its optimizer and metrics built.

    Returns:
      Weights, moving averages, states of random generators, optimizer, metrics.
    """
    return [
        *trainer.variables,
        *trainer.optimizer.variables,
        *trainer.metrics_variables,
    ]


def values(trainer: keras.Model) -> list[np.ndarray]:
    """The values of `variables`."""
    return [keras.ops.convert_to_numpy(v) for v in variables(trainer)]


def save(folder: Path, progress: Progress, arrays: list[np.ndarray]) -> Path:
    """Writes a checkpoint; of the others only the one before it stays.

    Args:
      folder: of the run.
      progress: of the training.
      arrays: what `values` returned.

    Returns:
      The file.

    Raises:
      InputError: the disk has no room for it.
    """
    path = folder / FOLDER / f"epoch{progress.epoch:04}-step{progress.step:06}.npz"
    path.parent.mkdir(exist_ok=True)
    size = sum(array.nbytes for array in arrays)
    files.check_free_space(path.parent, size, "Checkpoints")
    text = json.dumps(dataclasses.asdict(progress)).encode()
    numbered = {str(number): array for number, array in enumerate(arrays)}
    with files.replacing(path) as part:
        np.savez(part, progress=np.frombuffer(text, np.uint8), **numbered)
    others = paths(folder)
    newest = others.index(path)
    # Later ones are broken, or the training would have gone on from them.
    for other in others[:newest] + others[newest + KEPT :]:
        other.unlink()
    return path


def paths(folder: Path) -> list[Path]:
    """The checkpoints in a run's folder, the newest first."""
    return sorted((folder / FOLDER).glob("epoch*.npz"), reverse=True)


def load(folder: Path) -> tuple[Progress, list[np.ndarray]] | None:
    """Reads the newest checkpoint that is whole, and names those that are not.

    Args:
      folder: of the run.

    Returns:
      Its progress and arrays; None where there is none.
    """
    for path in paths(folder):
        try:
            with path.open("rb") as file, np.load(file) as saved:
                progress = Progress(**json.loads(saved["progress"].tobytes()))
                arrays = [saved[str(number)] for number in range(len(saved.files) - 1)]
        except _BROKEN as error:
            print(f"{path} is broken ({error}) and passed over.", flush=True)
            continue
        return progress, arrays
    return None


def restore(trainer: keras.Model, arrays: list[np.ndarray], folder: Path) -> None:
    """Gives `variables` their values back.

    Args:
      trainer: built as the one that was saved.
      arrays: of a checkpoint.
      folder: of the run.

    Raises:
      InputError: they are not those of such a model.
    """
    targets = variables(trainer)
    wanted = [tuple(variable.shape) for variable in targets]
    if wanted != [array.shape for array in arrays]:
        raise InputError(
            f"Checkpoint must fit the network. Received: {len(arrays)} arrays of other "
            f"shapes than its {len(wanted)}, in {folder / FOLDER}: another version "
            "wrote it. Use that one, or train again with --overwrite."
        )
    for variable, array in zip(targets, arrays, strict=True):
        variable.assign(array)
