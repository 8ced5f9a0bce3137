"""The history of a training: metrics by epoch.

A history is a table with a row per epoch and the columns `epoch` (from 0), `loss`,
`dice_coef`, `mean_dice`, the same with `val_`, and in newer runs `val_dice_fish` and
so on.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from clouds import metrics
from clouds.plots import common
from clouds.plots.common import Panel
from clouds.schema import CLOUDS

METRICS = {"loss": "Loss", "dice_coef": "Dice coefficient", "mean_dice": "Mean Dice"}
"""Metrics by column; each also has a column with `val_`."""

_TRAINING = {"color": common.GREY, "linestyle": "--", "marker": "o"}
_VALIDATION = {"color": common.INK, "marker": "s"}


def draw_history(
    epochs: pd.DataFrame, path: Path, labels: Sequence[str] = CLOUDS.labels
) -> None:
    """Draws the history of a run.

    Args:
      epochs: history.
      path: picture to write.
      labels: names of the labels.
    """
    common.save(common.arrange(panels(epochs, labels), columns=2, size=(6, 4)), path)


def panels(epochs: pd.DataFrame, labels: Sequence[str] = CLOUDS.labels) -> list[Panel]:
    """Returns a panel per metric and, if there are such columns, one for the labels."""
    shown = [
        _panel(
            title,
            [
                ("training", epochs, column, _TRAINING),
                ("validation", epochs, f"val_{column}", _VALIDATION),
            ],
        )
        for column, title in METRICS.items()
    ]
    columns = {label: f"val_{metrics.of_label(label)}" for label in labels}
    if {*columns.values()} <= {*epochs}:
        lines = [
            (label, epochs, column, {"marker": "o"} | common.style(k, k))
            for k, (label, column) in enumerate(columns.items())
        ]
        shown.append(_panel("Mean Dice per label, validation", lines))
    return shown


def comparison(runs: Mapping[str, pd.DataFrame]) -> list[Panel]:
    """Returns a panel per validation metric, with a line per run.

    Args:
      runs: histories by the name of their run.
    """
    return [
        _panel(
            f"{title}, validation",
            [
                (run, epochs, f"val_{column}", {"marker": "o"} | common.style(k))
                for k, (run, epochs) in enumerate(runs.items())
            ],
        )
        for column, title in METRICS.items()
    ]


def _panel(title: str, lines: Sequence[tuple[str, pd.DataFrame, str, dict]]) -> Panel:
    def draw(ax):
        for name, epochs, column, style in lines:
            ax.plot(epochs["epoch"] + 1, epochs[column], label=name, **style)
        ax.set(title=title, xlabel="epoch")
        ax.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        common.legend(ax)

    return draw
