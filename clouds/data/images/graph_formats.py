"""Decodes image files other than JPEG, and finds what a graph cannot decode rightly.

Elsewhere, `formats` converts such files before; an exported model refuses them.
"""

import numpy as np
import tensorflow as tf

from clouds.schema import Bands

DARKEST_16_BIT = 1 << 14
"""Minimum of the brightest of 16-bit values, unless all are 0."""

_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""Colour type of a PNG by its number of bands."""
_PNG = b"\x89PNG\r\n\x1a\n"
# An orientation of 2 to 8 in Exif data, little and big endian. RE2 matches text in
# UTF-8, apart from \C, one byte.
_TURNED = (
    r"(II\*\x00\C*\x12\x01\x03\x00\x01\x00\x00\x00[\x02-\x08]\x00"
    r"|MM\x00\*\C*\x01\x12\x00\x03\x00\x00\x00\x01\x00[\x02-\x08])\C*"
)
_TURNED_JPEG = r"\C*Exif\x00\x00" + _TURNED
_TURNED_PNG = r"\C*eXIf" + _TURNED
_KEYED_PNG = r"\C*\x00\x00\x00[\x02\x06]tRNS\C*"
_EXIF_BYTES = 1 << 16
"""Length of the start of a JPEG that is searched for Exif data."""


def decode(contents: tf.Tensor) -> tf.Tensor:
    """Decodes a PNG, BMP, WebP or GIF (its first frame).

    The alpha of a PNG composites it on black, the colour of the orbit gap.

    Args:
      contents: string[], the file.

    Returns:
      uint8[H, W, 3].

    Raises:
      tf.errors.InvalidArgumentError: the bytes are no such image, or cut short.
    """
    return tf.cond(
        tf.strings.substr(contents, 0, len(_PNG)) == _PNG,
        lambda: _decode_png(contents),
        lambda: tf.io.decode_image(contents, channels=3, expand_animations=False),
    )


def check(contents: tf.Tensor) -> tf.Tensor:
    """Refuses JPEGs, PNGs and BMPs that TensorFlow decodes wrongly without an error.

    Args:
      contents: string[], the file.

    Returns:
      The same.

    Raises:
      tf.errors.InvalidArgumentError: the image is turned by an orientation tag, is a
        BMP other than of 24 bits, or a PNG with a single transparent colour, or with
        16-bit values of almost black.
    """
    start = tf.strings.substr(contents, 0, 1)
    is_bmp, is_png = start == b"B", start == b"\x89"
    header = tf.strings.substr(contents, 0, 34) + "\0" * 34
    header = tf.io.decode_raw(tf.strings.substr(header, 0, 34), tf.uint8)
    # The length of the header, the bits of a pixel, and no compression.
    bmp_fields = tf.gather(header, [15, 16, 17, 28, 29, 30, 31, 32, 33])
    usual = tf.reduce_all(bmp_fields == [0, 0, 0, 24, 0, 0, 0, 0, 0])
    usual &= header[14] >= 40
    exif = tf.strings.substr(contents, 0, _EXIF_BYTES)
    turned = tf.where(
        is_png,
        tf.strings.regex_full_match(contents, _TURNED_PNG),
        tf.strings.regex_full_match(exif, _TURNED_JPEG),
    )
    single_colour = (header[25] == 0) | (header[25] == 2)
    keyed = is_png & single_colour & tf.strings.regex_full_match(contents, _KEYED_PNG)
    is_wide = is_png & (header[24] == 16)
    is_dark = tf.cond(is_wide, lambda: _is_dark(contents), lambda: False)
    faults = {
        "upright: remove the orientation tag, and turn it": turned & ~is_bmp,
        "a BMP of 24 bits, or a PNG": is_bmp & ~usual,
        "a PNG with an alpha channel, not with a transparent colour": keyed,
        "of 8 bits: its 16-bit values are almost black": is_dark,
    }
    return _checked(contents, faults)


def check_bands(contents: tf.Tensor, bands: Bands) -> tf.Tensor:
    """Refuses files other than PNGs of some bands.

    Args:
      contents: string[], the file.
      bands: bands that it must have.

    Returns:
      The same.

    Raises:
      tf.errors.InvalidArgumentError: it is another file, of other bands or depth, or
        turned by an orientation tag, or has a single transparent colour.
    """
    header = tf.strings.substr(contents, 0, 26) + "\0" * 26
    header = tf.io.decode_raw(tf.strings.substr(header, 0, 26), tf.uint8)
    colour, bits = _COLOUR_TYPES[len(bands.names)], 8 * np.dtype(bands.dtype).itemsize
    fits = tf.strings.substr(contents, 0, len(_PNG)) == _PNG
    fits &= (header[24] == bits) & (header[25] == colour)
    turned = tf.strings.regex_full_match(contents, _TURNED_PNG)
    keyed = tf.strings.regex_full_match(contents, _KEYED_PNG)
    faults = {
        f"a PNG of {bands}": ~fits,
        "upright: remove the orientation tag, and turn it": turned,
        "a PNG without a transparent colour": (colour in (0, 2)) & keyed,
    }
    return _checked(contents, faults)


def decode_bands(contents: tf.Tensor, bands: Bands) -> tf.Tensor:
    """Decodes a PNG that passed `check_bands`, to [H, W, K] of the bands."""
    image = tf.io.decode_png(contents, 0, bands.dtype)
    return tf.ensure_shape(image, [None, None, len(bands.names)])


def _checked(contents: tf.Tensor, faults: dict[str, tf.Tensor]) -> tf.Tensor:
    checks = [
        tf.Assert(~fault, [f"Image must be {wanted}."])
        for wanted, fault in faults.items()
    ]
    with tf.control_dependencies(checks):
        return tf.identity(contents)


def _decode_png(contents: tf.Tensor) -> tf.Tensor:
    image = tf.io.decode_png(contents)
    channels = tf.shape(image)[2]

    def composite():
        colours, alpha = tf.split(tf.cast(image, tf.int32), [channels - 1, 1], axis=2)
        return tf.cast((colours * alpha + 127) // 255, tf.uint8)

    image = tf.cond(channels % 2 == 0, composite, lambda: image)
    is_grey = channels <= 2
    return tf.cond(is_grey, lambda: tf.tile(image, [1, 1, 3]), lambda: image)


def _is_dark(contents: tf.Tensor) -> tf.Tensor:
    brightest = tf.reduce_max(tf.io.decode_png(contents, 3, tf.uint16))
    brightest = tf.cast(brightest, tf.int32)
    return (brightest > 0) & (brightest < DARKEST_16_BIT)
