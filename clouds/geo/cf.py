"""Variables and attributes of maps, after the CF conventions 1.11.

NetCDF files and Zarr stores have the same: dimensions time, latitude (north first),
longitude and pattern.
"""

import datetime
import json
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

import clouds
from clouds.config.fields import Box
from clouds.geo.places import Place

CONVENTIONS = "CF-1.11"
LEVELS = 250
"""Steps of the stored probabilities: one is 0.004."""
MISSING = 255
TEXT = "text"
"""Dtype of a variable of text."""

_EPOCH = datetime.datetime(1970, 1, 1)
_DAY = 86400
_TIMES_PER_CHUNK = 512
_CELLS_PER_CHUNK = 1 << 20
_LENGTHS = (512, 1024)
"""Greatest height and width of a chunk of a map that is larger."""


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

    @property
    def chunk(self) -> tuple[int, int]:
        """Height and width of a chunk: the whole grid, unless it is large."""
        if self.size[0] * self.size[1] <= _CELLS_PER_CHUNK:
            return tuple(self.size)
        lengths = zip(self.size, _LENGTHS, strict=True)
        return tuple(-(-cells // -(-cells // most)) for cells, most in lengths)


class Variable(NamedTuple):
    """A variable.

    Attributes:
      name: its name.
      dimensions: names of its dimensions.
      dtype: dtype of NumPy, or `TEXT`.
      attributes: its attributes.
      values: its values; None if they come with each time.
      chunks: lengths of a chunk along the dimensions; None for one chunk.
      fill: value where there is none, if there may be none.
    """

    name: str
    dimensions: tuple[str, ...]
    dtype: str
    attributes: dict
    values: np.ndarray | None = None
    chunks: tuple[int, ...] | None = None
    fill: int | None = None


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
    # Without a time: the same command writes the same file.
    texts["history"] = f"written by clouds {clouds.__version__}"
    return {"title": title, **texts}


def edges(layout: Layout) -> tuple[np.ndarray, np.ndarray]:
    """Returns the edges of the cells, float64[H + 1] of latitude, [W + 1] of longitude.

    Longitudes ascend across the antimeridian.
    """
    (height, width), (west, south, east, north) = layout.size, layout.box
    east = east + 360 if east <= west else east
    numbers = np.linspace(north, south, height + 1), np.linspace(west, east, width + 1)
    return tuple(each.round(9) for each in numbers)


def variables(layout: Layout) -> list[Variable]:
    """Returns the variables of maps.

    Args:
      layout: what all maps have in common.
    """
    latitude, longitude = edges(layout)
    return [
        *_axis("latitude", "degrees_north", "Y", latitude),
        *_axis("longitude", "degrees_east", "X", longitude),
        *_patterns(layout.labels),
        *_times(),
        _crs(),
        *_maps(layout),
    ]


def _axis(name: str, units: str, axis: str, edges: np.ndarray) -> list[Variable]:
    bounds = np.stack([edges[:-1], edges[1:]], axis=1)
    attributes = {"standard_name": name, "units": units, "axis": axis}
    attributes["bounds"] = f"{name}_bnds"
    centres = bounds.mean(axis=1).round(9)
    return [
        Variable(name, (name,), "float64", attributes, centres),
        Variable(f"{name}_bnds", (name, "bnds"), "float64", {}, bounds),
    ]


def pattern(labels: Sequence[str]) -> Variable:
    """Returns the variable of the patterns' numbers, from 1.

    Args:
      labels: names of the patterns.
    """
    numbers = np.arange(1, len(labels) + 1, dtype=np.int8)
    attributes = {
        "long_name": "pattern of cloud organisation",
        "flag_values": numbers,
        "flag_meanings": " ".join(label.replace(" ", "_") for label in labels),
    }
    return Variable("pattern", ("pattern",), "int8", attributes, numbers)


def _patterns(labels: Sequence[str]) -> list[Variable]:
    named = {"long_name": "name of the pattern"}
    names = np.array(labels, object)
    return [
        pattern(labels),
        Variable("pattern_name", ("pattern",), TEXT, named, names),
    ]


def _times() -> list[Variable]:
    attributes = {"standard_name": "time", "axis": "T", "bounds": "time_bnds"}
    attributes |= {"units": "seconds since 1970-01-01 00:00:00"}
    attributes |= {"calendar": "standard", "units_metadata": "leap_seconds: none"}
    per_time = (_TIMES_PER_CHUNK,)
    bounds = ("time", "bnds")
    return [
        Variable("time", ("time",), "int64", attributes, chunks=per_time),
        Variable("time_bnds", bounds, "int64", {}, chunks=(*per_time, 2)),
        *(
            Variable(name, ("time",), TEXT, {"long_name": long_name}, chunks=per_time)
            for name, long_name in (
                ("image", "file name of the image"),
                ("satellite", "satellite"),
            )
        ),
    ]


def _crs() -> Variable:
    attributes = {
        "grid_mapping_name": "latitude_longitude",
        "semi_major_axis": 6378137.0,
        "inverse_flattening": 298.257223563,
    }
    return Variable("crs", (), "int8", attributes, np.int8(0))


def _maps(layout: Layout) -> list[Variable]:
    grid, chunks = ("time", "latitude", "longitude"), (1, *layout.chunk)
    shared = {"grid_mapping": "crs"}
    named = {"coordinates": "pattern_name image satellite", **shared}
    flags = {"flag_values": np.uint8([0, 1])}
    scale = {"units": "1", "scale_factor": np.float32(1 / LEVELS)}
    masks = {**flags, "flag_meanings": "absent present"}
    observed = {
        "long_name": "whether the satellite observed the place",
        "flag_meanings": "orbit_gap observed",
        "coordinates": "image satellite",
        **flags,
        **shared,
    }
    return [
        *(
            Variable(
                name,
                (*grid, "pattern"),
                "uint8",
                {"long_name": f"{name} of the pattern", **attributes, **named},
                chunks=(*chunks, 1),
                fill=MISSING,
            )
            for name, attributes in (("probability", scale), ("mask", masks))
        ),
        Variable("observed", grid, "uint8", observed, chunks=chunks),
    ]


def of_time(name: str, place: Place) -> dict:
    """Returns the values of the variables of times, for one image.

    Args:
      name: name of the image.
      place: its place, with a time.
    """
    time, *bounds = seconds(place.time)
    names = {"image": name, "satellite": place.satellite or ""}
    return {"time": time, "time_bnds": bounds, **names}


def blocks(layout: Layout, maps: Map) -> Iterator[tuple[str, slice, np.ndarray]]:
    """Yields the values of the variables of maps, for one image.

    Args:
      layout: layout of the file.
      maps: maps of the image, whose arrays may be larger than memory.

    Yields:
      Variable, rows (whole chunks), and values uint8[rows, W, C] or uint8[rows, W].
    """
    for first in range(0, layout.size[0], layout.chunk[0]):
        rows = slice(first, min(first + layout.chunk[0], layout.size[0]))
        observed = np.asarray(maps.observed[rows])
        for name, values in (("probability", maps.probability), ("mask", maps.mask)):
            values = np.where(observed[..., None], values[rows], np.uint8(MISSING))
            yield name, rows, values.astype(np.uint8)
        yield "observed", rows, observed.astype(np.uint8)
