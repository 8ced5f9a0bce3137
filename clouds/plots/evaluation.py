"""Figures of evaluations, from the contents of metrics.json.

`clouds.evaluation.results` describes the contents.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from clouds.plots import common
from clouds.plots.common import GREY, INK, PAPER, Panel
from clouds.schema import colours

_BASELINES = {
    "dice_all_empty": ("all empty", "v"),
    "dice_best_constant": ("best constant", "D"),
    "dice_all_full": ("all full", "^"),
}
_OF_MASKS = {
    "dice_non_empty_post": "Dice, non-empty",
    "empty_found_post": "true-negative rate",
    "empty_right_post": "empty precision",
    "iou_post": "IoU",
    "precision_post": "precision",
    "recall_post": "recall",
}
_UNCLIPPED = {"clip_on": False, "in_layout": False}
"""Of points that may be on an edge; unclipped NaNs would upset the layout."""


class Line(NamedTuple):
    """A line of a panel.

    Attributes:
      name: name in the legend.
      metrics: contents of metrics.json.
      label: index of the label to show, which gives the colour.
      dash: number of the dash pattern.
    """

    name: str
    metrics: Mapping
    label: int
    dash: int


def draw_evaluation(metrics: Mapping, path: Path, *, title: str) -> None:
    """Draws the panels of an evaluation.

    Args:
      metrics: contents of metrics.json.
      path: picture to write.
      title: line above all panels.
    """
    shown = panels(metrics)
    shown.insert(2, partial(_confusion, confusion=metrics["confusion"]))
    common.save(common.arrange(shown, columns=3, size=(5, 4.5), title=title), path)


def panels(metrics: Mapping) -> list[Panel]:
    """Returns the panels of an evaluation, without the confusion matrix."""
    return [
        partial(_dice, values=metrics["figures"]),
        partial(_masks, values=metrics["figures"]),
        precision_recall(
            "Presence of labels", _lines(metrics, "AP", "average_precision")
        ),
        *(
            calibration(
                f"Calibration of {kind}", kind, _lines(metrics, "ECE", f"ece_{kind}")
            )
            for kind in ("pixels", "presence")
        ),
    ]


def _lines(metrics: Mapping, title: str, metric: str) -> list[Line]:
    lines = []
    for k, label in enumerate(_labels(metrics)):
        value = metrics["figures"][metric][label]["value"]
        number = "-" if value is None else f"{value:.3f}"
        lines.append(Line(f"{label}, {title} {number}", metrics, k, k))
    return lines


def precision_recall(title: str, lines: Sequence[Line]) -> Panel:
    """Returns a panel of the precision of a label's presence over its recall.

    Dotted lines are the shares of images with the label: the precision of a random
    score.

    Args:
      title: title.
      lines: labels, or runs.
    """

    def draw(ax):
        for line in lines:
            label = _labels(line.metrics)[line.label]
            curve, steps = line.metrics["precision_recall"][label], ([], [])
            if curve is not None:
                # Up to the first recall, the first precision holds.
                precision = curve["precision"]
                steps = [0, *curve["recall"]], [precision[0], *precision]
            ax.step(*steps, label=line.name, **common.style(line.dash, line.label))
            share = line.metrics["figures"]["present"][label]["value"]
            colour = colours(line.label + 1)[line.label]
            ax.axhline(share, color=colour, ls=":", lw=1)
        ax.set(title=title, xlim=(0, 1), ylim=(0, 1.02))
        ax.set(xlabel="recall", ylabel="precision")
        common.legend(ax)

    return draw


def calibration(title: str, kind: str, lines: Sequence[Line]) -> Panel:
    """Returns a panel of the frequency of labels over their predicted probability.

    The dotted diagonal is a perfect calibration. Empty bins are left out.

    Args:
      title: title.
      kind: `pixels` or `presence`.
      lines: labels, or runs.
    """

    def draw(ax):
        ax.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
        for line in lines:
            label = _labels(line.metrics)[line.label]
            bins = line.metrics["calibration"][kind][label]
            points = np.array([bins["probability"], bins["frequency"]], float)
            points = points[:, np.isfinite(points[0])]
            options = common.style(line.dash, line.label) | _UNCLIPPED
            ax.plot(*points, marker="o", zorder=3, label=line.name, **options)
        ax.set(title=title, xlim=(0, 1), ylim=(0, 1))
        ax.set(xlabel="mean probability", ylabel="frequency")
        ax.yaxis.set_major_formatter(PercentFormatter(1))
        common.legend(ax)

    return draw


def _dice(ax: Axes, values: Mapping) -> None:
    *labels, _ = names = list(values["dice_post"])
    places = np.arange(len(names))
    bar_colours = [*colours(len(labels)), GREY]
    for name, shift, options in (
        ("dice_plain", -0.2, {"color": PAPER, "edgecolor": bar_colours}),
        ("dice_post", 0.2, {"color": bar_colours}),
    ):
        dice = _intervals(values[name])
        ax.bar(places + shift, dice[:, 0], width=0.38, **options)
        ax.errorbar(places + shift, dice[:, 0], _errors(dice), fmt="none", color=INK)
    bars = [
        Patch(facecolor=PAPER, edgecolor=GREY, label="thresholded only"),
        Patch(color=GREY, label="post-processed"),
    ]
    marks = [
        ax.scatter(
            places + shift,
            _intervals(values[name])[:, 0],
            s=28,
            color=PAPER,
            edgecolor=INK,
            marker=marker,
            label=title,
            zorder=3,
            **_UNCLIPPED,
        )
        for shift, (name, (title, marker)) in zip(
            (-0.2, 0, 0.2), _BASELINES.items(), strict=True
        )
    ]
    ax.set_xticks(places, names)
    ax.set(title="Competition's Dice, 95 % intervals", ylim=(0, 1))
    common.legend(ax, [*bars, *marks])


def _masks(ax: Axes, values: Mapping) -> None:
    *labels, _ = values["dice_post"]
    for label, colour in enumerate(colours(len(labels))):
        rows = np.stack([_intervals(values[name])[label] for name in _OF_MASKS])
        places = np.arange(len(rows)) + 0.6 / len(labels) * (
            label - (len(labels) - 1) / 2
        )
        options = {"fmt": "o", "color": colour, **_UNCLIPPED}
        errors = _errors(rows)
        ax.errorbar(rows[:, 0], places, xerr=errors, label=labels[label], **options)
    ax.set_yticks(range(len(_OF_MASKS)), _OF_MASKS.values())
    ax.invert_yaxis()
    ax.set(title="Post-processed masks", xlabel="95 % intervals", xlim=(0, 1))
    ax.grid(axis="x")
    common.legend(ax, ax.containers)


def _confusion(ax: Axes, confusion: Mapping) -> None:
    names = confusion["labels"]
    shares = pd.DataFrame(confusion["shares"], names, names, float)
    texts = [["-" if np.isnan(x) else f"{x:.0%}" for x in row] for row in shares.values]
    common.heat_map(ax, shares.fillna(0), texts, "Pixels, share of the row's")
    ax.set(xlabel="predicted", ylabel="true")


def _labels(metrics: Mapping) -> list[str]:
    return metrics["confusion"]["labels"][:-1]


def _intervals(values: Mapping) -> np.ndarray:
    """Returns float64[C + 1, 3]: value, low and high per label and of the mean."""
    return np.array([[*row.values()] for row in values.values()], float)


def _errors(values: np.ndarray) -> np.ndarray:
    """Returns the distances to low and high, as error bars take them."""
    return np.maximum((values[:, 1:] - values[:, :1]) * [-1, 1], 0).T
