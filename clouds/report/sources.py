"""Files of other commands that pages show."""

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from clouds.errors import InputError
from clouds.plots import training

_HISTORY = "history.csv"


def read_json(folder: str, name: str, keys: Sequence[str]) -> dict | None:
    """Reads a JSON file; None if there is none.

    Args:
      folder: folder of the file.
      name: name of the file.
      keys: required keys.

    Raises:
      InputError: it is damaged, or has not all keys.
    """
    path = Path(folder, name)
    if not path.is_file():
        return None
    try:
        fields = json.loads(path.read_text())
        _check_keys(keys, fields)
    except ValueError as error:
        raise _damaged(path, error) from error
    return fields


def read_history(folder: str) -> pd.DataFrame | None:
    """Reads the metrics of each epoch of a run; None if there are none.

    Raises:
      InputError: they are damaged.
    """
    path = Path(folder, _HISTORY)
    if not path.is_file():
        return None
    try:
        epochs = pd.read_csv(path)
        names = [prefix + name for name in training.METRICS for prefix in ("", "val_")]
        _check_keys(["epoch", *names], epochs)
    except ValueError as error:
        raise _damaged(path, error) from error
    return epochs


def _check_keys(keys, fields):
    if missing := [key for key in keys if key not in fields]:
        raise ValueError(f"without {', '.join(missing)}")


def _damaged(path: Path, error: ValueError) -> InputError:
    return InputError(
        f"{path} is damaged or of another version ({error}). Remove it, or run the "
        "command that writes it again."
    )
