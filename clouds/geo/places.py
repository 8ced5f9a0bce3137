"""Finds the place of each image: its bounding box in degrees, time and satellite.

The sources, the first that has a box wins: a csv, the tags of a GeoTIFF, a world file
beside the image, the name of the image, one box for all others. Time and satellite are
those of the csv, else of the name. Boxes are west, south, east, north in degrees (WGS
84), longitudes from -180 to 180; a box across the antimeridian has its east
below its west, and a box around the globe from any meridian but -180 has its east at
its west.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from typing import NamedTuple

from clouds.config.checks import is_box
from clouds.config.fields import Box
from clouds.errors import InputError
from clouds.geo import names, rasters, tables
from clouds.geo.tables import Row

HOW = (
    "A place comes from --places, the tags of a GeoTIFF, a world file, a name such as "
    "Aqua_CorrectedReflectance20150205_-61--40_10-24.jpeg, or --bbox"
)
"""Sources of places, for messages."""


class Place(NamedTuple):
    """The place of an image.

    Attributes:
      box: west, south, east, north in degrees.
      time: date, `2015-02-05`, or time in UTC, `2015-02-05T13:30:00Z`; None if unknown.
      satellite: name of the satellite; None if unknown.
    """

    box: Box
    time: str | None = None
    satellite: str | None = None


@dataclasses.dataclass(frozen=True)
class Places:
    """The places of images.

    Attributes:
      located: places by the names of the images.
      faults: reasons why the others have none, by their names.
    """

    located: dict[str, Place]
    faults: dict[str, str]

    @property
    def csv(self) -> str:
        """The places as the csv of places that `find` takes as its table."""
        rows = []
        for name, place in sorted(self.located.items()):
            west, south, east, north = place.box
            # Around the globe.
            east += 360 * (east == west)
            rows.append((name, place.time, west, south, east, north, place.satellite))
        return tables.to_csv(rows)

    @property
    def checksum(self) -> str:
        """SHA-256 of the places; another one means that maps must be made again."""
        return hashlib.sha256(json.dumps(self.located).encode()).hexdigest()


def find(
    paths: Mapping[str, str | None],
    *,
    table: str | None = None,
    fallback: Box | None = None,
) -> Places | None:
    """Finds the place of each image.

    Args:
      paths: paths of the images by their names; None if there is no file to look at.
      table: csv of places (see `tables`).
      fallback: box of the images without another one.

    Returns:
      The places; None if no image has one, and none seems to be meant to.

    Raises:
      InputError: the csv cannot be read.
    """
    rows = tables.read(table) if table else {}
    located, faults, has_source = {}, {}, bool(table or fallback)
    for name, path in paths.items():
        try:
            place = _find_one(name, path, rows.get(name), fallback)
        except InputError as error:
            faults[name], has_source = str(error), True
            continue
        if place is None:
            faults[name] = f"{name} has no place. {HOW}."
        else:
            located[name] = place
    return Places(located, faults) if located or has_source else None


def _find_one(
    name: str, path: str | None, row: Row | None, fallback: Box | None
) -> Place | None:
    """Returns the place of an image, None without one.

    Raises:
      InputError: its place is impossible or cannot be read.
    """
    if row and row.fault:
        raise InputError(row.fault)
    named, fault = None, None
    try:
        named = names.parse(name)
    except InputError as error:
        fault = error
    if row:
        box = check_box(row.box, row.source)
    else:
        box = path and rasters.box(path)
        if box:
            box = check_box(box, path)
        elif fault:
            raise fault
        else:
            box = (named and named.box and check_box(named.box, name)) or fallback
    if not box:
        return None
    time = (row and row.time) or (named and named.time) or None
    satellite = (row and row.satellite) or (named and named.satellite) or None
    return Place(box, time, satellite)


def check_box(box: Box, source: str) -> Box:
    """Returns a box with longitudes from -180 to 180.

    Args:
      box: west, south, east, north in degrees.
      source: what has the box, for the error.

    Raises:
      InputError: the box is impossible.
    """
    west, south, east, north = (round(number, 9) for number in box)
    is_valid = is_box
    if round(east - west, 6) == 360 and -180 < west < 180:
        # Around the globe, but not from -180 to 180: such a box has its east at its
        # west.
        east, is_valid = west, lambda box: is_box((-180, box[1], 180, box[3]))
    elif east > 180 and -180 <= west < east <= west + 360 and east <= 540:
        west, east = (x - 360 if x > 180 else x for x in (west, east))
    checked = (west, south, east, north)
    if not is_valid(checked):
        raise InputError(
            f"{source} has an impossible box: west {west:g}, south {south:g}, east "
            f"{east:g}, north {north:g}. Longitudes must be from -180 to 180 (or to "
            "360), latitudes from -90 to 90, south below north."
        )
    return checked
