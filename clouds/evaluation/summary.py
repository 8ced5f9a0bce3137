"""The metrics of an evaluation, and the tables that are printed."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from clouds.evaluation import bootstrap, counts, scores
from clouds.evaluation.counts import Bins, Images, Tally

_PRESENCE_BINS = 10
_COLUMNS = {
    "network": "dice_plain",
    "post-processed": "dice_post",
    "all empty": "dice_all_empty",
    "all full": "dice_all_full",
    "best constant": "dice_best_constant",
}
_MORE_COLUMNS = {
    "non-empty": "dice_non_empty_post",
    "TNR": "empty_found_post",
    "empty precision": "empty_right_post",
    "IoU": "iou_post",
    "precision": "precision_post",
    "recall": "recall_post",
    "AP": "average_precision",
    "ECE": "ece_pixels",
}
_NOTE = """\
thresholded: threshold only; all empty to best constant: trivial baselines

Post-processed masks, presence (AP) and calibration of pixels (ECE). TNR: share of empty
masks among images without the label; empty precision: share of images without the
label among those with an empty mask."""


class Summary(NamedTuple):
    """Metrics of an evaluation.

    Attributes:
      metrics: float64[C + 1, 3] by name: value, low and high of each label and of
        their mean.
      images: counts of each image.
      bins: probabilities of `pixels` and of `presence`.
      confusion: float64[C + 1, C + 1], pixels by true and predicted label.
      labels: names of the labels.
    """

    metrics: dict[str, np.ndarray]
    images: Images
    bins: dict[str, Bins]
    confusion: np.ndarray
    labels: tuple[str, ...]


def summarise(
    tally: Tally,
    baselines: Mapping[str, np.ndarray],
    dice_coef: np.ndarray,
    groups: Mapping[str, str] | None = None,
) -> Summary:
    """Computes the metrics of an evaluation.

    Args:
      tally: counts of N images.
      baselines: float64[N, C] by name, the Dice of each image.
      dice_coef: float64[C + 1], the notebook's Dice of each label and of all.
      groups: group of each image by name, which intervals draw; None to draw images.
    """
    images = tally.images
    if groups:
        images = images._replace(groups=[groups[name] for name in images.names])

    def compute(weights):
        total = weights.sum(axis=1, keepdims=True)
        constant = {name: weights @ dice / total for name, dice in baselines.items()}
        return scores.compute(images, weights) | constant

    metrics = bootstrap.intervals(compute, len(images.names), groups=images.groups)
    presence = counts.bins(images.score, images.truth > 0, _PRESENCE_BINS)
    bins = {"pixels": tally.bins, "presence": presence}
    without_interval = {"dice_coef": dice_coef}
    for name, part in bins.items():
        errors = scores.reliability(part)[2]
        without_interval[f"ece_{name}"] = np.append(errors, errors.mean())
    for name, values in without_interval.items():
        metrics[name] = np.pad(
            values[:, None], [[0, 0], [0, 2]], constant_values=np.nan
        )
    confusion = scores.confusion(tally.sets, len(tally.labels))
    return Summary(metrics, images, bins, confusion, tally.labels)


def table(summary: Summary) -> pd.DataFrame:
    """Returns the competition's Dice of the masks and of the trivial baselines.

    The table has a row per label and one for their mean.
    """
    return _values(summary, _COLUMNS)


def text(summary: Summary) -> str:
    """Formats the main metrics as two tables with explanations."""
    dice = table(summary).rename(columns={"network": "thresholded"})
    ends = summary.metrics["dice_post"][:, 1:]
    dice.insert(2, "95 % interval", ["[{:.4f}, {:.4f}]".format(*row) for row in ends])
    more = _values(summary, _MORE_COLUMNS)
    return "\n".join(
        [
            dice.to_string(float_format="{:.4f}".format),
            _NOTE,
            more.to_string(float_format="{:.4f}".format, na_rep="-"),
            "",
            f"The notebook's dice_coef: {summary.metrics['dice_coef'][-1, 0]:.4f}",
        ]
    )


def _values(summary: Summary, columns: Mapping[str, str]) -> pd.DataFrame:
    return pd.DataFrame(
        {title: summary.metrics[name][:, 0] for title, name in columns.items()},
        index=[*summary.labels, "mean"],
    )
