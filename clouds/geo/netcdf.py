"""Writes maps of masks and probabilities as NetCDF, map by map.

Memory is bounded by one map, or a part of a large one. Only this module needs h5netcdf.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from clouds.geo import cf
from clouds.geo.cf import Layout, Map
from clouds.geo.places import Place
from clouds.runtime import files

PACKAGES = ("h5netcdf",)
"""Optional packages that it needs."""
_MARGIN = 4 << 20
"""Bytes for what HDF5 writes besides the maps."""


@contextlib.contextmanager
def writing(
    path: str | Path, layout: Layout, attributes: Mapping[str, str]
) -> Iterator[Callable[[str, Place, Map], None]]:
    """Writes a NetCDF file atomically.

    Args:
      path: the file.
      layout: what all maps have in common.
      attributes: global attributes: title, source and provenance.

    Yields:
      A function that adds the maps of an image, given its name and place; times must
      ascend.
    """
    import h5netcdf

    count, folder = 0, Path(path).parent
    needed = math.prod(layout.size) * (2 * len(layout.labels) + 1) + _MARGIN
    folder.mkdir(parents=True, exist_ok=True)
    files.check_free_space(folder, needed, "The maps of an image")
    with files.replacing(path) as part, h5netcdf.File(part, "w") as file:
        _define(file, layout)
        file.attrs.update({"Conventions": cf.CONVENTIONS, **attributes})

        def add(name: str, place: Place, maps: Map) -> None:
            nonlocal count
            # HDF5 ends the process if a file that it writes to does not fit.
            files.check_free_space(folder, needed, "The maps of an image")
            file.resize_dimension("time", count + 1)
            for key, value in cf.of_time(name, place).items():
                file[key][count] = value
            for key, rows, values in cf.blocks(layout, maps):
                file[key][count, rows] = values
            file.flush()
            count += 1

        yield add


def _define(file, layout: Layout) -> None:
    import h5py

    (height, width), labels = layout.size, layout.labels
    sizes = {"time": None, "latitude": height, "longitude": width}
    file.dimensions = {**sizes, "pattern": len(labels), "bnds": 2}
    packed = {"compression": "gzip", "compression_opts": 4}
    for one in cf.variables(layout):
        dtype = h5py.string_dtype() if one.dtype == cf.TEXT else one.dtype
        options = {"chunks": one.chunks} if one.chunks else {}
        options |= packed if one.dtype == "uint8" else {}
        if one.fill is not None:
            options["fillvalue"] = one.fill
        variable = file.create_variable(one.name, one.dimensions, dtype, **options)
        if one.values is not None:
            variable[...] = one.values
        variable.attrs.update(one.attributes)
