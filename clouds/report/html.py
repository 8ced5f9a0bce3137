"""Web pages of one file, from templates.

A page loads nothing from elsewhere and runs no script. All text is escaped.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import markupsafe
import pandas as pd

from clouds.errors import InputError
from clouds.plots import common
from clouds.runtime import files
from clouds.schema import colours
from clouds.text import counted, decimal

LARGEST = 15_000_000
"""Maximum size of a page in bytes: small enough to be mailed and opened on a phone."""

METRICS = {
    "dice_post": (
        "Competition's Dice, post-processed",
        "twice the area that truth and prediction share, divided by the sum of their "
        "areas; 1 where both are empty; mean over images",
    ),
    "dice_plain": (
        "Competition's Dice, thresholded only",
        "the same before the other steps of post-processing",
    ),
    "dice_non_empty_post": (
        "Dice, non-empty",
        "mean over the images with the label only",
    ),
    "empty_found_post": (
        "True-negative rate",
        "share of empty masks among images without the label",
    ),
    "empty_right_post": (
        "Precision of empty predictions",
        "share of images without the label among those with an empty mask",
    ),
    "iou_post": (
        "IoU",
        "intersection over union of truth and prediction, all images pooled",
    ),
    "precision_post": ("Precision", "share of predicted pixels that have the label"),
    "recall_post": ("Recall", "share of the label's pixels that are predicted"),
    "average_precision": (
        "AP of presence",
        "average precision of finding images with the label by their score: the area "
        "under the precision-recall curve",
    ),
}
"""Names and definitions of the metrics that pages show."""

_HEAD = 1000
"""Bytes at the start of a page that contain its generator."""


def check(template: str, path: Path) -> None:
    """Checks that a page replaces nothing but an earlier page of the same template.

    Args:
      template: name of the template.
      path: page to write.

    Raises:
      InputError: something else is there.
    """
    mark = f'content="{_generator(template)}"'.encode()
    is_earlier = path.is_file() and mark in path.read_bytes()[:_HEAD]
    if path.exists() and not is_earlier:
        raise InputError(
            f"'{path}' exists, and {_generator(template)} did not write it. Give "
            "another --out, or move it away."
        )


def write(template: str, path: Path, labels: Sequence[str], **fields) -> int:
    """Renders a template to a file.

    Args:
      template: name of the template in clouds/report/templates.
      path: page to write.
      labels: names of the labels.
      **fields: variables of the template.

    Returns:
      The size of the page in bytes.

    Raises:
      InputError: the page would exceed 15 MB.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clouds.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (cell, number, interval, counted, svg)
    environment.filters |= {f.__name__: f for f in filters}
    environment.globals |= {
        "generator": _generator(template),
        "labels": labels,
        "names": [*labels, "mean"],
        "colours": colours(len(labels)),
        "metrics": METRICS,
    }
    page = environment.get_template(template).render(fields).encode()
    if len(page) > LARGEST:
        raise InputError(
            f"{path} would have {len(page) / 1e6:.1f} MB, more than the "
            f"{LARGEST / 1e6:g} MB allowed. Show fewer images (--gallery)."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    files.write(path, page)
    return len(page)


def svg(panel: common.Panel) -> markupsafe.Markup:
    """Renders a panel."""
    return markupsafe.Markup(common.svg(panel))


def number(value: float | None, sign: str = "") -> str:
    """Formats a metric with three digits, and NaN or None as a dash.

    Args:
      value: number.
      sign: "+" for a difference.
    """
    return "–" if pd.isna(value) else decimal(value, 3, sign)


def interval(metric: Mapping[str, float | None], sign: str = "") -> str:
    """Formats the ends of an interval; empty if there is none.

    Args:
      metric: mapping with `low` and `high`.
      sign: "+" for a difference.
    """
    low, high = metric["low"], metric["high"]
    if pd.isna(low) or pd.isna(high):
        return ""
    return f"{decimal(low, 3, sign)} to {decimal(high, 3, sign)}"


def cell(value) -> str:
    """Formats a cell of a table: an integer, a share as float, or text."""
    if pd.isna(value):
        return "–"
    if isinstance(value, float):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _generator(template: str) -> str:
    return f"clouds {Path(template).stem}"
