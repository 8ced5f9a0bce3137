"""The files of an evaluation: `write` and `read`.

`metrics.txt` has the text that is printed, `metrics.png` the panels of
`clouds.plots.evaluation`, `metrics.csv` the metrics with a row per label and one for
their mean. `metrics_images.csv` has a row per image and label: Dice, the areas of the
true, the thresholded (plain) and the post-processed mask and what the latter two share
with the first, in pixels of the submission's grid, and the score of the label's
presence (`postprocess.presence`). `metrics.json` has:

    split, images, records, sha256, folds, runs, weights, flips   what was evaluated:
                       sha256 is the records', weights are the runs' own
    rule               the post-processing rule
    rule_source        default, tuned (postprocess.json), flags, or tuned and flags
    tuned_on_these_images   whether it was, in which case its Dice is optimistic
    settings           those of bin/evaluate, as --print-config prints them
    dice_coef          the notebook's Dice: soft, at the network's size, pooled over
                       each batch, then averaged over batches
    mean_dice          the first table that is printed: {column: {label or mean: Dice}}
    figures            the metrics: {name: {label or mean: {value, low, high}}}
    precision_recall   {label: {precision, recall, score}}: lists by falling score, of
                       at most 101 points; null for a label that no image has
    calibration        {pixels or presence: {edges, label: {count, probability,
                       frequency}}}: of bins of equal width, between the edges
    confusion          {labels, pixels, shares}: rows by true label, columns by
                       post-processed prediction, the last of each none
                       (`scores.confusion`); shares are of the row
    images_sha256      SHA-256 of metrics_images.csv
    checksum           SHA-256 of the other fields (`clouds.runtime.checksums`)

Metrics with `_plain` are of thresholded masks, the column `network`; with `_post` of
post-processed ones. `low` and `high` are 95 % intervals by the bootstrap over images,
null where there is none. `scores.compute` defines most metrics. Also there are
`dice_all_empty`, `dice_all_full` and `dice_best_constant`, `dice_coef` of each label
alone and of all, and `ece_pixels` and `ece_presence`, expected calibration errors.
A metric that is not defined, such as the recall of a label that no image has, is
null, and is left out of the mean.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from clouds.errors import InputError
from clouds.evaluation import bootstrap, scores, summary
from clouds.evaluation.counts import Bins, Images
from clouds.evaluation.summary import Summary
from clouds.plots.evaluation import draw_evaluation
from clouds.runs import run_facts, run_folder
from clouds.runtime import checksums, files
from clouds.runtime.json_types import NUMBER
from clouds.text import counted

JSON, TEXT, PICTURE = "metrics.json", "metrics.txt", "metrics.png"
LABELS, IMAGES = "metrics.csv", "metrics_images.csv"
FILES = (JSON, TEXT, PICTURE, LABELS, IMAGES)
"""Names of all files that `write` writes."""

_CURVE_POINTS = 101
_IMAGE_COLUMNS = {
    "truth": "true_area",
    "plain": "plain_area",
    "plain_shared": "plain_shared",
    "post": "post_area",
    "post_shared": "post_shared",
    "score": "score",
}
"""Columns of metrics_images.csv by the fields of `Images`."""


_CURVE = {"precision": [NUMBER], "recall": [NUMBER], "score": [NUMBER]}
_TYPES = {
    "split": str,
    "images": int,
    "records": str,
    "sha256": str,
    "folds": [(int, None)],
    "runs": [str],
    "weights?": [str],
    "flips": bool,
    "rule": {"thresholds": [NUMBER], "min_sizes": [NUMBER]},
    "rule_source": str,
    "tuned_on_these_images": bool,
    "figures": run_folder.DICE,
    "precision_recall": {str: (_CURVE, None)},
    "calibration": {str: {"edges": [NUMBER]}},
    "confusion": {"labels": [str], "pixels": [[NUMBER]]},
}


class Evaluation(NamedTuple):
    """Evaluation of N images, as read from its files.

    Attributes:
      folder: folder of the files.
      facts: contents of metrics.json.
      images: counts of each image.
    """

    folder: str
    facts: dict
    images: Images

    @property
    def labels(self) -> list[str]:
        """Names of the labels."""
        return self.facts["confusion"]["labels"][:-1]


def write(measured: Summary, facts: Mapping, printed: str, out: Path) -> None:
    """Writes the files of an evaluation.

    Args:
      measured: metrics.
      facts: further fields of metrics.json.
      printed: contents of metrics.txt.
      out: folder.
    """
    fields = _jsonable(
        {
            **facts,
            "dice_coef": measured.metrics["dice_coef"][-1, 0],
            "mean_dice": summary.table(measured).to_dict(),
            "figures": bootstrap.named(measured.metrics, measured.labels),
            "precision_recall": _curves(measured),
            "calibration": {
                name: _calibration(bins, measured.labels)
                for name, bins in measured.bins.items()
            },
            "confusion": _confusion(measured),
        }
    )
    files.write(out / TEXT, printed)
    files.write(out / LABELS, _label_table(measured).to_csv(index_label="label"))
    files.write(out / IMAGES, _image_table(measured).to_csv(index=False))
    fields["images_sha256"] = files.checksum(out / IMAGES)
    checksums.write_json(out / JSON, fields)
    title = f"{counted(facts['images'], 'image')} of the {facts['split']} split"
    draw_evaluation(fields, out / PICTURE, title=title)


def read(folder: str) -> Evaluation | None:
    """Reads an evaluation; None if the folder has none.

    Args:
      folder: folder of a run, or of `bin/evaluate --out`.

    Raises:
      InputError: its files are damaged, or of another version.
    """
    path, table = Path(folder, JSON), Path(folder, IMAGES)
    if not path.is_file():
        return None
    try:
        facts = checksums.read_json(path, _TYPES)
        if facts.get("images_sha256", files.checksum(table)) != files.checksum(table):
            raise ValueError(f"{table.name} has changed")
        labels = facts["confusion"]["labels"][:-1]
        rows = pd.read_csv(table, dtype={"image": str, "label": str, "group": str})
        images = _images(rows, labels)
        if len(images.names) != facts["images"] or not facts["figures"]:
            raise ValueError(f"{len(images.names)} images instead of {facts['images']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} or {table.name} is damaged or of another version ({error}). "
            "Run bin/evaluate again."
        ) from error
    return Evaluation(folder, facts, images)


def predicted_alike(facts: dict, tuned_on: dict) -> bool:
    """Returns whether an evaluation and a tuning averaged as many runs and views.

    Args:
      facts: facts of an evaluation.
      tuned_on: facts of the images of a tuning.
    """
    one, other = ((len(each["runs"]), each["flips"]) for each in (facts, tuned_on))
    return one == other


def outdated(facts: dict, runs: Iterable[str]) -> list[str]:
    """Finds runs whose weights have changed since they were evaluated.

    Args:
      facts: facts of an evaluation, or of the images of a tuning.
      runs: present folders of its runs, in the same order.

    Returns:
      Their folders, without runs whose weights are unknown or missing.
    """
    pairs = zip(runs, facts.get("weights", ()), strict=False)
    return [
        folder
        for folder, checksum in pairs
        if Path(folder, run_folder.WEIGHTS).is_file()
        and files.checksum(Path(folder, run_folder.WEIGHTS)) != checksum
    ]


def other_records_warnings(runs: Iterable[str], sha256: str) -> list[str]:
    """Warns of runs that may have been trained on the images of an evaluation.

    Args:
      runs: their folders.
      sha256: checksum of the records that they are evaluated on.

    Returns:
      A sentence per run that was trained on other records.

    Raises:
      InputError: the facts of a run are damaged.
    """
    records = {run: run_facts.read(run).get("records") for run in runs}
    return [
        f"{run} was trained on other records, {known['folder']}, which may contain "
        "these images."
        for run, known in records.items()
        if known and known["sha256"] != sha256
    ]


def _curves(measured: Summary) -> dict:
    curves, images = {}, measured.images
    for k, label in enumerate(measured.labels):
        present, curves[label] = images.truth[:, k] > 0, None
        if present.any():
            parts = scores.precision_recall(present, images.score[:, k])
            rows = np.linspace(0, len(parts[0]) - 1, _CURVE_POINTS).round()
            rows = np.unique(rows.astype(int))
            keys = ("precision", "recall", "score")
            columns = zip(keys, parts, strict=True)
            curves[label] = {key: part[rows] for key, part in columns}
    return curves


def _calibration(bins: Bins, labels: Sequence[str]) -> dict:
    edges = np.linspace(0, 1, bins.count.shape[1] + 1)
    columns = bins.count, *scores.reliability(bins)[:2]
    keys = ("count", "probability", "frequency")
    rows = (dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True))
    return {"edges": edges, **dict(zip(labels, rows, strict=True))}


def _confusion(measured: Summary) -> dict:
    pixels = measured.confusion
    total = pixels.sum(axis=1, keepdims=True)
    shares = pixels / np.where(total > 0, total, np.nan)
    return {"labels": [*measured.labels, "none"], "pixels": pixels, "shares": shares}


def _label_table(measured: Summary) -> pd.DataFrame:
    columns = {}
    for name, values in measured.metrics.items():
        columns[name] = values[:, 0]
        for key, ends in zip(("low", "high"), values.T[1:], strict=True):
            if not np.isnan(ends).all():
                columns[f"{name}_{key}"] = ends
    return pd.DataFrame(columns, index=[*measured.labels, "mean"])


def _image_table(measured: Summary) -> pd.DataFrame:
    images, labels = measured.images, measured.labels
    columns = {
        "image": np.repeat(images.names, len(labels)),
        "label": np.tile(labels, len(images.names)),
    }
    if images.groups:
        columns["group"] = np.repeat(images.groups, len(labels))
    for kind in ("plain", "post"):
        areas = getattr(images, kind), getattr(images, f"{kind}_shared")
        columns[f"dice_{kind}"] = scores.dice(images.truth, *areas).reshape(-1)
    for field, column in _IMAGE_COLUMNS.items():
        columns[column] = getattr(images, field).reshape(-1)
    return pd.DataFrame(columns)


def _images(rows: pd.DataFrame, labels: list[str]) -> Images:
    count = len(labels)
    if rows["label"].tolist() != labels * (len(rows) // count):
        raise ValueError("labels in another order")
    names = rows["image"][::count].tolist()
    if not all(isinstance(name, str) for name in names):
        raise ValueError("an image without a name")
    fields = {
        field: rows[column]
        .to_numpy(float if field == "score" else np.int64)
        .reshape(-1, count)
        for field, column in _IMAGE_COLUMNS.items()
    }
    groups = rows["group"][::count].tolist() if "group" in rows else None
    return Images(names=names, **fields, groups=groups)


def _jsonable(value):
    """Converts arrays to lists, and NaN, which JSON does not have, to None."""
    if isinstance(value, Mapping):
        return {key: _jsonable(part) for key, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_jsonable(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
