"""Pictures as files, each written under a temporary name, then renamed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from clouds import schema

_GREY = "#666666"


def history(epochs: pd.DataFrame, path: Path) -> None:
    """Draws the notebook's two panels, loss and Dice coefficient, and the mean Dice.

    Args:
      epochs: a row an epoch, with the columns epoch (from 0), loss, dice_coef,
        mean_dice, and val_loss and so on.
      path: of the picture; its ending tells the format.
    """
    figure = Figure(figsize=(10, 9), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.1)
    panels = {"loss": "Loss", "dice_coef": "Dice coefficient", "mean_dice": "Mean Dice"}
    axes = figure.subplots(len(panels), 1, sharex="col")
    # Grey and black, as colours are the labels'.
    kinds = ("", "training", "o--", _GREY), ("val_", "validation", "s-", "black")
    for ax, (column, title) in zip(axes, panels.items(), strict=True):
        for prefix, name, style, colour in kinds:
            options = {"color": colour, "label": name}
            ax.plot(epochs["epoch"] + 1, epochs[prefix + column], style, **options)
        ax.set_title(title)
        # Beside the title, where no curve can lie.
        options = {"bbox_to_anchor": (1, 1.01), "borderaxespad": 0, "frameon": False}
        ax.legend(loc="lower right", ncols=2, **options)
    axes[-1].set_xlabel("Epochs")
    axes[-1].xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    sns.despine(figure)
    save(figure, path)


def overlays(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    path: Path,
    *,
    titles: Sequence[str] = (),
) -> None:
    """Draws images in rows of four, their masks outlined in the labels' colours.

    Args:
      images: N of uint8[H, W, 3].
      masks: N of bool[H, W, C].
      path: of the picture; its ending tells the format.
      titles: of the images, if they have any.
    """
    rows = -(-len(images) // 4)
    height = (2.5 if titles else 2.2) * rows + 0.4
    figure = Figure(figsize=(12, height), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.15)
    axes = figure.subplots(rows, 4, squeeze=False).reshape(-1)
    for ax in axes:
        ax.axis("off")
    for ax, image, labels in zip(axes, images, masks, strict=False):
        ax.imshow(image)
        for label, colour in enumerate(schema.COLOURS):
            if labels[..., label].any():
                ax.contour(labels[..., label], [0.5], colors=colour, linewidths=1.5)
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title)
    legend(figure)
    save(figure, path)


def statistics(
    tables: Mapping[str, pd.DataFrame],
    both: pd.DataFrame,
    masks: pd.DataFrame,
    components: pd.DataFrame,
    speck: float,
    path: Path,
    *,
    title: str,
) -> None:
    """Draws what a csv holds: labels, how they go together, areas.

    Args:
      tables: labels, with a column masks; labels_per_image and sets, with a column
        images.
      both: int64[C, C], the images that have the row's and the column's label.
      masks: a row a mask, with its label and the share of the grid that it covers.
      components: the same of each component.
      speck: the share below which a component is a speck.
      path: of the picture; its ending tells the format.
      title: a line above all panels.
    """
    figure = Figure(figsize=(15, 9), layout="constrained")
    figure.suptitle(title)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    # Apart, or the long names of the sets would push the lower panels aside.
    upper, lower = figure.subfigures(2, 1)
    axes = upper.subplots(1, 3)
    numbers = tables["labels"]["masks"]
    _bars(axes[0], numbers, schema.COLOURS, "Masks")
    numbers = tables["labels_per_image"]["images"]
    _bars(axes[1], numbers, _GREY, "Images by their number of labels")
    numbers = tables["sets"]["images"]
    _bars(axes[2], numbers, _GREY, "Images by their set of labels", lying=True)
    axes = lower.subplots(1, 3)
    _heat_map(axes[0], both)
    _cumulated(axes[1], masks)
    _histogram(axes[2], components, speck)
    legend(lower)
    sns.despine(figure)
    save(figure, path)


def legend(figure: FigureBase) -> None:
    """Names the labels and their colours in a row below the panels."""
    figure.legend(
        [Line2D([], [], color=colour) for colour in schema.COLOURS],
        schema.LABELS,
        loc="outside lower center",
        ncols=len(schema.LABELS),
        frameon=False,
    )


def _bars(ax: Axes, numbers: pd.Series, colours, title: str, *, lying=False) -> None:
    names = numbers.index.astype(str)
    bars = (ax.barh if lying else ax.bar)(names, numbers, color=colours)
    ax.bar_label(bars, fmt="{:,.0f}", padding=2)
    ax.set_title(title)
    if lying:
        ax.margins(x=0.1, y=0.02)
        ax.invert_yaxis()


def _heat_map(ax: Axes, both: pd.DataFrame) -> None:
    shares = both.div(np.diag(both), axis=0).fillna(0)
    cells = [
        [f"{number:,}\n{share:.0%}" for number, share in zip(*row, strict=True)]
        for row in zip(both.to_numpy(), shares.to_numpy(), strict=True)
    ]
    options = {"cmap": sns.light_palette("#999999", as_cmap=True), "cbar": False}
    options |= {"annot": cells, "fmt": "", "annot_kws": {"color": "black"}}
    sns.heatmap(shares, vmin=0, vmax=1, ax=ax, **options)
    ax.set_title("Images with both labels, share of the row's")
    ax.tick_params(length=0)


def _cumulated(ax: Axes, masks: pd.DataFrame) -> None:
    for label, colour in zip(schema.LABELS, schema.COLOURS, strict=True):
        shares = masks["share"][masks["label"] == label]
        if len(shares):
            ax.ecdf(shares, color=colour)
    ax.set(title="Areas of masks", xlim=(0, 1), ylim=(0, 1))
    ax.set(xlabel="share of the grid, at most", ylabel="share of the label's masks")
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.yaxis.set_major_formatter(PercentFormatter(1))


def _histogram(ax: Axes, components: pd.DataFrame, speck: float) -> None:
    # Before drawing, which chooses the limits.
    ax.set(title="Areas of 8-connected components", xscale="log", yscale="symlog")
    smallest = components["share"].min() if len(components) else speck
    ax.hist(
        [components["share"][components["label"] == name] for name in schema.LABELS],
        bins=np.geomspace(min(smallest, speck), 1, 41),
        histtype="step",
        color=schema.COLOURS,
    )
    ax.axvline(speck, color=_GREY, linestyle=":", label=f"{speck:.1%} of the grid")
    ax.set(xlabel="share of the grid", ylabel="components")
    ax.legend(loc="best", frameon=False)


def save(figure: Figure, path: Path) -> None:
    """Writes a picture under a temporary name, then renames it."""
    part = path.with_name(f"part.{path.name}")
    figure.savefig(part)
    part.replace(path)
