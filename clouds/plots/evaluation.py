"""Pictures of an evaluation and of a tuning, in the labels' colours.

Figures are float64[C + 1, 3]: value, low and high of each label and of their mean.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from clouds import schema
from clouds.config import rule as rule_of
from clouds.config.rule import Rule
from clouds.plots import common

_GREY = "#666666"
_BASELINES = {"all_empty": ("all empty", "v"), "best_constant": ("best constant", "D")}
_BASELINES["all_full"] = ("all full", "^")
_OF_MASKS = {
    "dice_non_empty": "Dice,\nnon-empty",
    "empty_found": "empty\nfound",
    "empty_right": "empty\nright",
    "iou": "IoU",
    "precision": "precision",
    "recall": "recall",
}
_SHOWN = 0.15
"""Dice below the best of a label that the shades of its map span."""

_WHOLE = {"clip_on": False, "in_layout": False}
"""Of points that may lie on an edge; NaNs, if not clipped, would upset the layout."""

_SHADES = LinearSegmentedColormap.from_list("shades", ["white", "#999999"])


def evaluation(
    figures: Mapping[str, np.ndarray],
    curves: Sequence[tuple[np.ndarray, np.ndarray] | None],
    reliability: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    confusion: np.ndarray,
    path: Path,
    *,
    title: str,
) -> None:
    """Draws what an evaluation came to, in six panels.

    Args:
      figures: by name, as `metrics.json` has them.
      curves: precision and recall of each label's presence, float[K] each; None of a
        label that no image has.
      reliability: of pixels and of presence what `scores.reliability` returns.
      confusion: float[C + 1, C + 1], from `scores.confusion`.
      path: of the picture; its ending tells the format.
      title: a line above all panels.
    """
    figure = Figure(figsize=(15, 9), layout="constrained")
    figure.suptitle(title)
    figure.get_layout_engine().set(w_pad=0.1, h_pad=0.1)
    axes = figure.subplots(2, 3)
    _dice(axes[0, 0], figures)
    _of_masks(axes[0, 1], figures)
    _confusion(axes[0, 2], confusion)
    _presence(axes[1, 0], figures, curves)
    _reliability(axes[1, 1], *reliability["pixels"], "Calibration of pixels")
    _reliability(axes[1, 2], *reliability["presence"], "Calibration of presence")
    common.legend(figure)
    common.save(figure, path)


def tuning(
    grid: np.ndarray,
    thresholds: Sequence[float],
    sizes: Sequence[int],
    chosen: Rule,
    path: Path,
) -> None:
    """Draws the mean Dice by threshold and minimum area, a heat map a label.

    Args:
      grid: float[C, T, A], without tops.
      thresholds: T of them.
      sizes: A of them, in pixels of the submission's grid.
      chosen: by the tuning; where its area lies beyond `sizes`, an arrow points
        there, with the area beside it.
      path: of the picture; its ending tells the format.
    """
    figure = Figure(figsize=(15, 4.7), layout="constrained")
    figure.get_layout_engine().set(w_pad=0.1)
    axes = figure.subplots(1, len(grid), sharey=True)
    colours = {"color": "white", "markeredgecolor": "black"}
    default = {**colours, "marker": "o", "markersize": 7, "label": "default"}
    star = {**colours, "marker": "*", "markersize": 13, "label": "chosen"}
    for label, ax in enumerate(axes):
        # What is far from the best would take the shades of what is near.
        best = grid[label].max()
        shades = {"cmap": "cividis", "vmin": best - _SHOWN, "vmax": best}
        image = ax.pcolormesh(sizes, thresholds, grid[label], **shades)
        figure.colorbar(image, ax=ax, format="%.2f", extend="min")
        for rule, mark in ((Rule(), default), (chosen, star)):
            _mark(ax, rule.thresholds[label], rule.min_sizes[label], sizes[-1], mark)
        ax.set(xlim=(sizes[0], sizes[-1]), ylim=(thresholds[0], thresholds[-1]))
        title = f"{schema.LABELS[label]}\n{chosen.of_label(label)}"
        ax.set_title(title, color=schema.COLOURS[label], fontsize="medium")
        ax.set_xlabel("minimum area, pixels of 350x525")
    axes[0].set_ylabel("threshold")
    handles = [Line2D([], [], linestyle="", **mark) for mark in (default, star)]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    title = "Mean Dice by threshold and minimum area, without a top"
    if chosen.tops and any(chosen.tops):
        title += "; with a top, the chosen rule's score is not the map's"
    figure.suptitle(title)
    common.save(figure, path)


def _mark(ax: Axes, threshold, size, last, mark) -> None:
    """Marks a rule, or with an arrow where it lies when that is beyond the axis."""
    if size > last:
        arrow = {**mark, "marker": ">", "markersize": 9}
        box = {"facecolor": "white", "alpha": 0.85, "pad": 1.5, "edgecolor": "none"}
        options = {"textcoords": "offset points", "ha": "right", "va": "center"}
        text = f"{mark['label']}: {rule_of.area(size)}"
        ax.annotate(text, (last, threshold), (-8, 0), bbox=box, **options)
        ax.plot([last], [threshold], clip_on=False, **arrow)
    else:
        ax.plot([size], [threshold], clip_on=False, **mark)


def _dice(ax: Axes, figures) -> None:
    places = np.arange(len(schema.LABELS) + 1)
    colours = [*schema.COLOURS, _GREY]
    for kind, shift, options in (
        ("plain", -0.2, {"color": "white", "edgecolor": colours}),
        ("post", 0.2, {"color": colours}),
    ):
        values = figures[f"dice_{kind}"]
        ax.bar(places + shift, values[:, 0], width=0.38, **options)
        ax.errorbar(
            places + shift, values[:, 0], _ends(values), fmt="none", color="black"
        )
    for shift, (name, (title, marker)) in zip(
        (-0.2, 0, 0.2), _BASELINES.items(), strict=True
    ):
        values = figures[f"dice_{name}"][:, 0]
        options = {
            "color": "white",
            "edgecolor": "black",
            "marker": marker,
            "zorder": 3,
            **_WHOLE,
        }
        ax.scatter(places + shift, values, s=28, label=title, **options)
    ax.set_xticks(places, [*schema.LABELS, "mean"])
    ax.set(title="Competition's Dice, 95 % intervals", ylim=(0, 1))
    bars = [
        Patch(facecolor="white", edgecolor=_GREY, label="network"),
        Patch(color=_GREY, label="post-processed"),
    ]
    handles = bars + ax.get_legend_handles_labels()[0]
    options = {"fontsize": "small", "frameon": False, "loc": "upper center"}
    ax.legend(handles=handles, ncols=3, bbox_to_anchor=(0.5, -0.08), **options)
    _bare(ax)


def _of_masks(ax: Axes, figures) -> None:
    for label, colour in enumerate(schema.COLOURS):
        values = np.stack([figures[f"{name}_post"][label] for name in _OF_MASKS])
        places = np.arange(len(values)) + 0.15 * (label - 1.5)
        options = {"fmt": "o", "color": colour, **_WHOLE}
        ax.errorbar(places, values[:, 0], _ends(values), **options)
    ax.set_xticks(range(len(_OF_MASKS)), _OF_MASKS.values(), fontsize="small")
    ax.set(title="Post-processed masks, 95 % intervals", ylim=(0, 1))
    ax.grid(axis="y", color="#dddddd")
    _bare(ax)


def _confusion(ax: Axes, confusion) -> None:
    whole = confusion.sum(axis=1, keepdims=True)
    shares = confusion / np.where(whole > 0, whole, np.nan)
    names = [*schema.LABELS, "none"]
    ax.imshow(shares, cmap=_SHADES, vmin=0, vmax=1, aspect="auto")
    for (row, column), share in np.ndenumerate(shares):
        text = f"{share:.0%}" if np.isfinite(share) else "-"
        ax.text(column, row, text, ha="center", va="center")
    ax.set_xticks(range(len(names)), names)
    ax.set_yticks(range(len(names)), names)
    ax.set(title="Pixels, share of the row's", xlabel="predicted", ylabel="true")
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _presence(ax: Axes, figures, curves) -> None:
    for label, curve in enumerate(curves):
        colour, average = schema.COLOURS[label], figures["average_precision"][label, 0]
        steps = [], []
        if curve is not None:
            precision, recall = curve
            # From no image on: before the first ones taken, their precision holds.
            steps = np.append(0, recall), np.append(precision[0], precision)
        name = "in no image" if curve is None else f"AP {average:.3f}"
        ax.step(*steps, color=colour, label=name)
        share = figures["present"][label, 0]
        ax.axhline(share, color=colour, linestyle=":", linewidth=1)
    ax.set(title="Presence of labels (dotted: how often)", xlim=(0, 1), ylim=(0, 1.02))
    ax.set(xlabel="recall", ylabel="precision")
    _legend_below(ax)
    _bare(ax)


def _reliability(ax: Axes, probability, frequency, error, title: str) -> None:
    ax.plot([0, 1], [0, 1], color=_GREY, linestyle=":", linewidth=1)
    for label, colour in enumerate(schema.COLOURS):
        there = np.isfinite(probability[label])
        place = probability[label, there], frequency[label, there]
        name = f"ECE {error[label]:.3f}"
        options = {"color": colour, "markersize": 4, "label": name}
        ax.plot(*place, "o-", zorder=3, **_WHOLE, **options)
    ax.set(title=title, xlim=(0, 1), ylim=(0, 1))
    ax.set(xlabel="mean probability", ylabel="share that is of the label")
    ax.yaxis.set_major_formatter(PercentFormatter(1))
    _legend_below(ax)
    _bare(ax)


def _legend_below(ax: Axes) -> None:
    """Names the lines where none can lie, below the title of the x axis."""
    options = {"fontsize": "small", "frameon": False, "loc": "upper center"}
    options |= {"handlelength": 1.5, "columnspacing": 1.5}
    ax.legend(ncols=len(schema.LABELS), bbox_to_anchor=(0.5, -0.15), **options)


def _ends(values):
    """Distances to low and high, as error bars want them."""
    return np.maximum((values[:, 1:] - values[:, :1]) * [-1, 1], 0).T


def _bare(ax: Axes) -> None:
    ax.spines[["top", "right"]].set_visible(False)
