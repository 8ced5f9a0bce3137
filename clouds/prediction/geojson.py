"""Masks as GeoJSON: one feature per label of an image that has a mask.

Coordinates are pixels of the submission's grid, or degrees (see `polygons`).
"""

from clouds.config.fields import Box, shown
from clouds.errors import InputError
from clouds.geo.places import Place
from clouds.prediction import polygons
from clouds.prediction.journal import Entry
from clouds.schema import CLOUDS, MaskSpec

_TOLERANCE = 4 / 3
"""Accepted ratio between the proportions of a box and its image: pixels may not be
square."""

_DEGREES = "longitude, latitude in degrees (WGS 84); the image is in plate carrée"


def in_pixels(spec: MaskSpec) -> str:
    """Returns the message if no image has a place."""
    height, width = spec.grid
    return (
        f"Polygons are in pixels of the {height}x{width} grid. For degrees give --bbox."
    )


def collection(
    box: Box | None = None, spec: MaskSpec = CLOUDS, *, in_degrees: bool = False
) -> dict:
    """Returns a feature collection without its `features`.

    Args:
      box: bounding box of all images; None for pixels, or if each has its own.
      spec: labels and grid of the masks.
      in_degrees: whether each image has its own box.
    """
    fields = {"type": "FeatureCollection"}
    height, width = spec.grid
    pixels = (
        f"pixels of the {height}x{width} grid: x to the right, y down, from the top "
        "left corner of the image; a pixel covers x to x+1 and y to y+1"
    )
    fields["coordinate_system"] = _DEGREES if box or in_degrees else pixels
    if box and box[0] == box[2]:
        box = (-180, box[1], 180, box[3])
    return {**fields, "bbox": list(box)} if box else fields


def placed_features(entry: Entry, place: Place | None, spec: MaskSpec) -> list[dict]:
    """Returns the features of an image, with its time and satellite.

    Args:
      entry: masks and scores of the image.
      place: place of the image; without one its features are unlocated: their geometry
        is null, as RFC 7946 has it.
      spec: labels and grid of the masks.
    """
    known = {"time": place.time, "satellite": place.satellite} if place else {}
    known = {name: value for name, value in known.items() if value is not None}
    found = features(entry, place and place.box, spec)
    for feature in found:
        feature["properties"] |= known
        if place is None:
            feature["geometry"] = None
    return found


def features(
    entry: Entry, box: Box | None = None, spec: MaskSpec = CLOUDS
) -> list[dict]:
    """Returns the features of an image.

    Args:
      entry: masks and scores of the image.
      box: as for `collection`.
      spec: as for `collection`.

    Returns:
      One feature per label that has a mask, in the order of the labels.

    Raises:
      InputError: the run-length codes are malformed.
    """
    masks = entry.masks(spec.grid)
    return [
        {
            "type": "Feature",
            "geometry": _geometry(masks[..., label], box),
            "properties": {
                "image": entry.image,
                "label": name,
                "area_px": int(masks[..., label].sum()),
                "score": entry.scores[label],
            },
        }
        for label, name in enumerate(spec.labels)
        if entry.cleaned[label]
    ]


def check_proportions(box: Box, shape: tuple[int, int] | None) -> str | None:
    """Returns a warning if the proportions of a box differ from those of an image.

    Args:
      box: bounding box given for the image.
      shape: height and width of the image; None if unknown.

    Returns:
      The warning, or None.

    Raises:
      InputError: the numbers are in Worldview's order, south first.
    """
    if shape is None:
        return None
    first, second, third, fourth = box
    of_box, of_image = _proportions(box), shape[1] / shape[0]
    if fits(box, shape):
        return None
    swapped = second, first, fourth, third
    is_valid = -90 <= first < third <= 90
    is_swapped = is_valid and fits(swapped, shape)
    message = (
        f"--bbox {'must' if is_swapped else 'should'} have the proportions of the "
        f"images, as west,south,east,north. Received: {shown(box, Box)}, {of_box:.2f} "
        f"times as wide as high in degrees; the first image is {of_image:.2f} times as "
        "wide. Worldview's BBOX is south,west,north,east: "
    )
    if is_swapped:
        raise InputError(f"{message}did you mean --bbox={shown(swapped, Box)}?")
    return f"{message}check the order."


def fits(box: Box, shape: tuple[int, int]) -> bool:
    """Returns whether a box has about the proportions of an image.

    Args:
      box: bounding box in degrees.
      shape: height and width of the image.
    """
    return _similar(_proportions(box), shape[1] / shape[0])


def _proportions(box: Box) -> float:
    """Returns width / height in degrees."""
    west, south, east, north = box
    return ((east - west) % 360 or 360) / (north - south)


def _similar(one: float, other: float) -> bool:
    return 1 / _TOLERANCE <= one / other <= _TOLERANCE


def _geometry(mask, box: Box | None) -> dict:
    traced = polygons.trace_in_degrees(mask, box) if box else polygons.trace(mask)
    rings = [[ring.tolist() for ring in polygon] for polygon in traced]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}
