"""Finds and reports the places of the images of a prediction."""

import sys
from collections.abc import Mapping

from clouds.config.prediction import Prediction
from clouds.data import manifest
from clouds.geo import places, rasters
from clouds.geo.places import Places
from clouds.prediction import geojson
from clouds.text import counted

_REPORTED = 20


def find(settings: Prediction, paths: Mapping[str, str | None] | None) -> Places | None:
    """Finds the places of the images, and reports those that look wrong.

    Args:
      settings: settings with the sources of places.
      paths: paths of the images by their names, as for `places.find`; None if the
        images are not known yet.

    Returns:
      The places; None if no image has one, no place is needed, or the images are not
      known yet.

    Raises:
      InputError: the csv of places cannot be read.
    """
    if not (settings.needs_places or settings.in_tiles) or paths is None:
        return None
    table = settings.places
    if settings.records and not table:
        table = manifest.places(settings.records, manifest.load(settings.records))
    found = places.find(paths, table=table, fallback=settings.bbox)
    if found and not settings.needs_places:
        # Tiles in pixels only ask whether a scene goes around the globe.
        return Places(found.located, {})
    if found:
        # Tiles in degrees cannot do without a place, and report it.
        if not settings.tile_degrees:
            _report([f"no place: {fault}" for fault in found.faults.values()])
        _report(_warnings(found, paths, settings))
    return found


def advice(
    faults: Mapping[str, str], total: int, path: str, command: str = "predict"
) -> str:
    """Returns the line that ends a prediction of images without a place.

    Args:
      faults: reasons by the names of the images.
      total: number of all images.
      path: file with the reasons.
      command: name of the command.
    """
    return (
        f"{command}: {len(faults)} of {counted(total, 'image')} have no place: they "
        f"have no geometry in GeoJSON, and are not in maps. See {path}. Correct the "
        "places and run the same command again; images are not predicted twice."
    )


def _warnings(found: Places, paths: Mapping, settings: Prediction) -> list[str]:
    """Returns warnings about boxes whose proportions are not those of their images."""
    warnings = []
    for name, place in found.located.items():
        path = paths[name]
        if place.box == settings.bbox or not path or "://" in path:
            continue
        shape = rasters.size(path)
        if shape and not geojson.fits(place.box, shape):
            box = ",".join(f"{number:g}" for number in place.box)
            warnings.append(
                f"warning: the box of {name}, {box}, has another aspect ratio than its "
                f"{shape[0]}x{shape[1]} pixels (height x width): check its place."
            )
    return warnings


def _report(lines: list[str]) -> None:
    for line in lines[:_REPORTED]:
        print(f"predict: {line}", file=sys.stderr)
    if len(lines) > _REPORTED:
        print(f"predict: and {len(lines) - _REPORTED:,} more.", file=sys.stderr)
