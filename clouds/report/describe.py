"""Statistics of the competition's csv: labels, their combinations, and areas.

`clouds.report.areas` explains components, specks and patches.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from clouds import schema
from clouds.config.data import Description
from clouds.data import annotations
from clouds.plots.statistics import draw_statistics
from clouds.report.areas import SPECK, Areas, measure
from clouds.runtime import files
from clouds.text import counted

FILE = "statistics.json"
PICTURE = "statistics.png"

TITLES = {
    "labels": "Masks, their share of all images and of all masks",
    "labels_per_image": "Labels per image",
    "sets": "Sets of labels",
    "both": "Images with both labels",
    "both_share": "Images with the column's label, share of those with the row's",
    "area": "Area of a mask, pixels",
    "area_share": "Area of a mask, share of the grid",
    "components": f"Components: specks are below {SPECK:.1%} of the grid, patches not",
    "components_per_mask": "Components per mask",
    "patches_per_mask": "Patches per mask",
    "component_area": "Area of a component, pixels",
    "patch_area": "Area of a patch, pixels",
    "patch_area_share": "Area of a patch, share of the grid",
}
"""Titles of the tables in statistics.json."""

_QUANTILES = {
    "min": 0,
    "5%": 0.05,
    "25%": 0.25,
    "50%": 0.5,
    "75%": 0.75,
    "95%": 0.95,
    "max": 1,
}


class Counts(NamedTuple):
    """Statistics that need no areas.

    Attributes:
      rows: number of rows without the header.
      images: number of images.
      masks: number of masks that are not empty.
      labels: a row per label: its masks, their shares of all images and of all masks.
      labels_per_image: a row for 0 to C labels: images with so many, and their share.
      sets: a row per set of labels, such as `Fish + Sugar`, that some image has and no
        other label, the most frequent first: its images, and their share.
      both: int64[C, C], images with both labels.
      both_share: float64[C, C], images with the column's label as a share of those
        with the row's; NaN if there are none.
    """

    rows: int
    images: int
    masks: int
    labels: pd.DataFrame
    labels_per_image: pd.DataFrame
    sets: pd.DataFrame
    both: pd.DataFrame
    both_share: pd.DataFrame


def describe(settings: Description) -> dict[str, pd.DataFrame]:
    """Prints the statistics of a csv, writes statistics.json and statistics.png.

    Args:
      settings: csv, its grid, and the folder to write to.

    Returns:
      The tables that are printed, by their names in statistics.json. Counts, and
      quantiles in pixels (rounded), are integers; shares are floats.

    Raises:
      InputError: the csv cannot be read, or a text is malformed; the message names
        its row and run.
    """
    table, grid = annotations.read(settings.csv), settings.grid
    counts, areas = count(table), measure(table, grid)
    if warning := annotations.find_warning(table, grid):
        print(f"describe: warning: {warning}", file=sys.stderr)
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    pixels = grid[0] * grid[1]
    tables = _tables(counts, areas, pixels)
    numbers = ((counts.rows, "row"), (counts.images, "image"), (counts.masks, "mask"))
    head = ", ".join(counted(*pair) for pair in numbers)
    draw_statistics(
        tables,
        *(each.assign(share=each["area"] / pixels) for each in areas),
        SPECK,
        out / PICTURE,
        title=f"{Path(settings.csv).name}: {head}",
    )
    fields = {"csv": settings.csv, "grid": grid, "speck": SPECK}
    fields |= {name: getattr(counts, name) for name in ("rows", "images", "masks")}
    for name, frame in tables.items():
        fields[name] = json.loads(frame.to_json(orient="index"))
    files.write_json(out / FILE, fields)
    print(f"{settings.csv}: {head}, on a grid of {grid[0]}x{grid[1]} pixels")
    for name, frame in tables.items():
        print(f"\n{TITLES[name]}\n{_text(frame)}")
    return tables


def count(table: annotations.Table) -> Counts:
    """Counts rows, images, masks, and combinations of labels."""
    present = table.present
    images = len(present)
    labels = pd.DataFrame({"masks": present.sum(0)}, index=list(schema.LABELS))
    labels["of_images"] = labels["masks"] / images
    labels["of_masks"] = labels["masks"] / labels["masks"].sum()
    numbers = np.bincount(present.sum(1), minlength=len(schema.LABELS) + 1)
    sets = pd.Series(map(_set, present)).value_counts(sort=False)
    sets = sets.sort_values(ascending=False, kind="stable")
    both = present.T.astype(np.int64) @ present
    both = pd.DataFrame(both, index=labels.index, columns=labels.index)
    return Counts(
        rows=present.size,
        images=images,
        masks=int(present.sum()),
        labels=labels,
        labels_per_image=_with_share(pd.Series(numbers), images),
        sets=_with_share(sets, images),
        both=both,
        both_share=both.div(np.diag(both), axis=0),
    )


def _set(present: np.ndarray) -> str:
    return " + ".join(np.array(schema.LABELS)[present]) or "none"


def _with_share(numbers: pd.Series, images: int) -> pd.DataFrame:
    return pd.DataFrame({"images": numbers, "share": numbers / images})


def _tables(counts: Counts, areas: Areas, pixels: int) -> dict[str, pd.DataFrame]:
    masks, components = areas
    patches = components[components["area"] >= SPECK * pixels]
    numbers = pd.DataFrame(
        {
            "components": components["label"].value_counts(sort=False),
            "patches": patches["label"].value_counts(sort=False),
            "masks_of_several_patches": _by_label(masks["patches"] > 1, masks).mean(),
        }
    )
    numbers = numbers.rename_axis(None)
    numbers.insert(1, "specks", numbers["components"] - numbers["patches"])
    area, patch_area = _quantiles(masks, "area"), _quantiles(patches, "area")
    return {
        **{name: getattr(counts, name) for name in list(TITLES)[:5]},
        "area": _rounded(area),
        "area_share": area / pixels,
        "components": numbers,
        "components_per_mask": _rounded(_quantiles(masks, "components")),
        "patches_per_mask": _rounded(_quantiles(masks, "patches")),
        "component_area": _rounded(_quantiles(components, "area")),
        "patch_area": _rounded(patch_area),
        "patch_area_share": patch_area / pixels,
    }


def _by_label(column: pd.Series, frame: pd.DataFrame):
    return column.groupby(frame["label"], observed=False)


def _quantiles(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    levels = list(_QUANTILES.values())
    quantiles = _by_label(frame[column], frame).quantile(levels).unstack()
    return quantiles.set_axis(list(_QUANTILES), axis=1).rename_axis(None)


def _rounded(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.round().astype("Int64")


def _text(frame: pd.DataFrame) -> str:
    shown = frame.rename(columns=lambda name: name.replace("_", " ")).astype(object)
    return shown.map(_cell).to_string()


def _cell(value) -> str:
    if pd.isna(value):
        return "-"
    return f"{value:.1%}" if isinstance(value, float) else f"{value:,}"
