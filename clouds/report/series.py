"""Lines of charts from what training and evaluation left."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from clouds.errors import InputError
from clouds.report.charts import Line

HISTORY = {"loss": "Loss", "dice_coef": "Dice coefficient", "mean_dice": "Mean Dice"}
"""Columns of history.csv, each also with val_, and what they are called."""

CALIBRATIONS = {
    "pixels": "Calibration of pixels",
    "presence": "Calibration of presence",
}
"""What metrics.json has calibrations of."""


def read_history(folder: str) -> pd.DataFrame | None:
    """Reads the figures of each epoch of a run; None where there are none.

    Raises:
      InputError: they are damaged.
    """
    path = Path(folder, "history.csv")
    if not path.is_file():
        return None
    try:
        epochs = pd.read_csv(path)
        columns = [prefix + name for name in HISTORY for prefix in ("", "val_")]
        missing = {"epoch", *columns} - {*epochs}
        if missing:
            raise ValueError(f"without {', '.join(sorted(missing))}")
    except ValueError as error:
        raise InputError(
            f"A history must be as bin/train writes it. Received: {path}, damaged or "
            f"of another version ({error}). Remove it, or train again."
        ) from error
    return epochs


def history(epochs: pd.DataFrame, column: str, name: str, **style) -> Line:
    """A figure over the epochs, counted from 1."""
    return Line(name, epochs["epoch"] + 1, epochs[column], dots=True, **style)


def precision_recall(facts: Mapping, label: str, name: str, **style) -> Line:
    """The precision of a label's presence over its recall, as a staircase.

    Args:
      facts: of an evaluation.
      label: its name.
      name: what the legend calls the line.
      **style: of the line.

    Returns:
      The line; empty of a label that no image has.
    """
    curve = facts["precision_recall"][label]
    if curve is None:
        return Line(name, [], [], **style)
    x, y = [0.0], [curve["precision"][0]]
    for precision, recall in zip(curve["precision"], curve["recall"], strict=True):
        x += [x[-1], recall]
        y += [precision, precision]
    return Line(name, x, y, **style)


def calibration(facts: Mapping, kind: str, label: str, name: str, **style) -> Line:
    """How often a label is there, over the probability that it was given.

    Args:
      facts: of an evaluation.
      kind: one of `CALIBRATIONS`.
      label: its name.
      name: what the legend calls the line.
      **style: of the line.

    Returns:
      The line; bins without a pixel or image are left out.
    """
    found = facts["calibration"][kind][label]
    pairs = zip(found["probability"], found["frequency"], strict=True)
    pairs = [pair for pair in pairs if None not in pair]
    x, y = ([pair[k] for pair in pairs] for k in range(2))
    return Line(name, x, y, dots=True, **style)
