"""The steps from probabilities to text, with explicit numbers (TensorFlow).

Probabilities are float[B, H, W, C] in 0..1, compared in float32 (float64 in float64);
masks are bool[B, H, W, C]; text is string[B, C].

Eager calls reject wrong shapes and values. A graph sees shapes and constants only:
there NaN, which exceeds no threshold, is background.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

from clouds.config.rule import Scope
from clouds.errors import InputError
from clouds.postprocess import components, ops

Numbers = float | Sequence[float] | tf.Tensor
"""One number for all labels, or one per label."""

_BINS = 8192
_TOP_FRACTION = 17500 / (350 * 525)


def resize(probabilities: tf.Tensor, size: tuple[int, int] | tf.Tensor) -> tf.Tensor:
    """Resizes probabilities, bilinear with half-pixel centres.

    Args:
      probabilities: float[B, H, W, C].
      size: (height, width) of the result.

    Returns:
      float32[B, height, width, C].

    Raises:
      InputError: the probabilities have a wrong dtype, rank or range, or contain NaN.
    """
    checked = ops.check_probabilities(probabilities, "postprocess.resize")
    return tf.image.resize(checked, size)


def without_gap(probabilities: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Sets probabilities to 0 in the orbit gap, where an image is black.

    The competition's masks are cut there: of the pixels with all channels at 2 or less,
    0.1 % are in any mask; of all pixels, 49 % (250 of its images, at 320x480).

    Args:
      probabilities: float[B, H, W, C].
      images: as for `ops.observed`, of any size.

    Returns:
      The probabilities, 0 where the nearest pixel of the image is black.
    """
    observed = ops.observed(images, tf.shape(probabilities)[1:3])
    return probabilities * tf.cast(observed, probabilities.dtype)


def presence(probabilities: tf.Tensor) -> tf.Tensor:
    """Scores how likely an image has a label: the mean of its highest probabilities.

    They are those of 17,500 pixels at 350x525, and of the same fraction of any other
    grid, as in good entries of the competition. The maximum would depend on a single
    pixel, the mean of all pixels on the area of the mask.

    Args:
      probabilities: float[B, H, W, C].

    Returns:
      float32[B, C].

    Raises:
      InputError: the probabilities have a wrong dtype, rank or range, or contain NaN.
    """
    probabilities = ops.check_probabilities(probabilities, "postprocess.presence")
    probabilities = tf.cast(probabilities, tf.float32)
    batch, height, width, labels = tf.unstack(tf.shape(probabilities))
    planes = tf.transpose(probabilities, [0, 3, 1, 2])
    planes = tf.reshape(planes, [batch * labels, height * width])
    planes = tf.where(planes > 0, planes, 0)
    # Sorting, or bisecting for the limit, takes twice as long as a histogram.
    bins = tf.cast(tf.minimum(planes * _BINS, _BINS - 1), tf.int32)
    counts = tf.raw_ops.DenseBincount(input=bins, size=_BINS, weights=tf.zeros([0]))
    reaching = tf.cumsum(counts, axis=1, reverse=True)
    top = _TOP_FRACTION * tf.cast(height * width, tf.float32)
    limit = tf.reduce_sum(tf.cast(reaching >= top, tf.int32), 1)
    # The missing pixels are taken from the bin below the limit.
    reaching = tf.pad(reaching, [[0, 0], [0, 1]])
    missing = top - tf.gather(reaching, limit, batch_dims=1)
    limit = tf.cast(limit, tf.float32) / _BINS
    above = tf.reduce_sum(tf.nn.relu(planes - limit[:, None]), 1)
    score = limit + (above - missing / _BINS) / top
    return tf.reshape(score, [batch, labels])


def clean(
    probabilities: tf.Tensor,
    thresholds: Numbers,
    min_sizes: Numbers,
    *,
    tops: Numbers | None = None,
    scope: Scope = "component",
) -> tf.Tensor:
    """Thresholds probabilities and keeps the large connected components.

    Args:
      probabilities: float[B, H, W, C].
      thresholds: probabilities in 0..1 that pixels of a mask exceed.
      min_sizes: minimum areas in pixels: 8-connected components of more are kept.
      tops: peak thresholds in 0..1: components are kept only if a pixel exceeds them.
      scope: where this pixel must be: in the component ('component'), or anywhere in
        the image with the same label ('image').

    Returns:
      bool[B, H, W, C].

    Raises:
      InputError: an argument has a wrong dtype, shape or range, or contains NaN.
    """
    probabilities = ops.check_probabilities(probabilities, "postprocess.clean")
    labels = probabilities.shape[3]
    limits = (
        _per_label("Thresholds", thresholds, labels, 1),
        _per_label("Minimum areas", min_sizes, labels, math.inf),
        None if tops is None else _per_label("Peak thresholds", tops, labels, 1),
    )
    return tf.ensure_shape(_clean(probabilities, limits, scope), probabilities.shape)


def to_rle(masks: tf.Tensor) -> tf.Tensor:
    """Encodes masks as the competition's text.

    Args:
      masks: bool[B, H, W, C].

    Returns:
      string[B, C], 'start length start length …' of the runs of each plane: pixels are
      counted from 1 down its columns, and a run may continue from the end of a column
      at the start of the next. Empty for an empty mask.

    Raises:
      InputError: the masks are not bool[B, H, W, C].
    """
    masks = tf.convert_to_tensor(masks)
    if masks.dtype != tf.bool or masks.shape.rank not in (4, None):
        raise InputError(
            "Masks must be bool[B, H, W, C]. Received: "
            f"{masks.dtype.name}, shape {masks.shape}, in postprocess.to_rle. "
            "Cast them to bool, and give one mask as mask[None, ..., None]."
        )
    masks = tf.ensure_shape(masks, [None] * 4)
    shape = tf.shape(masks)
    runs = components.runs(components.pack(masks))
    text = ops.to_text(runs, shape[::3], shape[1:3])
    return tf.ensure_shape(text, masks.shape[::3])


@tf.function(reduce_retracing=True)
def _clean(probabilities, limits, scope):
    def clean_group(group):
        columns = ops.threshold(group, limits[0], tf.shape(group)[::3])
        kept = ops.keep(group, columns, limits, scope)
        drawn = components.draw(kept, tf.shape(columns))
        return (components.unpack(drawn, tf.shape(group)[1:3]),)

    return ops.map_groups(clean_group, [probabilities], [tf.bool])[0]


def _per_label(name, numbers, labels, highest):
    """Converts numbers to float64[] or float64[C], or raises an `InputError`."""
    if tf.is_tensor(numbers):
        numbers = tf.cast(numbers, tf.float64)
    numbers = tf.convert_to_tensor(numbers, tf.float64)
    values = tf.get_static_value(numbers)
    if values is not None and not ((values >= 0) & (values <= highest)).all():
        raise InputError(
            f"{name} must be in 0..{highest}. Received: {values.tolist()}, in "
            "postprocess.clean. Give one number, or one per label."
        )
    if not any(numbers.shape.is_compatible_with(shape) for shape in ([], [labels])):
        raise InputError(
            f"{name} must be one number or {labels}, one per label. Received: shape "
            f"{numbers.shape}, in postprocess.clean. The labels are the last axis of "
            "the probabilities."
        )
    return numbers
