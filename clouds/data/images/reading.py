"""Reads image files as training got them: decoded, and resized as in its records."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from clouds.data.images import image_files, native, preprocessing
from clouds.schema import RGB, Bands

Read = Callable[[str], tuple[np.ndarray, tuple[int, int]]]
"""From a path to an image [h, w, K] and the height and width in its file."""


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
            )

        given = tf.TensorSpec([], tf.string)
    else:

        def decode(image):
            resized = preprocessing.resize_as_in_records(
                image, size, records_size, **options
            )
            return resized, tf.shape(image)[:2]

        given = tf.TensorSpec([None, None, len(bands.names)], bands.dtype)
    # Traced here, as each of the threads would trace it.
    with tf.device("CPU:0"):
        decode = tf.function(decode).get_concrete_function(given)

    def read(path: str) -> tuple[np.ndarray, tuple[int, int]]:
        try:
            loaded = path if bands == RGB else native.load(path, bands)
            image, shape = decode(tf.constant(loaded))
        except tf.errors.OpError as error:
            raise image_files.undecodable(path) from error
        return image.numpy(), tuple(shape.numpy().tolist())

    return read
