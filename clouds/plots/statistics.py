"""The statistics of an annotation file: labels, their combinations, areas."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter, PercentFormatter

from clouds.plots import common
from clouds.plots.overlays import legend
from clouds.schema import colours


@common.styled
def draw_statistics(
    tables: Mapping[str, pd.DataFrame],
    masks: pd.DataFrame,
    components: pd.DataFrame,
    speck: float,
    path: Path,
    *,
    title: str,
) -> None:
    """Draws the labels of a csv, their combinations, and areas.

    Args:
      tables: `labels` with a column masks; `labels_per_image` and `sets` with a column
        images; `both`, int64[C, C], the images with the row's and the column's label.
      masks: table with a row per mask, its label and its share of the grid.
      components: the same with a row per component.
      speck: share of the grid below which a component is a speck.
      path: picture to write.
      title: line above all panels.
    """
    figure = Figure(figsize=(15, 9), layout="constrained")
    figure.suptitle(title)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    # Separate, or the long names of the sets would push the lower panels aside.
    upper, lower = figure.subfigures(2, 1)
    axes = upper.subplots(1, 3)
    labels = tables["labels"].index.tolist()
    _bars(axes[0], tables["labels"]["masks"], "Masks", color=colours(len(labels)))
    per_image = tables["labels_per_image"]["images"]
    _bars(axes[1], per_image, "Images by number of labels")
    _bars(axes[2], tables["sets"]["images"], "Images by set of labels", across=True)
    axes = lower.subplots(1, 3)
    _both(axes[0], tables["both"])
    _mask_areas(axes[1], masks, labels)
    _component_areas(axes[2], components, speck, labels)
    legend(lower, labels)
    common.save(figure, path)


def _bars(
    ax: Axes, numbers: pd.Series, title: str, *, across=False, color=common.GREY
) -> None:
    names = numbers.index.astype(str)
    bars = (ax.barh if across else ax.bar)(names, numbers, color=color)
    ax.bar_label(bars, fmt="{:,.0f}", padding=2)
    ax.set_title(title)
    if across:
        ax.margins(x=0.1, y=0.02)
        ax.invert_yaxis()


def _both(ax: Axes, both: pd.DataFrame) -> None:
    shares = both.div(np.diag(both), axis=0).fillna(0)
    cells = [
        [f"{number:,}\n{share:.0%}" for number, share in zip(*row, strict=True)]
        for row in zip(both.to_numpy(), shares.to_numpy(), strict=True)
    ]
    common.heat_map(ax, shares, cells, "Images with both labels, share of the row's")


def _mask_areas(ax: Axes, masks: pd.DataFrame, labels: list[str]) -> None:
    for label, colour in zip(labels, colours(len(labels)), strict=True):
        shares = masks["share"][masks["label"] == label]
        if len(shares):
            ax.ecdf(shares, color=colour)
    ax.set(title="Areas of masks", xlim=(0, 1), ylim=(0, 1))
    ax.set(xlabel="share of the grid, at most", ylabel="share of the label's masks")
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.yaxis.set_major_formatter(PercentFormatter(1))


def _component_areas(
    ax: Axes, components: pd.DataFrame, speck: float, labels: list[str]
) -> None:
    # Scales first: drawing on them chooses the limits.
    ax.set(title="Areas of 8-connected components", xscale="log", yscale="symlog")
    smallest = components["share"].min() if len(components) else speck
    ax.hist(
        [components["share"][components["label"] == name] for name in labels],
        bins=np.geomspace(min(smallest, speck), 1, 41),
        histtype="step",
        color=colours(len(labels)),
    )
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    label = f"{speck:.1%} of the grid"
    ax.axvline(speck, color=common.GREY, linestyle=":", label=label)
    ax.set(xlabel="share of the grid", ylabel="components")
    ax.legend(loc="best")
