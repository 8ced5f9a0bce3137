"""Writes masks as cloud-optimised GeoTIFF: a file per image, a band per label.

Cells are 1 in the mask, 0 outside of it, and 255, the nodata value, where the satellite
did not observe. Only this module needs rasterio to write.
"""

from pathlib import Path

import numpy as np

from clouds.geo import cf
from clouds.geo.cf import Layout
from clouds.geo.places import Place
from clouds.runtime import files, startup

PACKAGES = ("rasterio",)
"""Optional packages that it needs."""

_BLOCK = 512
_GDAL_CACHE = 64


def write(
    path: Path,
    place: Place,
    masks: np.ndarray,
    observed: np.ndarray,
    labels: tuple[str, ...],
    tags: dict[str, str],
) -> None:
    """Writes the masks of an image.

    Args:
      path: the file.
      place: place of the image.
      masks: bool[H, W, C].
      observed: bool[H, W], False in the orbit gap.
      labels: names of the labels.
      tags: provenance by name.
    """
    rasterio = startup.load("rasterio")
    latitude, longitude = cf.edges(Layout(place.box, masks.shape[:2], labels))
    height, width = masks.shape[:2]
    right, down = (longitude[-1] - longitude[0]) / width, (latitude[-1] - latitude[0])
    known = {"TIME": place.time, "SATELLITE": place.satellite}
    tags = {**tags, **{name: value for name, value in known.items() if value}}
    options = {"driver": "COG", "compress": "deflate", "blocksize": _BLOCK}
    # Overviews show what most cells are.
    options |= {"overview_resampling": "mode"}
    with (
        rasterio.Env(GDAL_CACHEMAX=_GDAL_CACHE),
        files.replacing(path) as part,
        rasterio.open(
            part,
            "w",
            height=height,
            width=width,
            count=len(labels),
            dtype="uint8",
            nodata=cf.MISSING,
            crs="EPSG:4326",
            transform=rasterio.Affine(
                right, 0, longitude[0], 0, down / height, latitude[0]
            ),
            **options,
        ) as file,
    ):
        file.update_tags(**tags)
        for band, label in enumerate(labels):
            values = np.where(observed, masks[..., band], np.uint8(cf.MISSING))
            file.write(values.astype(np.uint8), band + 1)
            file.set_band_description(band + 1, label)
