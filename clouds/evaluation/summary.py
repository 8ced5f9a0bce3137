"""What an evaluation leaves: figures as text, json, csv and a picture.

`metrics.txt`, what is printed; `metrics.png`; `metrics.csv`, the figures, a row a
label and one for their mean; `metrics_images.csv`, a row an image and label: Dice,
the areas of the true, the plain and the post-processed mask and what the latter two
share with the first, in pixels of 350x525, and the score of the label's presence
(`postprocess.presence`). And `metrics.json`:

    split, images, records, sha256, folds, runs, weights, flips   what was measured:
                       sha256 is the records', weights are the runs' own
    rule               by which masks were drawn
    rule_source        default, tuned (postprocess.json), flags, or tuned and flags
    tuned_on_these_images   if it was: what it draws then looks better than it is
    settings           those of bin/evaluate, as --print-config prints them
    dice_coef          the notebook's Dice: soft, at the network's size, pooled over
                       each batch, then averaged over batches
    mean_dice          the table that is printed: {column: {label or mean: Dice}}
    figures            {name: {label or mean: {value, low, high}}}
    precision_recall   {label: {precision, recall, score}}: lists by falling score, of
                       at most 101 points; null for a label that no image has
    calibration        {pixels or presence: {edges, label: {count, probability,
                       frequency}}}: of bins of equal width, between the edges
    confusion          {labels, pixels, shares}: rows by true label, columns by
                       post-processed prediction, the last of each none
                       (`scores.confusion`); shares are of the row

Figures with `_plain` are of thresholded masks, the column `network`; with `_post` of
post-processed ones. `low` and `high` are 95 % intervals by the bootstrap over images,
null where there is none. `scores.figures` says what each is; besides there are
`dice_all_empty`, `dice_all_full` and `dice_best_constant`, `dice_coef` of each label
alone and of all, and `ece_pixels` and `ece_presence`, expected calibration errors.
What is not defined, such as the recall of a label that no image has, is null, and
left out of the mean.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from clouds import schema
from clouds.evaluation import counts, scores
from clouds.evaluation.counts import Bins, Images, Tally
from clouds.plots import evaluation
from clouds.runtime import files
from clouds.text import counted

JSON, TEXT = "metrics.json", "metrics.txt"
LABELS, IMAGES = "metrics.csv", "metrics_images.csv"
PICTURE = "metrics.png"

_PRESENCE_BINS = 10
_POINTS = 101
_COLUMNS = {
    "network": "dice_plain",
    "post-processed": "dice_post",
    "all empty": "dice_all_empty",
    "all full": "dice_all_full",
    "best constant": "dice_best_constant",
}
_MORE = {
    "non-empty": "dice_non_empty_post",
    "empty found": "empty_found_post",
    "empty right": "empty_right_post",
    "IoU": "iou_post",
    "precision": "precision_post",
    "recall": "recall_post",
    "AP": "average_precision",
    "ECE": "ece_pixels",
}


class Summary(NamedTuple):
    """What was found.

    Attributes:
      figures: float64[C + 1, 3] by name: value, low and high of each label and of
        their mean.
      images: the numbers of each image.
      bins: of `pixels` and of `presence`, by probability.
      confusion: float64[C + 1, C + 1], pixels by true and predicted label.
    """

    figures: dict[str, np.ndarray]
    images: Images
    bins: dict[str, Bins]
    confusion: np.ndarray


def summarise(
    counted: Tally, baselines: Mapping[str, np.ndarray], soft: np.ndarray
) -> Summary:
    """Works out the figures of what was counted.

    Args:
      counted: of N images.
      baselines: float64[N, C] by name, the Dice of each image.
      soft: float64[C + 1], the notebook's Dice of each label and of all.

    Returns:
      The summary.
    """
    images = counted.images
    present = counts.bins(images.score, images.truth > 0, _PRESENCE_BINS)

    def compute(weights):
        total = weights.sum(axis=1, keepdims=True)
        constant = {name: weights @ dice / total for name, dice in baselines.items()}
        return scores.figures(images, weights) | constant

    found = scores.intervals(compute, len(images.names))
    bins = {"pixels": counted.bins, "presence": present}
    alone = {"dice_coef": soft}
    for name, each in bins.items():
        errors = scores.reliability(each)[2]
        alone[f"ece_{name}"] = np.append(errors, errors.mean())
    for name, values in alone.items():
        found[name] = np.stack([values, *np.full((2, len(values)), np.nan)], axis=1)
    return Summary(found, images, bins, scores.confusion(counted.sets))


def table(summary: Summary) -> pd.DataFrame:
    """The competition's Dice of the masks and of the baselines.

    Args:
      summary: what was found.

    Returns:
      A row a label and one for their mean.
    """
    return _columns(summary, _COLUMNS)


def text(summary: Summary) -> str:
    """Tells the figures that matter most.

    Args:
      summary: what was found.

    Returns:
      Two tables, and what some of it means.
    """
    shown = table(summary)
    ends = summary.figures["dice_post"][:, 1:]
    shown.insert(2, "95 % interval", ["[{:.4f}, {:.4f}]".format(*row) for row in ends])
    number = "{:.4f}".format
    return "\n".join(
        [
            shown.to_string(float_format=number),
            "network: all above the rule's thresholds; post-processed: what its other "
            "limits leave",
            "",
            "Post-processed masks, presence (AP) and calibration of pixels (ECE):",
            _columns(summary, _MORE).to_string(float_format=number, na_rep="-"),
            "",
            f"The notebook's dice_coef: {summary.figures['dice_coef'][-1, 0]:.4f}",
        ]
    )


def write(summary: Summary, facts: Mapping, described: str, out: Path) -> None:
    """Writes the files.

    Args:
      summary: what was found.
      facts: what else `metrics.json` has.
      described: what `metrics.txt` is to have.
      out: the folder.
    """
    images = summary.images
    present = images.truth > 0
    curves = [
        scores.precision_recall(there, score) if there.any() else None
        for there, score in zip(present.T, images.score.T, strict=True)
    ]
    reliability = {name: scores.reliability(b) for name, b in summary.bins.items()}
    files.write(str(out / TEXT), described)
    of_labels = _of_labels(summary.figures)
    files.write(str(out / LABELS), of_labels.to_csv(index_label="label"))
    files.write(str(out / IMAGES), _of_images(images).to_csv(index=False))
    fields = {
        **facts,
        "dice_coef": summary.figures["dice_coef"][-1, 0],
        "mean_dice": table(summary).to_dict(),
        "figures": scores.named(summary.figures),
        "precision_recall": scores.by_label([_thinned(curve) for curve in curves]),
        "calibration": {
            name: _calibration(bins, *reliability[name][:2])
            for name, bins in summary.bins.items()
        },
        "confusion": _confusion(summary.confusion),
    }
    files.write_json(out / JSON, _jsonable(fields))
    evaluation.evaluation(
        summary.figures,
        [curve and curve[:2] for curve in curves],
        reliability,
        summary.confusion,
        out / PICTURE,
        title=f"{counted(facts['images'], 'image')} of the {facts['split']} split",
    )


def _columns(summary, names):
    return pd.DataFrame(
        {title: summary.figures[name][:, 0] for title, name in names.items()},
        index=[*schema.LABELS, "mean"],
    )


def _of_labels(found):
    columns = {}
    for name, values in found.items():
        keys = (name, f"{name}_low", f"{name}_high")
        columns |= {
            key: column
            for key, column in zip(keys, values.T, strict=True)
            if not np.isnan(column).all() or key == name
        }
    return pd.DataFrame(columns, index=[*schema.LABELS, "mean"])


def _of_images(images: Images) -> pd.DataFrame:
    def dice(area, shared):
        return scores.dice(images.truth, area, shared)

    columns = {
        "dice_plain": dice(images.plain, images.plain_shared),
        "dice_post": dice(images.post, images.post_shared),
        "true_area": images.truth,
        "plain_area": images.plain,
        "plain_shared": images.plain_shared,
        "post_area": images.post,
        "post_shared": images.post_shared,
        "score": images.score,
    }
    rows = {name: values.reshape(-1) for name, values in columns.items()}
    count = len(schema.LABELS)
    names = {"image": np.repeat(images.names, count)}
    names["label"] = np.tile(schema.LABELS, len(images.names))
    return pd.DataFrame(names | rows)


def _thinned(curve):
    if curve is None:
        return None
    last = len(curve[0]) - 1
    kept = np.unique(np.linspace(0, last, min(_POINTS, last + 1)).round().astype(int))
    keys = ("precision", "recall", "score")
    return {key: part[kept] for key, part in zip(keys, curve, strict=True)}


def _calibration(bins: Bins, probability, frequency) -> dict:
    count = bins.count.shape[1]
    of_labels = {
        label: {
            "count": bins.count[k],
            "probability": probability[k],
            "frequency": frequency[k],
        }
        for k, label in enumerate(schema.LABELS)
    }
    return {"edges": np.linspace(0, 1, count + 1), **of_labels}


def _confusion(pixels) -> dict:
    whole = pixels.sum(axis=1, keepdims=True)
    shares = pixels / np.where(whole > 0, whole, np.nan)
    names = [*schema.LABELS, "none"]
    return {"labels": names, "pixels": pixels, "shares": shares}


def _jsonable(value):
    """Arrays as lists, and null for what is not defined, which JSON cannot write."""
    if isinstance(value, Mapping):
        return {key: _jsonable(part) for key, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_jsonable(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
