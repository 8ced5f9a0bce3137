"""Decodes image files other than JPEG, and finds what a graph cannot decode rightly.

Elsewhere, `formats` converts such files before; an exported model refuses them.
"""

import tensorflow as tf

DARKEST_16_BIT = 1 << 14
"""Minimum of the brightest of 16-bit values, unless all are 0."""

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
