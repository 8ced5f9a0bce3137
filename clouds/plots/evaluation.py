"""Figures of an evaluation and of a tuning, from the contents of their JSON files.

Panels take `metrics.json` and `tuning.json` as `clouds.evaluation.results` and
`clouds.evaluation.tuning.tune` describe them.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from clouds import schema
from clouds.config.rule import Rule, area
from clouds.plots import common
from clouds.plots.common import GREY, INK, PAPER, Panel

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
_SHADED = 0.15
"""Range of Dice below a label's best that the colours of its map span."""

_UNCLIPPED = {"clip_on": False, "in_layout": False}
"""Of points that may be on an edge; unclipped NaNs would upset the layout."""

_SHADES = LinearSegmentedColormap.from_list("shades", ["white", "#999999"])


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
    shown = list(panels(metrics).values())
    shown.insert(2, partial(_confusion, confusion=metrics["confusion"]))
    common.save(common.arrange(shown, columns=3, size=(5, 4.5), title=title), path)


def panels(metrics: Mapping) -> dict[str, Panel]:
    """Returns the panels of an evaluation, without the confusion matrix, by name."""
    values, labels = metrics["figures"], list(enumerate(schema.LABELS))

    def lines(metric):
        return [Line(f"{label}, {metric(label)}", metrics, k, k) for k, label in labels]

    def average_precision(label):
        value = values["average_precision"][label]["value"]
        return "in no image" if value is None else f"AP {value:.3f}"

    shown = {
        "dice": partial(_dice, values=values),
        "masks": partial(_masks, values=values),
        "presence": precision_recall("Presence of labels", lines(average_precision)),
    }
    for kind in ("pixels", "presence"):
        errors = {k: x["value"] for k, x in values[f"ece_{kind}"].items()}
        own = lines(lambda label, errors=errors: f"ECE {errors[label]:.3f}")
        shown[f"calibration_{kind}"] = calibration(f"Calibration of {kind}", kind, own)
    return shown


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
            label = schema.LABELS[line.label]
            curve, steps = line.metrics["precision_recall"][label], ([], [])
            if curve is not None:
                # Up to the first recall, the first precision holds.
                precision = curve["precision"]
                steps = [0, *curve["recall"]], [precision[0], *precision]
            ax.step(*steps, label=line.name, **common.style(line.dash, line.label))
            share = line.metrics["figures"]["present"][label]["value"]
            ax.axhline(share, color=schema.COLOURS[line.label], ls=":", lw=1)
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
            bins = line.metrics["calibration"][kind][schema.LABELS[line.label]]
            points = np.array([bins["probability"], bins["frequency"]], float)
            points = points[:, np.isfinite(points[0])]
            options = common.style(line.dash, line.label) | _UNCLIPPED
            ax.plot(*points, marker="o", zorder=3, label=line.name, **options)
        ax.set(title=title, xlim=(0, 1), ylim=(0, 1))
        ax.set(xlabel="mean probability", ylabel="frequency")
        ax.yaxis.set_major_formatter(PercentFormatter(1))
        common.legend(ax)

    return draw


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
    return [partial(_map, tuned=tuned, label=k) for k in range(len(schema.LABELS))]


def _map(ax: Axes, tuned: Mapping, label: int) -> None:
    grid, chosen = tuned["maps"], Rule(**tuned["rule"])
    name, areas, thresholds = (
        schema.LABELS[label],
        grid["min_sizes"],
        grid["thresholds"],
    )
    dice = np.array(grid["dice"][name])
    # Values far below the best would take the colours of those close to it.
    colours = {"cmap": "cividis", "vmin": dice.max() - _SHADED, "vmax": dice.max()}
    extent = [*_edges(areas), *_edges(thresholds)]
    place = {"extent": extent, "origin": "lower", "aspect": "auto"}
    image = ax.imshow(dice, interpolation="none", **place, **colours)
    bar = ax.figure.colorbar(image, ax=ax, format="%.2f", extend="min")
    bar.solids.set_rasterized(True)
    marks = [
        _mark(ax, rule.thresholds[label], rule.min_sizes[label], areas[-1], *style)
        for rule, *style in ((Rule(), "default", "o", 7), (chosen, "chosen", "*", 13))
    ]
    ax.set(xlim=extent[:2], ylim=extent[2:], ylabel="threshold")
    ax.set_xlabel("minimum area, pixels of 350x525")
    rule = chosen.describe_label(label).replace(", area", ",\narea")
    ax.set_title(f"{name}\n{rule}")
    common.legend(ax, marks)


def _edges(values: Sequence[float]) -> tuple[float, float]:
    half = (values[1] - values[0]) / 2
    return values[0] - half, values[-1] + half


def _mark(ax: Axes, threshold, size, largest, name: str, marker: str, points: int):
    """Marks a rule, with an arrow at the edge if its area is beyond the axis."""
    colours = {"color": "white", "markeredgecolor": "black"}
    if size > largest:
        ax.annotate(
            f"{name}: {area(size)}",
            (largest, threshold),
            (-8, 0),
            textcoords="offset points",
            ha="right",
            va="center",
            color="black",
            bbox={"facecolor": "white", "alpha": 0.85, "pad": 1.5, "edgecolor": "none"},
        )
        size, marker, points = largest, ">", 9
    options = {"linestyle": "", "marker": marker, "markersize": points, "label": name}
    return ax.plot([size], [threshold], clip_on=False, **options, **colours)[0]


def _dice(ax: Axes, values: Mapping) -> None:
    places = np.arange(len(schema.LABELS) + 1)
    colours = [*schema.COLOURS, GREY]
    for name, shift, options in (
        ("dice_plain", -0.2, {"color": PAPER, "edgecolor": colours}),
        ("dice_post", 0.2, {"color": colours}),
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
    ax.set_xticks(places, [*schema.LABELS, "mean"])
    ax.set(title="Competition's Dice, 95 % intervals", ylim=(0, 1))
    common.legend(ax, [*bars, *marks])


def _masks(ax: Axes, values: Mapping) -> None:
    for label, colour in enumerate(schema.COLOURS):
        rows = np.stack([_intervals(values[name])[label] for name in _OF_MASKS])
        places = np.arange(len(rows)) + 0.15 * (label - 1.5)
        options = {"fmt": "o", "color": colour, **_UNCLIPPED}
        name = schema.LABELS[label]
        ax.errorbar(rows[:, 0], places, xerr=_errors(rows), label=name, **options)
    ax.set_yticks(range(len(_OF_MASKS)), _OF_MASKS.values())
    ax.invert_yaxis()
    ax.set(title="Post-processed masks", xlabel="95 % intervals", xlim=(0, 1))
    ax.grid(axis="x")
    common.legend(ax, ax.containers)


def _confusion(ax: Axes, confusion: Mapping) -> None:
    shares = np.array(confusion["shares"], float)
    ax.imshow(shares, cmap=_SHADES, vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        text = f"{share:.0%}" if np.isfinite(share) else "-"
        ax.text(column, row, text, ha="center", va="center")
    places = range(len(shares))
    ax.set_xticks(places, confusion["labels"])
    ax.set_yticks(places, confusion["labels"])
    ax.set(title="Pixels, share of the row's", xlabel="predicted", ylabel="true")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _intervals(values: Mapping) -> np.ndarray:
    """Returns float64[C + 1, 3]: value, low and high per label and of the mean."""
    return np.array([[*row.values()] for row in values.values()], float)


def _errors(values: np.ndarray) -> np.ndarray:
    """Returns the distances to low and high, as error bars take them."""
    return np.maximum((values[:, 1:] - values[:, :1]) * [-1, 1], 0).T
