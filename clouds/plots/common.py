"""The style of all figures, and their two forms: PNG files and inline SVG.

A panel is a function that draws on Matplotlib axes. `arrange` puts panels side by
side for a file in a run's folder; `svg` renders one panel for a web page.
"""

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.transforms import ScaledTranslation

from clouds.runtime import files
from clouds.schema import colours

Panel = Callable[[Axes], None]

INK, PAPER, GREY, LINE = "#010101", "#fefefe", "#666666", "#dddddd"
"""Near-black, near-white and greys, which `svg` replaces by the page's own colours."""

DASHES = ("-", (0, (7, 3)), (0, (2, 3)), (0, (9, 3, 2, 3)), (0, (12, 4)), ":")
"""Line styles, so that colour is not the only cue."""

_FONT = "'DejaVu Sans'"
_LONGEST = 40
_OF_PAGE = {
    INK: "currentColor",
    PAPER: "var(--back)",
    GREY: "var(--soft)",
    LINE: "var(--line)",
    _FONT: "system-ui",
}
_INKED = ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color")
_STYLE = dict.fromkeys((*_INKED, "ytick.color"), INK) | {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": "medium",
    "font.sans-serif": _FONT.strip("'"),
    "grid.color": LINE,
    "legend.fontsize": "small",
    "legend.frameon": False,
    "lines.markersize": 4,
    "svg.fonttype": "none",
    # File names may hold dollar signs. Log axes need a formatter of their own.
    "text.parse_math": False,
}

styled = matplotlib.rc_context(_STYLE)
"""Decorator of functions that draw, as some settings apply late."""


@styled
def arrange(
    panels: Sequence[Panel], *, columns: int, size: tuple[float, float], title: str = ""
) -> Figure:
    """Draws panels row by row.

    Args:
      panels: panels to draw.
      columns: panels per row.
      size: width and height of a panel in inches.
      title: line above all panels.
    """
    rows = -(-len(panels) // columns)
    shape = size[0] * columns, size[1] * rows
    figure = Figure(figsize=shape, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    figure.suptitle(title)
    for k, panel in enumerate(panels):
        panel(figure.add_subplot(rows, columns, k + 1))
    return figure


@styled
def save(figure: Figure, path: Path) -> None:
    """Writes a figure atomically, in the format of the path's suffix."""
    with files.replacing(path) as part:
        figure.savefig(part)


@styled
def svg(panel: Panel, size: tuple[float, float] = (3.6, 3.1)) -> str:
    """Renders a panel as an SVG element for a page.

    The background is transparent. Text and axes take the colours of the page, which
    defines `--back`, `--soft` and `--line`.

    Args:
      panel: panel to draw.
      size: width and height in inches.

    Returns:
      The element, with a description for screen readers.
    """
    figure = arrange([panel], columns=1, size=size)
    description, buffer = _describe(figure.axes[0]), io.BytesIO()
    # Ids depend on the content alone, and differ between the panels of a page.
    with matplotlib.rc_context({"svg.hashsalt": description}):
        figure.savefig(buffer, format="svg", transparent=True)
    root = ElementTree.fromstring(buffer.getvalue())
    # Metadata, and a style sheet that would hold for the entire page.
    for tag in ("metadata", "defs"):
        root.remove(root.find(f"{{*}}{tag}"))
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = _for_page(element)
    root.attrib = {
        "viewBox": root.get("viewBox"),
        "role": "img",
        "aria-label": description,
        "stroke-linejoin": "round",
    }
    return ElementTree.tostring(root, encoding="unicode", method="html")


def style(dash: int, label: int | None = None) -> dict:
    """Returns options of a line.

    Args:
      dash: number of its dash pattern, any.
      label: index of the label that gives its colour; without one it is black.
    """
    colour = INK if label is None else colours(label + 1)[label]
    return {"color": colour, "linestyle": DASHES[dash % len(DASHES)]}


def legend(ax: Axes, handles: Iterable[Artist] | None = None) -> None:
    """Puts the legend below the x axis, where it covers nothing.

    Args:
      ax: axes.
      handles: artists with labels; by default all lines that have one.
    """
    handles = list(_labelled(ax) if handles is None else handles)
    names = [handle.get_label() for handle in handles]
    height = -36 / 72 if ax.get_xlabel() else -20 / 72
    offset = ScaledTranslation(0, height, ax.figure.dpi_scale_trans)
    ax.legend(
        handles,
        # Without names, those that start with an underscore would be dropped.
        [f"…{n[-_LONGEST:]}" if len(n) > _LONGEST else n for n in names],
        loc="upper center",
        ncols=2 if max(map(len, names), default=0) <= _LONGEST // 2 else 1,
        bbox_to_anchor=(0.5, 0),
        bbox_transform=ax.transAxes + offset,
        borderaxespad=0,
    )


def heat_map(
    ax: Axes, shares: pd.DataFrame, texts: Sequence[Sequence[str]], title: str
) -> None:
    """Draws a table of shares from 0 to 1 as shades of grey with text."""
    colours = LinearSegmentedColormap.from_list("shares", ["#ffffff", "#999999"])
    ax.imshow(shares, vmin=0, vmax=1, cmap=colours, aspect="auto")
    for row, column in np.ndindex(shares.shape):
        text = texts[row][column]
        ax.text(column, row, text, ha="center", va="center", color=INK)
    ax.set_xticks(range(shares.shape[1]), shares.columns)
    ax.set_yticks(range(shares.shape[0]), shares.index)
    ax.set(xlabel=shares.columns.name or "", ylabel=shares.index.name or "")
    ax.set_title(title)
    ax.spines[:].set_visible(False)
    ax.grid(False)
    ax.tick_params(length=0, rotation=0)


def _labelled(ax: Axes) -> list[Line2D]:
    return [line for line in ax.lines if not line.get_label().startswith("_child")]


def _for_page(element: ElementTree.Element) -> dict[str, str]:
    attributes = {}
    for name, value in element.items():
        name = name.rpartition("}")[2]
        if name == "style":
            for drawn, of_page in _OF_PAGE.items():
                value = value.replace(drawn, of_page)
        # Groups have the same ids in all figures, and nothing refers to them.
        if name != "id" or element.tag != "g":
            attributes[name] = value
    return attributes


def _describe(ax: Axes) -> str:
    y_label, x_label = ax.get_ylabel(), ax.get_xlabel()
    parts = [ax.get_title().replace("\n", " ")]
    if x_label:
        parts[0] += f": {y_label} over {x_label}" if y_label else f" over {x_label}"
    for line in _labelled(ax):
        y = [value for value in line.get_ydata() if np.isfinite(value)]
        ends = f"from {y[0]:.3g} to {y[-1]:.3g}, highest {max(y):.3g}" if y else "empty"
        parts.append(f"{line.get_label()}: {ends}")
    return f"{'. '.join(parts)}."
