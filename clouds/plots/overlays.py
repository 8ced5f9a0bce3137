"""Images with the outlines of their masks."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure, FigureBase
from matplotlib.lines import Line2D

from clouds.plots import common
from clouds.schema import CLOUDS, colours

_WIDTH = 12


@common.styled
def draw_overlays(
    images: Sequence[np.ndarray],
    masks: Sequence[np.ndarray],
    path: Path,
    labels: Sequence[str] = CLOUDS.labels,
    *,
    titles: Sequence[str] = (),
    columns: int = 4,
) -> None:
    """Draws images in rows, their masks outlined in the labels' colours.

    Args:
      images: N of uint8[H, W, 3].
      masks: N of bool[H, W, C].
      path: picture to write.
      labels: names of the labels.
      titles: titles of the images, if any.
      columns: number of images in a row.
    """
    rows = -(-len(images) // columns)
    height = (2.5 if titles else 2.2) * rows
    if columns == 1:
        # Scenes may be of any proportions.
        height = sum(_WIDTH * h / w + 0.5 for h, w, _ in (i.shape for i in images))
    figure = Figure(figsize=(_WIDTH, height + 0.4), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.15)
    axes = figure.subplots(rows, columns, squeeze=False).reshape(-1)
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
