"""Masks as GeoJSON: a feature for each label of an image that has a mask.

Coordinates are pixels of the submission's grid, or degrees (see `clouds.polygons`).
"""

from clouds import polygons, schema
from clouds.config import Box
from clouds.journal import Entry

_HEIGHT, _WIDTH = schema.SUBMISSION_SIZE
_ALIKE = 4 / 3
"""How much the proportions of a box and its image may differ, for pixels not square."""
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
    """
    if shape is None:
        return None
    west, south, east, north = box
    of_box = ((east - west) % 360 or 360) / (north - south)
    of_image = shape[1] / shape[0]
    if 1 / _ALIKE <= of_box / of_image <= _ALIKE:
        return None
    return (
        "--bbox should have the images' proportions, as west, south, east, north. "
        f"Received: {','.join(f'{degrees:g}' for degrees in box)}, {of_box:.2f} times "
        f"as wide as high in degrees, where the first image is {of_image:.2f} times. "
        "Check the order: Worldview's BBOX has south, west, north, east."
    )


def _geometry(mask, box: Box | None) -> dict:
    traced = polygons.on_earth(mask, box) if box else polygons.trace(mask)
    rings = [[ring.tolist() for ring in polygon] for polygon in traced]
    if len(rings) == 1:
        return {"type": "Polygon", "coordinates": rings[0]}
    return {"type": "MultiPolygon", "coordinates": rings}
