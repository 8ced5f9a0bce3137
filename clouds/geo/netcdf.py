"""Writes maps of masks and probabilities as NetCDF, after the CF conventions 1.11.

Dimensions are time, latitude (north first), longitude and pattern. A file is written
map by map, so that memory is bounded by one of them. Only this module needs h5netcdf.
"""

import contextlib
import datetime
import importlib.util
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clouds.config.fields import Box
from clouds.errors import InputError
from clouds.geo.places import Place
from clouds.runtime import files

LEVELS = 250
"""Steps of the stored probabilities: one is 0.004."""

_MISSING = 255
_CONVENTIONS = "CF-1.11"
_EPOCH = datetime.datetime(1970, 1, 1)
_DAY = 86400


class Map(NamedTuple):
    """The maps of one image, on the grid of the file.

    Attributes:
      probability: uint8[H, W, C], of `pack`.
      mask: bool[H, W, C].
      observed: bool[H, W], where the image is not black (orbit gap).
    """

    probability: np.ndarray
    mask: np.ndarray
    observed: np.ndarray


class Layout(NamedTuple):
    """Properties that all maps of a file share.

    Attributes:
      box: west, south, east, north in degrees.
      size: height and width of the grid.
      labels: names of the patterns.
    """

    box: Box
    size: tuple[int, int]
    labels: Sequence[str]


def check_package(flag: str) -> None:
    """Rejects a flag if the package that writes NetCDF is not installed.

    Args:
      flag: the flag, for the error.

    Raises:
      InputError: h5netcdf is not installed.
    """
    if importlib.util.find_spec("h5netcdf") is None:
        raise InputError(
            f"h5netcdf is not installed, which {flag} needs. Run bin/setup geo, or pip "
            "install h5netcdf."
        )


def pack(probabilities: np.ndarray) -> np.ndarray:
    """Converts probabilities, float[...] in 0..1, to uint8 in 0..LEVELS."""
    return np.rint(probabilities * LEVELS).astype(np.uint8)


def seconds(time: str) -> tuple[int, int, int]:
    """Converts the time of a place to seconds since 1970.

    Args:
      time: date or time in UTC, as in `Place`.

    Returns:
      The time, and the first and the last second that it stands for: a date stands for
      its day, a time for itself.
    """
    moment = datetime.datetime.fromisoformat(time.removesuffix("Z"))
    start = int((moment - _EPOCH).total_seconds())
    return start, start, start + (0 if "T" in time else _DAY)


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

    with files.replacing(path) as part, h5netcdf.File(part, "w") as file:
        _define(file, layout)
        file.attrs.update({"Conventions": _CONVENTIONS, **attributes})
        count = 0

        def add(name: str, place: Place, maps: Map) -> None:
            nonlocal count
            file.resize_dimension("time", count + 1)
            missing = ~maps.observed[..., None]
            values = {
                "probability": np.where(missing, _MISSING, maps.probability),
                "mask": np.where(missing, _MISSING, maps.mask),
                "observed": maps.observed,
                "image": name,
                "satellite": place.satellite or "",
            }
            values["time"], *values["time_bnds"] = seconds(place.time)
            for key, value in values.items():
                file[key][count] = value
            count += 1

        yield add


def _define(file, layout: Layout) -> None:
    import h5py

    (height, width), labels = layout.size, layout.labels
    west, south, east, north = layout.box
    if east <= west:
        # Coordinates must ascend across the antimeridian.
        east += 360
    sizes = {"time": None, "latitude": height, "longitude": width}
    file.dimensions = {**sizes, "pattern": len(labels), "bnds": 2}
    text = h5py.string_dtype()
    _axis(file, "latitude", "degrees_north", "Y", np.linspace(north, south, height + 1))
    _axis(file, "longitude", "degrees_east", "X", np.linspace(west, east, width + 1))
    numbers = np.arange(1, len(labels) + 1, dtype=np.int8)
    pattern = file.create_variable("pattern", ("pattern",), data=numbers)
    meanings = " ".join(label.replace(" ", "_") for label in labels)
    pattern.attrs.update(
        long_name="pattern of cloud organisation",
        flag_values=numbers,
        flag_meanings=meanings,
    )
    names = file.create_variable("pattern_name", ("pattern",), dtype=text)
    names[...] = np.array(labels, object)
    names.attrs["long_name"] = "name of the pattern"
    time = file.create_variable("time", ("time",), np.int64, chunks=(512,))
    time.attrs.update(standard_name="time", axis="T", bounds="time_bnds")
    time.attrs.update(units="seconds since 1970-01-01 00:00:00", calendar="standard")
    file.create_variable("time_bnds", ("time", "bnds"), np.int64, chunks=(512, 2))
    for name, long_name in (
        ("image", "file name of the image"),
        ("satellite", "satellite"),
    ):
        variable = file.create_variable(name, ("time",), text, chunks=(512,))
        variable.attrs["long_name"] = long_name
    crs = file.create_variable("crs", (), data=np.int8(0))
    crs.attrs.update(
        grid_mapping_name="latitude_longitude",
        semi_major_axis=6378137.0,
        inverse_flattening=298.257223563,
    )
    _define_maps(file, layout)


def _define_maps(file, layout: Layout) -> None:
    grid = ("time", "latitude", "longitude")
    shape = (1, *layout.size)
    packed = {"dtype": np.uint8, "compression": "gzip", "compression_opts": 4}
    shared = {"grid_mapping": "crs"}
    named = {"coordinates": "pattern_name image satellite", **shared}
    flags = {"flag_values": np.uint8([0, 1])}
    for name, attributes in (
        ("probability", {"units": "1", "scale_factor": np.float32(1 / LEVELS)}),
        ("mask", {**flags, "flag_meanings": "absent present"}),
    ):
        chunks = (*shape, 1)
        variable = file.create_variable(
            name, (*grid, "pattern"), chunks=chunks, fillvalue=np.uint8(255), **packed
        )
        variable.attrs.update(long_name=f"{name} of the pattern", **attributes, **named)
    observed = file.create_variable("observed", grid, chunks=shape, **packed)
    observed.attrs.update(
        long_name="whether the satellite observed the place",
        flag_meanings="orbit_gap observed",
        coordinates="image satellite",
        **flags,
        **shared,
    )


def _axis(file, name: str, units: str, axis: str, edges: np.ndarray) -> None:
    edges = edges.round(9)
    bounds = np.stack([edges[:-1], edges[1:]], axis=1)
    variable = file.create_variable(name, (name,), data=bounds.mean(axis=1).round(9))
    variable.attrs.update(
        standard_name=name, units=units, axis=axis, bounds=f"{name}_bnds"
    )
    file.create_variable(f"{name}_bnds", (name, "bnds"), data=bounds)


def provenance(title: str, **facts) -> dict[str, str]:
    """Returns global attributes; facts that are not text become JSON.

    Args:
      title: title of the file.
      **facts: provenance by name.
    """
    texts = {
        key: value if isinstance(value, str) else json.dumps(value)
        for key, value in facts.items()
    }
    return {"title": title, **texts}
