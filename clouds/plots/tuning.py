"""Figures of the tuning of a rule, from the contents of tuning.json.

`clouds.evaluation.tuning.tune` describes the contents.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from clouds.config.rule import Rule
from clouds.plots import common
from clouds.plots.common import Panel
from clouds.schema import CLOUDS, MaskSpec

_SHADED = 0.15
"""Range of Dice below a label's best that the colours of its map span."""


def draw_tuning(tuned: Mapping, path: Path) -> None:
    """Draws the mean Dice by threshold and minimum area, a map per label.

    Args:
      tuned: contents of tuning.json.
      path: picture to write.
    """
    title = "Mean Dice by threshold and minimum area, without a peak threshold"
    if any(tuned["rule"]["tops"] or ()):
        title += "; with one, the chosen rule's score is not on the map"
    shown = maps(tuned)
    columns = {"columns": len(shown), "size": (15 / len(shown), 4.7)}
    common.save(common.arrange(shown, title=title, **columns), path)


def maps(tuned: Mapping) -> list[Panel]:
    """Returns the map of each label.

    Args:
      tuned: contents of tuning.json. Thresholds and minimum areas are evenly spaced.
    """
    return [
        partial(_map, tuned=tuned, label=k) for k in range(len(tuned["maps"]["dice"]))
    ]


def _map(ax: Axes, tuned: Mapping, label: int) -> None:
    name, chosen = list(tuned["maps"]["dice"])[label], Rule(**tuned["rule"])
    areas, thresholds = (tuned["maps"][key] for key in ("min_sizes", "thresholds"))
    dice = np.array(tuned["maps"]["dice"][name])
    extent = [*_edges(areas), *_edges(thresholds)]
    image = ax.imshow(
        dice,
        cmap="cividis",
        # Values far below the best would take the colours of those close to it.
        vmin=dice.max() - _SHADED,
        extent=extent,
        origin="lower",
        aspect="auto",
        interpolation="none",
    )
    bar = ax.figure.colorbar(image, ax=ax, format="%.2f", extend="min")
    bar.solids.set_rasterized(True)
    # Earlier versions had one grid.
    grid = tuple(tuned.get("grid", CLOUDS.grid))
    default = Rule.default(MaskSpec(tuple(tuned["maps"]["dice"]), grid))
    for rule, kind, marker in ((default, "default", "o"), (chosen, "chosen", "*")):
        area = rule.min_sizes[label]
        beyond = area > areas[-1]
        ax.plot(
            min(area, areas[-1]),
            rule.thresholds[label],
            ">" if beyond else marker,
            label=f"{kind}, beyond the axis" if beyond else kind,
            color="white",
            markeredgecolor="black",
            markersize=9,
            clip_on=False,
        )
    ax.set(xlim=extent[:2], ylim=extent[2:], ylabel="threshold")
    ax.set_xlabel("minimum area, pixels of {}x{}".format(*grid))
    rule = chosen.describe_label(label).replace(", area", ",\narea")
    ax.set_title(f"{name}\n{rule}")
    common.legend(ax)


def _edges(values: Sequence[float]) -> tuple[float, float]:
    half = (values[1] - values[0]) / 2
    return values[0] - half, values[-1] + half
