"""Areas of annotated masks and of their components.

Components are 8-connected and counted on the csv's own grid, on the runs themselves,
without painting masks. Annotated masks have ragged edges: most of their components are
specks of a few pixels along the edges of few patches. `SPECK` separates the two.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from clouds import rle
from clouds.data.masks.table import Table
from clouds.errors import InputError
from clouds.postprocess import components
from clouds.runtime import progress

SPECK = 1e-3
"""Share of the grid below which a component is a speck, else a patch.

In the competition's csv few components are close to it: of 159,712, 143 have an area
from a tenth of it to its double.
"""

_MASKS_PER_BATCH = 256


class Areas(NamedTuple):
    """Areas of all masks and of their components, in pixels of the grid.

    Attributes:
      masks: table with a row per mask: label (a category), area, number of components
        and of patches.
      components: table with a row per component: label and area.
    """

    masks: pd.DataFrame
    components: pd.DataFrame


def measure(table: Table, grid: rle.Size) -> Areas:
    """Measures the masks of a csv and their components.

    Args:
      table: contents of the csv.
      grid: height and width of the grid of its runs.

    Returns:
      The areas. Masks are in the order of images and labels, components in that of
      their masks.

    Raises:
      InputError: a text is malformed (the message names its row and run), or the grid
        is too large for int32.
    """
    # `components` counts in int32, with one more row and column per plane.
    limit = (2**31 - 1) // ((grid[0] + 1) * (grid[1] + 1))
    if not limit:
        raise InputError(
            f"--grid must have fewer than 2**31 pixels. Received: {grid[0]}x{grid[1]}. "
            "Give the grid of the csv's runs."
        )
    size = min(limit, _MASKS_PER_BATCH)
    places = np.argwhere(table.present)
    owners, areas = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    with progress.bar(desc="describe", unit="mask", total=len(places)) as bar:
        for first in range(0, len(places), size):
            batch = places[first : first + size]
            runs = [
                rle.parse(table.texts[place], grid, where=table.where(*place))
                for place in map(tuple, batch)
            ]
            owner, area = _components(runs, grid)
            owners.append(first + owner)
            areas.append(area)
            bar.update(len(batch))
    columns = {"mask": np.concatenate(owners), "area": np.concatenate(areas)}
    names = pd.Categorical.from_codes(places[:, 1], table.labels)
    return _by_label(pd.DataFrame(columns), names, SPECK * grid[0] * grid[1])


def _components(
    masks: Sequence[np.ndarray], grid: rle.Size
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mask and the area of each component, from int64[R, 2] runs."""
    runs = _columns(masks, grid)
    numbers = components.label_runs(runs)
    areas = components.areas(runs, numbers).numpy()
    first = numbers.numpy() == np.arange(len(areas))
    return runs.plane.numpy()[first], areas[first].astype(np.int64)


def _columns(masks: Sequence[np.ndarray], grid: rle.Size) -> components.Runs:
    """Puts masks end to end, joins runs that touch, and cuts them at the columns."""
    height, width = grid
    offsets = np.arange(len(masks)) * (height * width)
    offsets = np.repeat(offsets, [len(runs) for runs in masks])
    starts, lengths = np.concatenate(masks).T
    starts = starts - 1 + offsets
    ends = starts + lengths
    apart = starts[1:] > ends[:-1]
    starts, ends = starts[np.append(True, apart)], ends[np.append(apart, True)]
    first = starts // height
    counts = (ends - 1) // height - first + 1
    run = np.repeat(np.arange(len(starts)), counts)
    column = first[run] + np.arange(len(run)) - (np.cumsum(counts) - counts)[run]
    start = np.maximum(starts[run] - column * height, 0)
    end = np.minimum(ends[run] - column * height, height)
    vectors = (*np.divmod(column, width), start, end)
    return components.Runs(*(tf.constant(vector, tf.int32) for vector in vectors))


def _by_label(rows: pd.DataFrame, names: pd.Categorical, speck: float) -> Areas:
    owners, masks = rows["mask"], len(names)
    patches = owners[rows["area"] >= speck]
    return Areas(
        pd.DataFrame(
            {
                "label": names,
                "area": np.bincount(owners, rows["area"], masks).astype(np.int64),
                "components": np.bincount(owners, minlength=masks),
                "patches": np.bincount(patches, minlength=masks),
            }
        ),
        pd.DataFrame({"label": names[owners], "area": rows["area"]}),
    )
