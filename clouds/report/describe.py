"""Statistics of the competition's csv: labels, how they go together, and areas.

Components are 8-connected and counted at the csv's own grid, on the runs
themselves, so no mask is painted. Annotated masks are frayed: of their many
components most are specks of a few pixels along the edges of few patches. The
two are told apart by `SPECK` and listed apart.
"""

import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from clouds import config, rle, schema
from clouds.data import annotations
from clouds.errors import InputError
from clouds.plots import common
from clouds.postprocess import components
from clouds.runtime import files, progress
from clouds.text import counted

FILE = "statistics.json"
PICTURE = "statistics.png"

SPECK = 1e-3
"""Share of the grid below which a component is a speck, at or above it a patch.

In the competition's csv hardly a component lies near it: of 159,712, 143 have
an area from a tenth of it to its double.
"""

_LEVELS = {
    "min": 0,
    "5%": 0.05,
    "25%": 0.25,
    "50%": 0.5,
    "75%": 0.75,
    "95%": 0.95,
    "max": 1,
}
_MASKS_AT_ONCE = 256
_TITLES = {
    "labels": "Masks, their share of all images and of all masks",
    "labels_per_image": "Labels in an image",
    "sets": "Sets of labels",
    "both": "Images with both labels",
    "both_share": "Of the images with the row's label, those with the column's too",
    "area": "Area of a mask, pixels",
    "area_share": "Area of a mask, share of the grid",
    "components": f"Components; specks are below {SPECK:.1%} of the grid, patches not",
    "components_per_mask": "Components in a mask",
    "patches_per_mask": "Patches in a mask",
    "component_area": "Area of a component, pixels",
    "patch_area": "Area of a patch, pixels",
    "patch_area_share": "Area of a patch, share of the grid",
}


class Counts(NamedTuple):
    """What can be told without reading the runs.

    Attributes:
      rows: of the csv, without its header.
      images: how many there are.
      masks: how many are not empty.
      labels: a row a label; its masks, their shares of all images and of all masks.
      labels_per_image: a row for 0 to C labels; images that have so many, and
        their share.
      sets: a row a set of labels, such as `Fish + Sugar`, that some image has and
        no other label with it, the most frequent first; its images, their share.
      both: int64[C, C], the images that have both labels.
      both_share: float64[C, C], of the images with the row's label those that have
        the column's too; nan where there are none.
    """

    rows: int
    images: int
    masks: int
    labels: pd.DataFrame
    labels_per_image: pd.DataFrame
    sets: pd.DataFrame
    both: pd.DataFrame
    both_share: pd.DataFrame


class Areas(NamedTuple):
    """The areas of all masks and of their components, in pixels of the grid.

    Attributes:
      masks: a row a mask, with its label (a category), area, components (their
        number) and patches (the number of those that are no specks).
      components: a row a component, with its label and area.
    """

    masks: pd.DataFrame
    components: pd.DataFrame


def describe(settings: config.Description) -> dict[str, pd.DataFrame]:
    """Prints the statistics of a csv, writes statistics.json and statistics.png.

    Args:
      settings: which csv, on which grid, and where to write.

    Returns:
      The tables that are printed, by their names in statistics.json. Counts are
      integers, as are quantiles of pixels, which are rounded; shares are floats.

    Raises:
      InputError: the csv cannot be read, or a text breaks the format; the message
        names its row and run.
    """
    read = annotations.read(settings.csv)
    counts, areas = count(read), measure(read, settings.grid)
    if doubt := annotations.doubt(read, settings.grid):
        print(f"describe: warning: {doubt}", file=sys.stderr)
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    pixels = settings.grid[0] * settings.grid[1]
    tables = _tables(counts, areas, pixels)
    grid = "x".join(map(str, settings.grid))
    numbers = ((counts.rows, "row"), (counts.images, "image"), (counts.masks, "mask"))
    head = ", ".join(counted(*pair) for pair in numbers)
    common.statistics(
        {name: tables[name] for name in ("labels", "labels_per_image", "sets")},
        counts.both,
        areas.masks.assign(share=areas.masks["area"] / pixels),
        areas.components.assign(share=areas.components["area"] / pixels),
        SPECK,
        out / PICTURE,
        title=f"{Path(settings.csv).name}: {head}",
    )
    figures = {"csv": settings.csv, "grid": settings.grid, "speck": SPECK}
    figures |= {name: getattr(counts, name) for name in ("rows", "images", "masks")}
    figures |= {name: _fields(frame) for name, frame in tables.items()}
    files.write_json(out / FILE, figures)
    print(f"{settings.csv}: {head}, on {grid} pixels")
    for name, frame in tables.items():
        print(f"\n{_TITLES[name]}\n{_text(frame)}")
    return tables


def count(read: annotations.Table) -> Counts:
    """Counts rows, images, masks, and which labels go together.

    Args:
      read: the csv of N images.

    Returns:
      The counts.
    """
    present = read.present
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
        labels_per_image=_with_share(numbers, range(len(numbers)), images),
        sets=_with_share(sets.to_numpy(), sets.index, images),
        both=both,
        both_share=both.div(np.diag(both), axis=0),
    )


