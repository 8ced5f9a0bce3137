"""From probabilities to clean masks and the competition's run-length text (TF).

Probabilities are float[B, H, W, C] in 0..1, compared in float32 (float64 as they
are); masks are bool[B, H, W, C]; text is string[B, C]. The product's order: resize
the probabilities to the submission's grid, threshold them, then drop the small
components, so that `min_sizes` are areas in the submission's pixels.

Eager calls refuse mistakes in shapes and values alike. A graph sees shapes and
constants only: there NaN, above no threshold, counts as background.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

from clouds import components
from clouds.errors import InputError

Numbers = float | Sequence[float] | tf.Tensor
"""One number for all labels, or C numbers, one a label."""


def resize(probabilities: tf.Tensor, size: tuple[int, int] | tf.Tensor) -> tf.Tensor:
    """Resizes probabilities, bilinear with half-pixel centres.

    Args:
      probabilities: float[B, H, W, C].
      size: (height, width) wanted.

    Returns:
      float32[B, height, width, C].

    Raises:
      InputError: The probabilities have a wrong dtype or rank, or hold NaN.
    """
    return tf.image.resize(_checked(probabilities, "resize"), size)


def clean(
    probabilities: tf.Tensor, thresholds: Numbers, min_sizes: Numbers
) -> tf.Tensor:
    """Thresholds probabilities and keeps the large components.

    Args:
      probabilities: float[B, H, W, C].
      thresholds: in 0..1; pixels strictly above belong to the mask.
      min_sizes: in pixels; 8-connected components of strictly more are kept.

    Returns:
      bool[B, H, W, C].

    Raises:
      InputError: An argument has a wrong dtype, shape or range, or holds NaN.
    """
    where = "clean"
    probabilities = _checked(probabilities, where)
    thresholds, min_sizes = _limits(probabilities, thresholds, min_sizes, where)
    return tf.ensure_shape(
        _clean(probabilities, thresholds, min_sizes), probabilities.shape
    )


def to_rle(masks: tf.Tensor) -> tf.Tensor:
    """Writes masks as the competition's text.

    Args:
      masks: bool[B, H, W, C].

    Returns:
      string[B, C], 'start length start length …' of each plane's runs: pixels are
      counted from 1 down its columns, and a run may go on from the foot of one
      column to the head of the next. Empty for an empty mask.

    Raises:
      InputError: The masks are not bool[B, H, W, C].
    """
    masks = tf.convert_to_tensor(masks)
    if masks.dtype != tf.bool or masks.shape.rank not in (4, None):
        raise InputError(
            "Masks must be bool[B, H, W, C]. Received: "
            f"{masks.dtype.name}, shape {masks.shape}, in postprocess.to_rle. "
            "Cast them to bool, and give one mask as mask[None, ..., None]."
        )
    batch, height, width, labels = tf.unstack(tf.shape(masks))
    found = components.runs(components.pack(masks))
    text = _write(found, height, width, batch * labels)
    return tf.ensure_shape(tf.reshape(text, [batch, labels]), masks.shape[::3])


def clean_to_rle(
    probabilities: tf.Tensor,
    thresholds: Numbers,
    min_sizes: Numbers,
    *,
    size: tuple[int, int] | None = None,
) -> tf.Tensor:
    """Does `resize`, `clean` and `to_rle` in one go, without painting the masks.

    Args:
      probabilities: float[B, H, W, C].
      thresholds: in 0..1; pixels strictly above belong to the mask.
      min_sizes: in pixels; 8-connected components of strictly more are kept.
      size: (height, width) to resize to first; as they are if left out.

    Returns:
      string[B, C], as from `to_rle`.

    Raises:
      InputError: An argument has a wrong dtype, shape or range, or holds NaN.
    """
    where = "clean_to_rle"
    probabilities = _checked(probabilities, where)
    thresholds, min_sizes = _limits(probabilities, thresholds, min_sizes, where)
    size = None if size is None else tf.convert_to_tensor(size, tf.int32)
    text = _clean_to_rle(probabilities, thresholds, min_sizes, size)
    return tf.ensure_shape(text, probabilities.shape[::3])


@tf.function(reduce_retracing=True)
def _clean(probabilities, thresholds, min_sizes):
    columns = _pack(probabilities, thresholds, None)
    kept = _kept(columns, min_sizes)
    size = tf.shape(probabilities)[1:3]
    return components.unpack(components.draw(kept, tf.shape(columns)), size)


@tf.function(reduce_retracing=True)
def _clean_to_rle(probabilities, thresholds, min_sizes, size):
    columns = _pack(probabilities, thresholds, size)
    height, width = tf.unstack(tf.shape(probabilities)[1:3] if size is None else size)
    batch, labels, _, _ = tf.unstack(tf.shape(columns))
    text = _write(_kept(columns, min_sizes), height, width, batch * labels)
    return tf.reshape(text, [batch, labels])


def _pack(probabilities, thresholds, size):
    """Resizes if need be, thresholds and packs, image by image.

    An image fits the cache, and its resize, which keeps to one core, runs beside
    the next one's: over twice as fast as the batch at once.
    """

    def pack(image):
        images = image[None]
        if size is not None:
            images = tf.image.resize(images, size)
        return components.pack(_above(images, thresholds))[0]

    def pack_all():
        return tf.map_fn(pack, probabilities, fn_output_signature=tf.uint8)

    def pack_none():
        return tf.zeros([0, tf.shape(probabilities)[3], 0, 1], tf.uint8)

    # An empty loop cannot tell the shape of what it would have stacked.
    return tf.cond(tf.shape(probabilities)[0] > 0, pack_all, pack_none)


def _above(probabilities, thresholds):
    """Compares by whole rows, five times as fast as by C labels at a time."""
    batch, height, width, labels = tf.unstack(tf.shape(probabilities))
    limits = tf.tile(tf.broadcast_to(thresholds, [labels]), [width])
    rows = tf.reshape(probabilities, [batch, height, width * labels])
    limits = tf.cast(limits, rows.dtype)
    return tf.reshape(rows > limits, tf.shape(probabilities))


def _kept(columns, min_sizes):
    found = components.runs(columns)
    areas = components.areas(found, components.label_runs(found))
    labels = tf.shape(columns)[1]
    limits = tf.gather(tf.broadcast_to(min_sizes, [labels]), found.plane % labels)
    kept = tf.where(tf.cast(areas, tf.float64) > limits)[:, 0]
    return components.Runs(*(tf.gather(part, kept) for part in found))


def _write(found, height, width, planes):
    """Writes the text of each plane: string[planes]."""
    # A column to spare keeps the planes apart where runs of two columns meet.
    area = (width + 1) * height
    starts = (found.plane * (width + 1) + found.column) * height + found.start
    ends = starts + found.end - found.start
    breaks = starts[1:] != ends[:-1]
    here = tf.ones([tf.minimum(tf.size(starts), 1)], tf.bool)
    starts = tf.boolean_mask(starts, tf.concat([here, breaks], 0))
    ends = tf.boolean_mask(ends, tf.concat([breaks, here], 0))
    plane = starts // area
    numbers = tf.stack([starts - plane * area + 1, ends - starts], axis=1)
    numbers = tf.strings.as_string(tf.reshape(numbers, [-1]))
    return tf.strings.unsorted_segment_join(
        numbers, tf.repeat(plane, 2), planes, separator=" "
    )


def _checked(probabilities, where):
    """The probabilities as float32 or float64[B, H, W, C], or an `InputError`."""
    probabilities = tf.convert_to_tensor(probabilities)
    if not probabilities.dtype.is_floating or probabilities.shape.rank not in (4, None):
        raise InputError(
            "Probabilities must be float[B, H, W, C]. Received: "
            f"{probabilities.dtype.name}, shape {probabilities.shape}, in "
            f"postprocess.{where}. Give one image as probabilities[None]."
        )
    if probabilities.dtype != tf.float64:
        probabilities = tf.cast(probabilities, tf.float32)
    if tf.executing_eagerly():
        _refuse_nan(probabilities, where)
    return tf.ensure_shape(probabilities, [None] * 4)


def _refuse_nan(probabilities, where):
    broken = tf.math.is_nan(probabilities)
    if not tf.reduce_any(broken):
        return
    places = tf.where(broken).numpy().tolist()
    raise InputError(
        f"Probabilities must be numbers. Received: NaN in {len(places)} places, the "
        f"first at [B, H, W, C] = {places[0]}, in postprocess.{where}. Look for an "
        "overflow in the network."
    )


def _limits(probabilities, thresholds, min_sizes, where):
    labels = probabilities.shape[3]
    thresholds = _numbers("Thresholds", thresholds, labels, 1, where)
    return thresholds, _numbers("Minimum sizes", min_sizes, labels, math.inf, where)


def _numbers(name, numbers, labels, highest, where):
    """The numbers as float64[] or float64[C], or an `InputError`."""
    if tf.is_tensor(numbers):
        numbers = tf.cast(numbers, tf.float64)
    numbers = tf.convert_to_tensor(numbers, tf.float64)
    values = tf.get_static_value(numbers)
    if values is not None and not ((values >= 0) & (values <= highest)).all():
        raise InputError(
            f"{name} must lie in 0..{highest}. Received: {values.tolist()}, in "
            f"postprocess.{where}. Give a number, or one number a label."
        )
    if not any(numbers.shape.is_compatible_with(shape) for shape in ([], [labels])):
        raise InputError(
            f"{name} must be one number or {labels}, one a label. Received: shape "
            f"{numbers.shape}, in postprocess.{where}. Count the labels of the "
            "probabilities' last axis."
        )
    return numbers
