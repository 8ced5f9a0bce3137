"""NetCDF files and Zarr stores of random maps."""

import numpy as np

from clouds.geo import cf, netcdf, zarr_store
from clouds.geo.cf import Layout, Map
from clouds.geo.places import Place

BOX = (170.0, 0.0, -176.0, 4.0)
"""Across the antimeridian; two degrees per column, one per row."""


def write(path, *times, labels=("Fish", "Sugar"), box=BOX):
    """Writes a map of 4x7 cells for each time.

    Returns:
      Probability, mask and observed cells of each.
    """
    random = np.random.default_rng(0)
    values = []
    is_zarr = str(path).endswith(".zarr")
    writing = zarr_store.appending if is_zarr else netcdf.writing
    with writing(path, Layout(box, (4, 7), labels), {}) as add:
        for time in times:
            probability = random.random((4, 7, len(labels)))
            mask, observed = probability > 0.4, random.random((4, 7)) > 0.3
            values.append((probability, mask & observed[..., None], observed))
            one = Map(cf.pack(probability), mask, observed)
            add(f"{time}.jpg", Place(box, time, "Aqua"), one)
    return values
