"""From the bytes of an image file to the network's input.

The one way that pixels go, in making records, predicting and serving: `decode`
on the host (TensorFlow), `prepare` on the device (keras.ops). Images are
uint8[H, W, 3] in RGB until `prepare` makes them float32, or have the K bands and the
dtype of their files (`native`).
"""

import keras
import numpy as np
import tensorflow as tf

from clouds.data.images import graph_formats
from clouds.schema import RGB, Bands

PREPROCESSING = {"unit": 1 / 255, "raw": 1.0}
"""Factor on the pixels: the notebook's 0..1, or the ImageNet weights' 0..255."""

MOST_PIXELS = 100_000_000
"""Maximum pixels of an image that an exported model decodes: 300 MB."""

SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM")
"""First bytes of the files that a server accepts: JPEG, PNG, BMP."""

_HEADER = 32
"""Bytes that contain the size of a PNG or BMP."""

_REDUCTIONS = (8, 4, 2)


def decode(
    contents: tf.Tensor, size: tuple[int, int], *, exact: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes an image file and resizes it.

    A JPEG is decoded at the smallest of 1/8, 1/4, 1/2 or full size that still
    covers `size`, since the decoder's own reduction costs nothing.

    Args:
      contents: string[], a JPEG, PNG, BMP, WebP or GIF (its first frame).
      size: height and width of the result.
      exact: decode at full size, and resize as the notebook does: bilinear, which
        skips pixels when it shrinks.

    Returns:
      uint8[h, w, 3] and int32[2], the height and width in the file.

    Raises:
      tf.errors.InvalidArgumentError: the bytes are no such image, or cut short.
    """
    image, original_size, extent = tf.cond(
        tf.io.is_jpeg(contents),
        lambda: _decode_jpeg(contents, size, () if exact else _REDUCTIONS),
        lambda: _decode_other(contents),
    )
    image = tf.ensure_shape(image, [None, None, 3])
    image = tf.cond(
        tf.reduce_all(extent == tf.cast(tf.shape(image)[:2], tf.float32)),
        lambda: resize(image, size, exact=exact),
        lambda: _resize_extent(image, extent, size),
    )
    return image, original_size


def decode_as_in_records(
    contents: tf.Tensor,
    size: tuple[int, int],
    records_size: tuple[int, int] | None,
    *,
    exact: bool = False,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes an image file as training did: to the size of its records, then resized.

    Training gets the same pixels, except for the JPEG compression of the records.

    Args:
      contents: as for `decode`.
      size: height and width of the result.
      records_size: height and width of the images in the records; None to decode to
        `size` directly.
      exact: as for `decode`.

    Returns:
      As for `decode`.

    Raises:
      tf.errors.InvalidArgumentError: as for `decode`.
    """
    image, original_size = decode(contents, records_size or size, exact=exact)
    return resize(image, size), original_size


def resize_as_in_records(
    image: tf.Tensor,
    size: tuple[int, int],
    records_size: tuple[int, int] | None,
    *,
    exact: bool = False,
) -> tf.Tensor:
    """Resizes an image as training did: to the size of its records, then to its own.

    Args:
      image: as for `resize`.
      size: as for `decode_as_in_records`, as are the others.
      records_size: size of the images in the records; None to resize once.
      exact: as for `resize`.

    Returns:
      An image as from `resize`.
    """
    return resize(resize(image, records_size or size, exact=exact), size)


def limited(contents: tf.Tensor, bands: Bands = RGB) -> tf.Tensor:
    """Rejects an image that a server should not decode.

    A PNG of 100 kB can hold gigabytes. GIF is rejected since its header does not give
    the number of frames, WebP since TensorFlow 2.15 cannot decode it.

    Args:
      contents: string[], the file.
      bands: bands of the image; other than RGB must be a PNG's.

    Returns:
      The same.

    Raises:
      tf.errors.InvalidArgumentError: the file is not a JPEG, PNG or BMP, has more than
        `MOST_PIXELS`, or would be decoded wrongly (see `graph_formats.check` and
        `graph_formats.check_bands`).
    """
    sides = header_size(contents)
    small = tf.Assert(
        tf.reduce_all(sides <= MOST_PIXELS) & (tf.reduce_prod(sides) <= MOST_PIXELS),
        [f"Image must have {MOST_PIXELS} pixels at most. Received: sides of", sides],
    )
    with tf.control_dependencies([small]):
        if bands == RGB:
            return graph_formats.check(contents)
        return graph_formats.check_bands(contents, bands)


def header_size(contents: tf.Tensor) -> tf.Tensor:
    """Reads the size of an image from the header of its file.

    Args:
      contents: string[], the file; a truncated PNG or BMP counts as padded with zeros.

    Returns:
      int64[2], height and width.

    Raises:
      tf.errors.InvalidArgumentError: the file is not a JPEG, PNG or BMP, or a JPEG
        without a size.
    """
    header = tf.strings.substr(contents, 0, _HEADER) + "\0" * _HEADER
    header = tf.io.decode_raw(tf.strings.substr(header, 0, _HEADER), tf.uint8)
    is_jpeg, is_png, is_bmp = (
        tf.reduce_all(header[: len(start)] == tf.constant(list(start), tf.uint8))
        for start in SIGNATURES
    )
    supported = tf.Assert(
        is_jpeg | is_png | is_bmp,
        ["Image must be a JPEG, PNG or BMP. Received: other first bytes."],
    )
    png_size = tf.bitcast(tf.reshape(header[16:24], [2, 4])[:, ::-1], tf.uint32)
    bmp_size = tf.bitcast(tf.reshape(header[18:26], [2, 4]), tf.int32)
    sides = tf.where(is_png, tf.cast(png_size, tf.int64), tf.cast(bmp_size, tf.int64))
    with tf.control_dependencies([supported]):
        return tf.cond(
            is_jpeg,
            lambda: tf.cast(tf.io.extract_jpeg_shape(contents)[:2], tf.int64),
            # A BMP of negative height is stored from the top down.
            lambda: tf.abs(sides[::-1]),
        )


def resize(
    image: tf.Tensor, size: tuple[int, int], *, exact: bool = False
) -> tf.Tensor:
    """Resizes an image: areas are averaged to shrink, else bilinear.

    Args:
      image: uint8, uint16 or float32 [H, W, K].
      size: height and width of the result.
      exact: bilinear also to shrink, as the notebook does.

    Returns:
      The same dtype [h, w, K]; integers are rounded.
    """
    image = tf.convert_to_tensor(image)
    bands = image.shape[-1]
    if exact:
        return tf.ensure_shape(_resize(image, size, "bilinear"), [*size, bands])
    shape = tf.shape(image)[:2]
    cases = [
        (tf.reduce_all(shape == size), lambda: image),
        (tf.reduce_all(shape >= size), lambda: _resize(image, size, "area")),
    ]
    resized = tf.case(cases, default=lambda: _resize(image, size, "bilinear"))
    return tf.ensure_shape(resized, [*size, bands])


def prepare(images, preprocess: str = "unit", statistics=None):
    """Scales pixels for the network.

    Args:
      images: uint8, uint16 or float32 [B, H, W, K].
      preprocess: `statistics`, or a key of `PREPROCESSING`. `unit` divides uint16 by
        65535.
      statistics: for `statistics`, means and standard deviations of the K bands.

    Returns:
      float32[B, H, W, K].
    """
    values = keras.ops.cast(images, "float32")
    if preprocess == "statistics":
        means, deviations = np.array(statistics, np.float32)
        return (values - means) * (1 / deviations)
    is_wide = keras.backend.standardize_dtype(images.dtype) == "uint16"
    if preprocess == "unit" and is_wide:
        return values * (1 / 65535)
    return values * PREPROCESSING[preprocess]


def _resize(image: tf.Tensor, size: tuple[int, int], method: str) -> tf.Tensor:
    resized = tf.image.resize(image, size, method)
    return (
        tf.cast(tf.round(resized), image.dtype) if image.dtype.is_integer else resized
    )


def _resize_extent(image: tf.Tensor, extent: tf.Tensor, size) -> tf.Tensor:
    """Resizes the top left part of an image, whose height and width are fractional."""
    resized = tf.raw_ops.ScaleAndTranslate(
        images=tf.cast(image, tf.float32)[None],
        size=size,
        scale=tf.constant(size, tf.float32) / extent,
        translation=[0.0, 0.0],
        kernel_type="triangle",
        antialias=True,
    )[0]
    resized = tf.cast(tf.round(tf.clip_by_value(resized, 0, 255)), tf.uint8)
    return tf.ensure_shape(resized, [*size, 3])


def _decode_jpeg(contents: tf.Tensor, size: tuple[int, int], reductions):
    """Returns the reduced image, its full size, and its exact reduced size.

    The decoder rounds reduced sizes up: the last row and column may be partial.
    """
    shape = tf.io.extract_jpeg_shape(contents)[:2]
    covering = [tf.reduce_all(-(-shape // ratio) >= size) for ratio in reductions]

    def decoded(ratio: int):
        def decode():
            image = tf.io.decode_jpeg(
                contents, channels=3, ratio=ratio, dct_method="INTEGER_ACCURATE"
            )
            return image, tf.cast(shape, tf.float32) / ratio

        return decode

    cases = [
        (fits, decoded(ratio)) for fits, ratio in zip(covering, reductions, strict=True)
    ]
    image, extent = tf.case(cases, default=decoded(1)) if cases else decoded(1)()
    return image, shape, extent


def _decode_other(contents: tf.Tensor):
    image = graph_formats.decode(contents)
    shape = tf.shape(image)[:2]
    return image, shape, tf.cast(shape, tf.float32)
