"""Images with the outlines of their masks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D

from clouds.plots import common
from clouds.schema import CLOUDS, colours


@common.styled
def draw_overlays(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    path: Path,
    labels: Sequence[str] = CLOUDS.labels,
    *,
    titles: Sequence[str] = (),
) -> None:
    """Draws images in rows of four, their masks outlined in the labels' colours.

    Args:
      images: N of uint8[H, W, 3].
      masks: N of bool[H, W, C].
      path: picture to write.
      labels: names of the labels.
      titles: titles of the images, if any.
    """
    rows = -(-len(images) // 4)
    height = (2.5 if titles else 2.2) * rows + 0.4
    figure = Figure(figsize=(12, height), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.15)
    axes = figure.subplots(rows, 4, squeeze=False).reshape(-1)
    for ax in axes:
        ax.axis("off")
    for ax, image, planes in zip(axes, images, masks, strict=False):
        ax.imshow(image)
        for label, colour in enumerate(colours(len(labels))):
            if planes[..., label].any():
                ax.contour(planes[..., label], [0.5], colors=colour, linewidths=1.5)
    for ax, title in zip(axes, titles, strict=False):
        ax.set_title(title)
    legend(figure, labels)
    common.save(figure, path)


def legend(figure: FigureBase, labels: Sequence[str]) -> None:
    """Names the labels and their colours in a row below all panels."""
    figure.legend(
        [Line2D([], [], color=colour) for colour in colours(len(labels))],
        labels,
        loc="outside lower center",
        ncols=min(len(labels), 8),
        fontsize="medium",
    )
