"""Plans the tiles of scenes, from the settings, and rejects what cannot be right."""

from collections.abc import Mapping
from typing import NamedTuple

from clouds.config.fields import Box, Degrees, Pixels, shown
from clouds.config.prediction import Prediction
from clouds.config.rule import Rule
from clouds.config.training import Training
from clouds.errors import InputError
from clouds.geo import rasters
from clouds.geo.places import Places
from clouds.postprocess import blockwise
from clouds.prediction.tiling import geometry
from clouds.prediction.tiling.geometry import Axis
from clouds.prediction.tiling.scenes import SceneError

_SMALLEST_TILE = 32
_SAME = 0.01
"""Relative difference up to which two resolutions are the same."""


class Tiling(NamedTuple):
    """The tiles of a scene, from north to south and from west to east."""

    rows: Axis
    columns: Axis


def identity(settings: Prediction) -> list:
    """Returns the settings of tiles that all predictions of a folder share."""
    return [settings.tile_degrees, settings.tile_pixels, settings.overlap]


def check(
    settings: Prediction,
    trained: Training,
    rule: Rule,
    places: Places | None,
    paths: Mapping[str, str],
) -> None:
    """Rejects tiles that cannot be right, before any scene is predicted.

    Args:
      settings: settings of the tiles.
      trained: settings of the run.
      rule: rule of the masks.
      places: places of the images, if any.
      paths: paths of the images by their names.

    Raises:
      InputError: the rule is for whole images; width and height seem to be exchanged;
        or tiles in pixels would differ in degrees.
    """
    blockwise.check(rule)
    size = trained.size
    flag, hint = "--tile-pixels", Pixels
    if settings.tile_degrees:
        flag, hint = "--tile-degrees", Degrees
    width, height = tile = settings.tile_degrees or settings.tile_pixels
    if (width - height) * (size[1] - size[0]) < 0:
        raise InputError(
            f"{flag} must be width x height, with the proportions of the network's "
            f"images, {size[1]}x{size[0]}. Received: {shown(tile, hint)}. Did you mean "
            f"{shown(tile[::-1], hint)}?"
        )
    if settings.tile_pixels and places:
        _check_resolutions(places, paths)


def _check_resolutions(places: Places, paths: Mapping[str, str]) -> None:
    first = None
    for name, place in places.located.items():
        size = None if "://" in paths[name] else rasters.size(paths[name])
        if size is None:
            continue
        resolution = _degrees(place.box)[1] / size[1]
        first = first or (name, resolution)
        if abs(resolution / first[1] - 1) > _SAME:
            raise InputError(
                f"--tile-pixels: a pixel of {first[0]} is {first[1]:.4g} degrees wide, "
                f"one of {name} {resolution:.4g}. Give --tile-degrees instead, or "
                "predict each resolution by itself."
            )


def tiling(
    settings: Prediction,
    grid: tuple[int, int],
    path: str,
    size: tuple[int, int],
    box: Box | None,
) -> Tiling:
    """Places the tiles of a scene.

    Args:
      settings: settings of the tiles.
      grid: height and width of the rule's grid, for one tile.
      path: path of the scene, for errors.
      size: height and width of the scene.
      box: bounding box of the scene; None if unknown, for tiles in pixels only.

    Raises:
      SceneError: the tiles have too few pixels.
    """
    wraps = False
    if box:
        degrees = _degrees(box)
        cell = degrees[1] / size[1]
        wraps = abs(degrees[1] - 360) < cell / 2
    if settings.tile_pixels:
        tile = settings.tile_pixels[::-1]
    else:
        tile = tuple(
            round(wanted * pixels / length)
            for wanted, pixels, length in zip(
                settings.tile_degrees[::-1], size, degrees, strict=True
            )
        )
    if min(tile) < _SMALLEST_TILE:
        raise SceneError(
            f"{path} has {size[1]}x{size[0]} pixels and tiles of {tile[1]}x{tile[0]} "
            f"(width x height); both must be {_SMALLEST_TILE} or more. Check its "
            "place, or give larger tiles."
        )
    rows, columns = (
        geometry.place(*numbers, settings.overlap, wraps=around)
        for *numbers, around in zip(size, tile, grid, (False, wraps), strict=True)
    )
    return Tiling(rows, columns)


def _degrees(box: Box) -> tuple[float, float]:
    west, south, east, north = box
    return north - south, (east - west) % 360 or 360
