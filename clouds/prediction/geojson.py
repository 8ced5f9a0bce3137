"""Masks as GeoJSON: a feature for each label of an image that has a mask.

Coordinates are pixels of the submission's grid, or degrees (see `clouds.prediction.polygons`).
"""

from clouds import schema
from clouds.config.fields import Box, shown
from clouds.errors import InputError
from clouds.prediction import polygons
from clouds.prediction.journal import Entry

_HEIGHT, _WIDTH = schema.SUBMISSION_SIZE
_ALIKE = 4 / 3
"""How much the proportions of a box and its image may differ, for pixels not square."""
IN_PIXELS = (
    f"Polygons will be in pixels of the {_HEIGHT}x{_WIDTH} grid; --bbox gives degrees."
)
"""What to tell whoever gives no box."""

_PIXELS = (
    f"pixels of the {_HEIGHT}x{_WIDTH} grid: x to the right, y down, from the top left "
    "corner of the image; a pixel covers x to x+1 and y to y+1"
)
_DEGREES = "longitude, latitude in degrees (WGS 84); the image is in plate carrée"


def collection(box: Box | None = None) -> dict:
    """A collection without its `features`.

    Args:
      box: that each image covers on the earth; pixels if None.
    """
    fields = {"type": "FeatureCollection"}
    fields["coordinate_system"] = _DEGREES if box else _PIXELS
    return {**fields, "bbox": list(box)} if box else fields


def features(entry: Entry, box: Box | None = None) -> list[dict]:
    """The features of an image.

    Args:
      entry: the image's masks and scores.
      box: as for `collection`.

    Returns:
      One for each label that has a mask, in the order of `schema.LABELS`.

    Raises:
      InputError: a mask's runs break the format.
    """
    return [
        {
            "type": "Feature",
            "geometry": _geometry(entry.masks[..., label], box),
            "properties": {
                "image": entry.image,
                "label": name,
                "area_px": int(entry.masks[..., label].sum()),
                "score": entry.scores[label],
            },
        }
        for label, name in enumerate(schema.LABELS)
        if entry.cleaned[label]
    ]


def doubt(box: Box, shape: tuple[int, int] | None) -> str | None:
    """What speaks against a box, if its proportions are far from an image's.

    Args:
      box: that the image is said to cover.
      shape: height and width of the image; None if they are not known.

    Returns:
      A sentence or two; None where nothing does.

    Raises:
      InputError: the box has them in Worldview's order, south first.
    """
    if shape is None:
        return None
    first, second, third, fourth = box
    proportions, of_image = _proportions(box), shape[1] / shape[0]
    if _alike(proportions, of_image):
        return None
    swapped = second, first, fourth, third
    on_earth = -90 <= first < third <= 90
    fits = on_earth and _alike(_proportions(swapped), of_image)
    told = (
        f"--bbox {'must' if fits else 'should'} have the images' proportions, as west, "
        f"south, east, north. Received: {shown(box, Box)}, {proportions:.2f} times as "
        f"wide as high in degrees, where the first image is {of_image:.2f} times. "
        "Worldview's BBOX has south, west, north, east: "
    )
    if fits:
        raise InputError(f"{told}did you mean --bbox={shown(swapped, Box)}?")
    return f"{told}check the order."


def _proportions(box: Box) -> float:
    """How many times it is as wide as high, in degrees."""
    west, south, east, north = box
    return ((east - west) % 360 or 360) / (north - south)


def _alike(one: float, other: float) -> bool:
    return 1 / _ALIKE <= one / other <= _ALIKE


def _geometry(mask, box: Box | None) -> dict:
    traced = polygons.on_earth(mask, box) if box else polygons.trace(mask)
    rings = [[ring.tolist() for ring in polygon] for polygon in traced]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}