def measure(read: annotations.Table, grid: rle.Size) -> Areas:
    """Parses every text and measures the masks and their components.

    Args:
      read: the csv.
      grid: height and width that its runs count on.

    Returns:
      The areas. Masks come in the order of the images and labels, components in
      that of their masks.

    Raises:
      InputError: a text breaks the format; names its row and run. Or the grid is
        too large for the numbers that components are found with.
    """
    at_once = _masks_at_once(grid)
    places = np.argwhere(read.present)
    owners, sizes = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    with progress.bar(desc="describe", unit="mask", total=len(places)) as bar:
        for first in range(0, len(places), at_once):
            batch = places[first : first + at_once]
            owner, size = _components(
                [
                    rle.parse(read.texts[place], grid, where=read.where(*place))
                    for place in map(tuple, batch)
                ],
                grid,
            )
            owners.append(first + owner)
            sizes.append(size)
            bar.update(len(batch))
    found = pd.DataFrame(
        {"mask": np.concatenate(owners), "area": np.concatenate(sizes)}
    )
    return _by_label(found, places[:, 1], SPECK * grid[0] * grid[1])


def _set(present: np.ndarray) -> str:
    names = (name for name, has in zip(schema.LABELS, present, strict=True) if has)
    return " + ".join(names) or "none"


def _with_share(numbers: np.ndarray, index, images: int) -> pd.DataFrame:
    return pd.DataFrame({"images": numbers, "share": numbers / images}, index=index)


def _masks_at_once(grid: rle.Size) -> int:
    # `components` counts in int32, with one row and column more to a plane.
    most = (2**31 - 1) // ((grid[0] + 1) * (grid[1] + 1))
    if not most:
        raise InputError(
            f"--grid must hold fewer than 2**31 pixels. Received: {grid[0]}x{grid[1]}. "
            "Give the grid that the csv's runs count on."
        )
    return min(most, _MASKS_AT_ONCE)


def _components(masks: list[np.ndarray], grid: rle.Size):
    """For each component of int64[R, 2] runs the index of its mask, and its area."""
    found = _columns(masks, grid)
    numbers = components.label_runs(found)
    areas = components.areas(found, numbers).numpy()
    first = numbers.numpy() == np.arange(len(areas))
    return found.plane.numpy()[first], areas[first].astype(np.int64)


def _columns(masks: list[np.ndarray], grid: rle.Size) -> components.Runs:
    """Lays the masks end to end, joins runs that touch, cuts them at the columns."""
    height, width = grid
    tops = np.arange(len(masks)) * (height * width)
    tops = np.repeat(tops, [len(runs) for runs in masks])
    starts, lengths = np.concatenate(masks).T
    starts = starts - 1 + tops
    ends = starts + lengths
    apart = starts[1:] > ends[:-1]
    starts, ends = starts[np.append(True, apart)], ends[np.append(apart, True)]
    first = starts // height
    pieces = (ends - 1) // height - first + 1
    of = np.repeat(np.arange(len(starts)), pieces)
    column = first[of] + np.arange(len(of)) - (np.cumsum(pieces) - pieces)[of]
    start = np.maximum(starts[of] - column * height, 0)
    end = np.minimum(ends[of] - column * height, height)
    plane, column = np.divmod(column, width)
    vectors = (plane, column, start, end)
    return components.Runs(*(tf.constant(vector, tf.int32) for vector in vectors))


def _by_label(found: pd.DataFrame, labels: np.ndarray, speck: float) -> Areas:
    names = pd.Categorical.from_codes(labels, schema.LABELS)
    owners, masks = found["mask"], len(labels)
    patches = owners[found["area"] >= speck]
    return Areas(
        pd.DataFrame(
            {
                "label": names,
                "area": np.bincount(owners, found["area"], masks).astype(np.int64),
                "components": np.bincount(owners, minlength=masks),
                "patches": np.bincount(patches, minlength=masks),
            }
        ),
        pd.DataFrame({"label": names[owners], "area": found["area"]}),
    )


def _tables(counts: Counts, areas: Areas, pixels: int) -> dict[str, pd.DataFrame]:
    masks, found = areas
    patches = found[found["area"] >= SPECK * pixels]
    numbers = pd.DataFrame(
        {
            "components": found["label"].value_counts(sort=False),
            "patches": patches["label"].value_counts(sort=False),
            "masks_of_several_patches": _by(masks["patches"] > 1, masks).mean(),
        }
    )
    numbers = numbers.rename_axis(None)
    numbers.insert(1, "specks", numbers["components"] - numbers["patches"])
    area, patch_area = _quantiles(masks, "area"), _quantiles(patches, "area")
    return {
        **{name: getattr(counts, name) for name in list(_TITLES)[:5]},
        "area": _whole(area),
        "area_share": area / pixels,
        "components": numbers,
        "components_per_mask": _whole(_quantiles(masks, "components")),
        "patches_per_mask": _whole(_quantiles(masks, "patches")),
        "component_area": _whole(_quantiles(found, "area")),
        "patch_area": _whole(patch_area),
        "patch_area_share": patch_area / pixels,
    }


def _by(column: pd.Series, frame: pd.DataFrame):
    return column.groupby(frame["label"], observed=False)


def _quantiles(frame: pd.DataFrame, column: str) -> pd.DataFrame:
    levels = _by(frame[column], frame).quantile(list(_LEVELS.values())).unstack()
    return levels.set_axis(list(_LEVELS), axis=1).rename_axis(None)


def _whole(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.round().astype("Int64")


def _text(frame: pd.DataFrame) -> str:
    shown = frame.rename(columns=lambda name: name.replace("_", " ")).astype(object)
    return shown.map(_shown).to_string()


def _shown(value) -> str:
    if pd.isna(value):
        return "-"
    return f"{value:.1%}" if isinstance(value, float) else f"{value:,}"


def _fields(frame: pd.DataFrame) -> dict:
    return json.loads(frame.to_json(orient="index"))
