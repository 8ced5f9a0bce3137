"""Images as a model on a server takes them: files, or values that no PNG holds."""

import base64
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from clouds.client import http
from clouds.client.retry import Busy, Rejected, Retry
from clouds.data.images import (
    formats,
    image_bytes,
    image_files,
    native,
    preprocessing,
)
from clouds.plots.false_colour import to_rgb
from clouds.schema import RGB, Bands

Image = bytes | np.ndarray
"""An image file, or the values [H, W, K]."""

_DTYPES = {"DT_UINT8": "uint8", "DT_UINT16": "uint16", "DT_FLOAT": "float32"}
_MAX_BYTES = 200_000_000


def bands_of(signatures: Mapping) -> Bands:
    """Returns the bands that a model takes; their names are not known.

    Args:
      signatures: the `signature_def` of the server's metadata.

    Raises:
      KeyError, TypeError, ValueError: it is none.
    """
    # Only models of colours take them as numbers in two types.
    if "images" not in signatures or "images_uint8" in signatures:
        return RGB
    given = signatures["images"]["inputs"]["images"]
    count = int(given["tensor_shape"]["dim"][-1]["size"])
    return Bands.numbered(count, _DTYPES[given["dtype"]])


def as_file(image: np.ndarray, bands: Bands) -> Image:
    """Returns an image as a model takes it: a PNG, if one holds the bands.

    Args:
      image: [H, W, K].
      bands: bands of the model.
    """
    return tf.io.encode_png(image).numpy() if bands.as_png else image


def row(image: Image) -> dict | np.ndarray:
    """Returns an image as a row of a REST request."""
    if isinstance(image, bytes):
        return {"b64": base64.b64encode(image).decode()}
    return image


def batch(images: Sequence[Image]) -> tuple[str, list[bytes] | np.ndarray]:
    """Returns the input of a model for images, and its name.

    Raises:
      Rejected: they are values of several sizes, which no batch can hold.
    """
    if isinstance(images[0], bytes):
        return "image_bytes", list(images)
    if len({image.shape for image in images}) > 1:
        raise Rejected("images of one request must have the same size")
    return "images", np.stack(images)


def read(path: str, retry: Retry, bands: Bands = RGB) -> Image | Exception:
    """Reads an image for a model.

    Args:
      path: path or URL.
      retry: retries of a download.
      bands: bands of the model; RGB converts any file.

    Returns:
      The image, or the reason why there is none.
    """
    try:
        if path.startswith(image_files.URLS):
            contents = retry(lambda seconds: http.fetch(path, seconds, _MAX_BYTES))
        else:
            contents = image_bytes.load(path)
        if bands != RGB:
            image = native.decode(contents)
            native.check_bands(path, bands, image.shape[2], image.dtype.name)
            return as_file(image, bands)
        contents = formats.convert(contents, path)
        if contents.startswith(preprocessing.SIGNATURES):
            return contents
        image = tf.io.decode_image(contents, 3, expand_animations=False)
        return tf.io.encode_png(image).numpy()
    except (Busy, Rejected) as error:
        return error
    except image_bytes.UNREADABLE as error:
        reason = image_bytes.reason(error).partition(" [Op")[0]
        return Rejected(f"it cannot be read as an image ({reason})")


def picture(path: str, grid: tuple[int, int], bands: Bands = RGB) -> np.ndarray:
    """Returns an image to draw on, uint8[H, W, 3]; black if it cannot be read.

    Args:
      path: path or URL.
      grid: height and width of the picture.
      bands: bands of the model.
    """
    contents = read(path, Retry(0, 60), bands)
    if isinstance(contents, Exception):
        return np.zeros((*grid, 3), np.uint8)
    if bands == RGB:
        return preprocessing.decode(contents, grid)[0].numpy()
    image = contents
    if bands.as_png:
        image = tf.io.decode_png(contents, 0, bands.dtype)
    return to_rgb(preprocessing.resize(image, grid).numpy(), bands)
