"""Web pages of one file: templates filled in, with all that they show within.

A page loads nothing from elsewhere and runs no script. All text is escaped.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import jinja2

from clouds import schema
from clouds.errors import InputError
from clouds.report import charts
from clouds.text import counted, decimal

LARGEST = 15_000_000
"""Bytes of a page, so that it can be sent by mail and opened on a phone."""

FIGURES = {
    "dice_post": "Competition's Dice, post-processed",
    "dice_plain": "Competition's Dice, network",
    "dice_non_empty_post": "Dice, non-empty",
    "empty_found_post": "Empty found",
    "empty_right_post": "Empty right",
    "iou_post": "IoU",
    "precision_post": "Precision",
    "recall_post": "Recall",
    "average_precision": "AP of presence",
}
"""Of the figures of an evaluation those that pages show, and their names there."""

MEANINGS = {
    "dice_post": "of each image twice the area that truth and prediction share, by the "
    "sum of their areas, 1 where both are empty; the mean of images",
    "dice_plain": "the same of all above the rule's thresholds, before post-processing",
    "dice_non_empty_post": "the same as the first, without the images whose truth is "
    "empty",
    "empty_found_post": "of the images without the label, the share where no mask is "
    "drawn",
    "empty_right_post": "of the images where no mask is drawn, the share without the "
    "label",
    "iou_post": "the area that truth and prediction share, by that of either or both, "
    "of all images together",
    "precision_post": "of all pixels predicted, the share that is of the label",
    "recall_post": "of all pixels of the label, the share that is predicted",
    "average_precision": "average precision: how well scores put images with the label "
    "before those without, the area below the curve of precision over recall",
}
"""What each of them is."""

_HEAD = 1000
"""Bytes of a page in which it says what made it."""


def check(template: str, path: Path) -> None:
    """Refuses to replace what is not an earlier page of the same template.

    Args:
      template: its name in clouds/report/templates.
      path: that the page is to have.

    Raises:
      InputError: something else is there.
    """
    if not path.exists():
        return
    if path.is_file():
        with path.open("rb") as file:
            if f'content="{_generator(template)}"'.encode() in file.read(_HEAD):
                return
    raise InputError(
        "A page must have a name of its own, or that of an earlier one, which it "
        f"replaces. Received: '{path}', which {_generator(template)} did not write. "
        "Give another as --out, or move that away."
    )


def write(template: str, path: Path, **fields) -> int:
    """Fills in a template and writes the page.

    Args:
      template: its name in clouds/report/templates.
      path: of the page.
      **fields: what the template shows.

    Returns:
      The page's size in bytes.

    Raises:
      InputError: the page would be larger than 15 MB.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("clouds.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (shown, number, signed, interval, percent, counted)
    environment.filters |= {f.__name__: f for f in filters}
    environment.globals |= {
        "generator": _generator(template),
        "labels": schema.LABELS,
        "names": [*schema.LABELS, "mean"],
        "colours": schema.COLOURS,
        "canvas": charts,
        "named": FIGURES.items(),
        "meanings": MEANINGS,
    }
    page = environment.get_template(template).render(fields).encode()
    if len(page) > LARGEST:
        raise InputError(
            f"A page must be at most {LARGEST / 1e6:g} MB. Received: "
            f"{len(page) / 1e6:.1f} MB, for {path}. Show fewer images (--gallery)."
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(page)
    part.replace(path)
    return len(page)


def number(value: float | None) -> str:
    """A figure with three digits behind the point; a dash for None and NaN."""
    return "–" if _none(value) else decimal(value, 3)


def signed(value: float | None) -> str:
    """A difference with its sign and three digits; a dash for None and NaN."""
    return "–" if _none(value) else decimal(value, 3, "+")


def interval(found: Mapping[str, float | None], sign: str = "") -> str:
    """The ends of a figure's interval with three digits; nothing where it has none.

    Args:
      found: with `low` and `high`.
      sign: "+" for that of a difference.
    """
    low, high = found["low"], found["high"]
    if _none(low) or _none(high):
        return ""
    return f"{decimal(low, 3, sign)} to {decimal(high, 3, sign)}"


def percent(value: float | None) -> str:
    """A share in percent; a dash for None and NaN."""
    return "–" if _none(value) else f"{value:.0%}"


def shown(value) -> str:
    """What a table holds: whole numbers with commas, shares in percent, text."""
    if _none(value):
        return "–"
    if isinstance(value, float):
        return f"{value:.1%}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _generator(template: str) -> str:
    return f"clouds {Path(template).stem}"


def _none(value) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))
