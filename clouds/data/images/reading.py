"""Reads image files as training got them: decoded, and resized as in its records."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from clouds.data.images import (
    image_bytes,
    image_files,
    image_headers,
    native,
    preprocessing,
)
from clouds.schema import RGB, Bands

Read = Callable[[str], np.ndarray]
"""From a path to an image [h, w, K]."""


def reader(
    bands: Bands,
    size: tuple[int, int],
    records_size: tuple[int, int] | None = None,
    *,
    exact: bool = False,
) -> Read:
    """Returns a function that reads an image file, which several threads may call.

    Args:
      bands: bands of the images; RGB converts any file.
      size: height and width of the result.
      records_size: as for `preprocessing.decode_as_in_records`.
      exact: as for `preprocessing.decode`.

    Returns:
      A function that raises `InputError`, with the path, for a file that cannot be
      read, or has other bands.
    """
    options = {"exact": exact}
    if bands == RGB:

        def decode(path):
            contents = image_files.read(path)
            return preprocessing.decode_as_in_records(
                contents, size, records_size, **options
            )[0]

        given = tf.TensorSpec([], tf.string)
    else:

        def decode(image):
            return preprocessing.resize_as_in_records(
                image, size, records_size, **options
            )

        given = tf.TensorSpec([None, None, len(bands.names)], bands.dtype)
    # Traced here, as each of the threads would trace it.
    with tf.device("CPU:0"):
        decode = tf.function(decode).get_concrete_function(given)

    def read(path: str) -> np.ndarray:
        try:
            loaded = path if bands == RGB else native.load(path, bands)
            return decode(tf.constant(loaded)).numpy()
        except tf.errors.OpError as error:
            raise image_files.undecodable(path) from error

    return read


def shape(path: str) -> tuple[int, int]:
    """Returns height and width of an image file, upright, by its header.

    Raises:
      InputError: it cannot be read, or is no image.
    """
    try:
        header = image_headers.read(image_bytes.load(path))
    except image_bytes.UNREADABLE as error:
        raise image_bytes.unreadable(path, error) from error
    if header is None:
        raise image_files.undecodable(path)
    return header.size[::-1] if header.orientation > 4 else header.size
