"""Pictures as files, each written under a temporary name, then renamed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from clouds import schema


def history(epochs: pd.DataFrame, path: Path) -> None:
    """Draws the notebook's two panels: loss and Dice coefficient, epoch by epoch.

    Args:
      epochs: a row an epoch, with the columns epoch (from 0), loss, val_loss,
        dice_coef and val_dice_coef.
      path: of the picture; its ending tells the format.
    """
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, 1, sharex="col")
    for ax, column, title in zip(
        axes, ("loss", "dice_coef"), ("Loss", "Dice coefficient"), strict=True
    ):
        for prefix, name, style in (("", "Train", "o-"), ("val_", "Validation", "s--")):
            values = epochs[prefix + column]
            ax.plot(epochs["epoch"] + 1, values, style, label=f"{name} {title.lower()}")
        ax.set_title(title)
        ax.legend(loc="best")
    axes[-1].set_xlabel("Epochs")
    axes[-1].xaxis.get_major_locator().set_params(integer=True)
    sns.despine(figure)
    _save(figure, path)


def overlays(
    images: Sequence[np.ndarray], masks: Sequence[np.ndarray], path: Path
) -> None:
    """Draws images in rows of four, their masks outlined in the labels' colours.

    Args:
      images: N of uint8[H, W, 3].
      masks: N of bool[H, W, C].
      path: of the picture; its ending tells the format.
    """
    rows = -(-len(images) // 4)
    figure = Figure(figsize=(12, 2.1 * rows + 0.4), layout="constrained")
    axes = figure.subplots(rows, 4, squeeze=False).reshape(-1)
    for ax in axes:
        ax.axis("off")
    for ax, image, labels in zip(axes, images, masks, strict=False):
        ax.imshow(image)
        for label, colour in enumerate(schema.COLOURS):
            if labels[..., label].any():
                ax.contour(labels[..., label], [0.5], colors=colour, linewidths=1.5)
    figure.legend(
        [Line2D([], [], color=colour) for colour in schema.COLOURS],
        schema.LABELS,
        loc="outside lower center",
        ncols=len(schema.LABELS),
        frameon=False,
    )
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    part = path.with_name(f"part.{path.name}")
    figure.savefig(part)
    part.replace(path)
