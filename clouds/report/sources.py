"""Files of other commands that pages show."""

from pathlib import Path

import numpy as np
import pandas as pd

from clouds.errors import InputError
from clouds.plots import training
from clouds.runs import run_facts
from clouds.runtime import checksums

_HISTORY = "history.csv"


def read_json(folder: str, name: str, expected: dict) -> dict | None:
    """Reads a JSON file; None if there is none.

    Args:
      folder: folder of the file.
      name: name of the file.
      expected: types of its fields, for `json_types.check`.

    Raises:
      InputError: it is damaged, or a field is missing or has another type.
    """
    path = Path(folder, name)
    if not path.is_file():
        return None
    try:
        return checksums.read_json(path, expected)
    except ValueError as error:
        raise _damaged(path, error) from error


def read_history(folder: str) -> pd.DataFrame | None:
    """Reads the metrics of each epoch of a run; None if there are none.

    Raises:
      InputError: they are damaged.
    """
    path = Path(folder, _HISTORY)
    if not path.is_file():
        return None
    run_facts.check_file(path, "Copy it again, or remove it.")
    try:
        epochs = pd.read_csv(path)
        names = [prefix + name for name in training.METRICS for prefix in ("", "val_")]
        if missing := [name for name in ("epoch", *names) if name not in epochs]:
            raise ValueError(f"without {', '.join(missing)}")
        if not np.isfinite(epochs.to_numpy(float)).all():
            raise ValueError("numbers that are not finite")
    except ValueError as error:
        raise _damaged(path, error) from error
    return epochs


def _damaged(path: Path, error: ValueError) -> InputError:
    return InputError(
        f"{path} is damaged or of another version ({error}). Remove it, or run the "
        "command that writes it again."
    )
