"""Colours for images of any bands, so that pictures can show them."""

from collections.abc import Sequence

import numpy as np

from clouds.schema import RGB, Bands

LOW, HIGH = 2, 98
"""Percentiles of an image's values in a band that become black and white."""


def to_rgb(
    image: np.ndarray, bands: Bands = RGB, shown: Sequence[str] | None = None
) -> np.ndarray:
    """Returns an image in colours; colours of 8 bits are not changed.

    Each band is stretched by itself, from its 2nd to its 98th percentile without the
    pixels that are 0 in all bands.

    Args:
      image: [H, W, K] of the bands.
      bands: bands of the image.
      shown: names of one or three bands, for grey or for red, green and blue; None for
        the first three, of which the last one is repeated if there are fewer.

    Returns:
      uint8[H, W, 3].
    """
    if bands == RGB and not shown:
        return image
    shown = shown or bands.names[:3]
    places = [bands.names.index(name) for name in shown]
    places += places[-1:] * (3 - len(places))
    values = image.astype(np.float32)
    lit = values[(values != 0).any(-1)]
    if not lit.size:
        return np.zeros((*image.shape[:2], 3), np.uint8)
    low, high = np.percentile(lit[:, places], (LOW, HIGH), axis=0)
    stretched = (values[..., places] - low) / np.maximum(high - low, 1e-9)
    return np.rint(255 * stretched.clip(0, 1)).astype(np.uint8)
