"""Pictures as PNG files."""

from pathlib import Path

import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure


def history(epochs: pd.DataFrame, path: Path) -> None:
    """Draws the notebook's two panels: loss and Dice coefficient, epoch by epoch.

    Args:
      epochs: a row an epoch, with the columns epoch (from 0), loss, val_loss,
        dice_coef and val_dice_coef.
      path: of the PNG; written under a temporary name, then renamed.
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
    part = path.with_name(f"part.{path.name}")
    figure.savefig(part)
    part.replace(path)
