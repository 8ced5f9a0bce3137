"""Statistics of the competition's csv: labels, their combinations, and areas.

`clouds.report.areas` explains components, specks and patches.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from clouds.config.data import Description
from clouds.data import annotations
from clouds.data.images import image_files
from clouds.data.masks.table import Table
from clouds.errors import InputError
from clouds.plots.statistics import draw_statistics
from clouds.report import html
from clouds.report.areas import SPECK, Areas, measure
from clouds.runtime import checksums
from clouds.schema import CLOUDS
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

_QUANTILES = ["min", "5%", "25%", "50%", "75%", "95%", "max"]


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
    table = _read(settings)
    grid = table.grid
    areas, pixels = measure(table, grid), grid[0] * grid[1]
    if warning := annotations.find_warning(table, grid):
        print(f"describe: warning: {warning}", file=sys.stderr)
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    tables = count(table.present, table.labels) | summarise(areas, pixels)
    numbers = {
        "rows": table.texts.size,
        "images": len(table.images),
        "masks": int(table.present.sum()),
    }
    head = ", ".join(counted(number, name[:-1]) for name, number in numbers.items())
    draw_statistics(
        tables,
        *(each.assign(share=each["area"] / pixels) for each in areas),
        SPECK,
        out / PICTURE,
        title=f"{Path(settings.csv).name}: {head}",
    )
    fields = {"csv": settings.csv, "grid": grid, "speck": SPECK, **numbers}
    for name in TITLES:
        fields[name] = json.loads(tables[name].to_json(orient="index"))
    checksums.write_json(out / FILE, fields)
    print(f"{settings.csv}: {head}, on a grid of {grid[0]}x{grid[1]} pixels")
    if settings.images:
        others = len(image_files.find(settings.images).keys() - set(table.images))
        if others:
            print(
                f"{settings.images}: {counted(others, 'image')} without rows, which "
                "are not counted below"
            )
    for name, title in TITLES.items():
        print(f"\n{title}\n{_text(tables[name])}")
    return tables


def _read(settings: Description) -> Table:
    def image_size():
        if not available:
            raise InputError(
                "--grid must be given with other labels than the competition's, or "
                "--images, whose size the grid is."
            )
        return annotations.size_of_first(available)

    available = image_files.find(settings.images) if settings.images else {}
    source = annotations.Source(
        settings.csv_format,
        settings.rle_order,
        settings.rle_base,
        settings.rle_starts,
        grid=settings.grid,
        image_size=image_size,
    )
    return annotations.read(settings.csv, settings.labels, source, available)


def count(
    present: np.ndarray, labels: Sequence[str] = CLOUDS.labels
) -> dict[str, pd.DataFrame]:
    """Counts masks and combinations of labels.

    Args:
      present: bool[N, C], whether an image has a label.
      labels: names of the labels.

    Returns:
      `labels`: a row per label with its masks, their shares of all images and of all
      masks. `labels_per_image`: a row for 0 to C labels with the images that have so
      many, and their share. `sets`: the same with a row per set of labels, such as
      `Fish + Sugar`, the most frequent first. `both`: int64[C, C], images with both
      labels; `both_share`: as a share of the images with the row's label, NaN if there
      are none.
    """
    images, names = len(present), list(labels)
    of_label = pd.DataFrame({"masks": present.sum(0)}, index=names)
    of_label["of_images"] = of_label["masks"] / images
    of_label["of_masks"] = of_label["masks"] / of_label["masks"].sum()
    numbers = np.bincount(present.sum(1), minlength=len(names) + 1)
    sets = pd.Series(_set(row, names) for row in present).value_counts(sort=False)
    sets = sets.sort_values(ascending=False, kind="stable")
    both = present.T.astype(np.int64) @ present
    both = pd.DataFrame(both, index=names, columns=names)
    return {
        "labels": of_label,
        "labels_per_image": _with_share(pd.Series(numbers), images),
        "sets": _with_share(sets, images),
        "both": both,
        "both_share": both.div(np.diag(both), axis=0),
    }


def _set(present: np.ndarray, names: list[str]) -> str:
    return " + ".join(np.array(names)[present]) or "none"


def _with_share(numbers: pd.Series, images: int) -> pd.DataFrame:
    return pd.DataFrame({"images": numbers, "share": numbers / images})


def summarise(areas: Areas, pixels: int) -> dict[str, pd.DataFrame]:
    """Summarises areas per label.

    Args:
      areas: areas of masks and components.
      pixels: number of pixels of the grid.

    Returns:
      `components`: numbers of components, specks and patches, and the share of masks
      with several patches. The other tables hold quantiles.
    """
    masks, components = areas
    patches = components[components["area"] >= SPECK * pixels]
    several = (masks["patches"] > 1).groupby(masks["label"], observed=False).mean()
    numbers = pd.DataFrame(
        {
            "components": components["label"].value_counts(sort=False),
            "patches": patches["label"].value_counts(sort=False),
            "masks_of_several_patches": several,
        }
    )
    numbers = numbers.rename_axis(None)
    numbers.insert(1, "specks", numbers["components"] - numbers["patches"])
    area, patch_area = _quantiles(masks, "area"), _quantiles(patches, "area")
    return {
        "area": _rounded(area),
        "area_share": area / pixels,
        "components": numbers,
        "components_per_mask": _rounded(_quantiles(masks, "components")),
        "patches_per_mask": _rounded(_quantiles(masks, "patches")),
        "component_area": _rounded(_quantiles(components, "area")),
        "patch_area": _rounded(patch_area),
        "patch_area_share": patch_area / pixels,
    }


def _quantiles(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    levels = [float(name.strip("%")) / 100 for name in _QUANTILES[1:-1]]
    groups = frame.groupby("label", observed=False)[column]
    # Without any mask, the description has no rows.
    labels = frame["label"].cat.categories
    described = groups.describe(percentiles=levels).reindex(labels)
    return described[_QUANTILES].rename_axis(None)


def _rounded(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.round().astype("Int64")


def _text(frame: pd.DataFrame) -> str:
    shown = frame.rename(columns=lambda name: name.replace("_", " ")).astype(object)
    return shown.map(html.cell).to_string()
