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
    masks = tf.ensure_shape(masks, [None] * 4)
    text = _write(components.runs(components.pack(masks)), tf.shape(masks))
    return tf.ensure_shape(text, masks.shape[::3])


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
    def clean(images):
        columns = components.pack(_above(images, thresholds))
        kept = components.draw(_kept(columns, min_sizes), tf.shape(columns))
        return components.unpack(kept, tf.shape(images)[1:3])

    return _each(clean, probabilities, tf.bool)


@tf.function(reduce_retracing=True)
def _clean_to_rle(probabilities, thresholds, min_sizes, size):
    def clean_to_rle(images):
        if size is not None:
            images = tf.image.resize(images, size)
        columns = components.pack(_above(images, thresholds))
        return _write(_kept(columns, min_sizes), tf.shape(images))

    return _each(clean_to_rle, probabilities, tf.string)


def _each(function, images, dtype):
    """Calls a function of a batch with each image as a batch of one.

    An image fits the cache where a batch does not, and most of the ops keep to one
    core, so images side by side make use of all: up to twice as fast.
    """
    return tf.cond(
        tf.shape(images)[0] > 0,
        lambda: tf.map_fn(
            lambda image: function(image[None])[0], images, fn_output_signature=dtype
        ),
        # A loop over no images could not tell the shape of what it stacks.
        lambda: function(images),
    )


def _above(probabilities, thresholds):
    """Compares by whole rows: a broadcast over C labels costs several times more."""
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


def _write(found, shape):
    """Writes the runs of masks of a shape [B, H, W, C]: string[B, C]."""
    batch, height, width, labels = tf.unstack(shape)
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
    words = _words(tf.reshape(numbers, [-1]))
    planes = tf.repeat(plane, 2)
    text = tf.strings.unsorted_segment_join(words, planes, batch * labels, " ")
    return tf.reshape(text, [batch, labels])


def _words(numbers):
    """Writes numbers; where they outnumber their range, by looking them up."""
    values = tf.reduce_max(tf.concat([[0], numbers], 0)) + 1
    return tf.cond(
        tf.size(numbers) > values,
        lambda: tf.gather(tf.strings.as_string(tf.range(values)), numbers),
        lambda: tf.strings.as_string(numbers),
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
