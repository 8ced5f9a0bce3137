"""From probabilities to clean masks and the competition's run-length text (TF).

Probabilities are float[B, H, W, C] in 0..1, compared in float32 (float64 as they
are); masks are bool[B, H, W, C]; text is string[B, C]. The product's order: resize
the probabilities to the submission's grid, threshold them, then drop the small
components, so that `min_sizes` are areas in the submission's pixels. `drawing`
does all that a `Rule` says.

Eager calls refuse mistakes in shapes and values alike. A graph sees shapes and
constants only: there NaN, above no threshold, counts as background.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

from clouds.config.rule import Scope
from clouds.errors import InputError
from clouds.postprocess import components, ops

Numbers = float | Sequence[float] | tf.Tensor
"""One number for all labels, or C numbers, one a label."""

_BINS = 8192
_TOP = 17500 / (350 * 525)


def resize(probabilities: tf.Tensor, size: tuple[int, int] | tf.Tensor) -> tf.Tensor:
    """Resizes probabilities, bilinear with half-pixel centres.

    Args:
      probabilities: float[B, H, W, C].
      size: (height, width) wanted.

    Returns:
      float32[B, height, width, C].

    Raises:
      InputError: The probabilities have a wrong dtype, rank or range, or hold NaN.
    """
    return tf.image.resize(ops.checked(probabilities, "postprocess.resize"), size)


def without_gap(probabilities: tf.Tensor, images: tf.Tensor) -> tf.Tensor:
    """Sets probabilities to 0 where an image is black: between two orbits.

    The competition's masks are cut there: of the pixels whose channels are all 2 or
    less, 0.1 % are in any mask, and 49 % of all (250 of its images, at 320x480).

    Args:
      probabilities: float[B, H, W, C].
      images: uint8[B, h, w, 3], of any size.

    Returns:
      The probabilities, with 0 where the nearest pixel of the image is black.
    """
    seen = ops.seen(images, tf.shape(probabilities)[1:3])
    return probabilities * tf.cast(seen, probabilities.dtype)


def presence(probabilities: tf.Tensor) -> tf.Tensor:
    """Tells how sure a label is in an image: the mean of its highest probabilities.

    Those of 17,500 pixels at 350x525, and of the same share of any other grid: a score
    by which good entries of the competition decided. The maximum would hang on one
    pixel, the mean of all on how large the mask is.

    Args:
      probabilities: float[B, H, W, C].

    Returns:
      float32[B, C].

    Raises:
      InputError: The probabilities have a wrong dtype, rank or range, or hold NaN.
    """
    probabilities = ops.checked(probabilities, "postprocess.presence")
    probabilities = tf.cast(probabilities, tf.float32)
    batch, height, width, labels = tf.unstack(tf.shape(probabilities))
    planes = tf.transpose(probabilities, [0, 3, 1, 2])
    planes = tf.reshape(planes, [batch * labels, height * width])
    planes = tf.where(planes > 0, planes, 0)
    # To sort, or to look for the limit by halves, takes twice as long as to count.
    bins = tf.cast(tf.minimum(planes * _BINS, _BINS - 1), tf.int32)
    counts = tf.raw_ops.DenseBincount(input=bins, size=_BINS, weights=tf.zeros([0]))
    reaching = tf.cumsum(counts, axis=1, reverse=True)
    top = _TOP * tf.cast(height * width, tf.float32)
    limit = tf.reduce_sum(tf.cast(reaching >= top, tf.int32), 1)
    # What lacks is made up by pixels of the bin below the limit.
    reaching = tf.pad(reaching, [[0, 0], [0, 1]])
    lacking = top - tf.gather(reaching, limit, batch_dims=1)
    limit = tf.cast(limit, tf.float32) / _BINS
    above = tf.reduce_sum(tf.nn.relu(planes - limit[:, None]), 1)
    score = limit + (above - lacking / _BINS) / top
    return tf.reshape(score, [batch, labels])


def clean(
    probabilities: tf.Tensor,
    thresholds: Numbers,
    min_sizes: Numbers,
    *,
    tops: Numbers | None = None,
    scope: Scope = "component",
) -> tf.Tensor:
    """Thresholds probabilities and keeps the large components.

    Args:
      probabilities: float[B, H, W, C].
      thresholds: in 0..1; pixels strictly above belong to the mask.
      min_sizes: in pixels; 8-connected components of strictly more are kept.
      tops: in 0..1; components are kept only where a pixel lies strictly above.
      scope: in the component itself ('component'), or in the same label of the
        image ('image').

    Returns:
      bool[B, H, W, C].

    Raises:
      InputError: An argument has a wrong dtype, shape or range, or holds NaN.
    """
    where = "postprocess.clean"
    probabilities = ops.checked(probabilities, where)
    limits = _limits(probabilities, thresholds, min_sizes, tops, where)
    return tf.ensure_shape(_clean(probabilities, limits, scope), probabilities.shape)


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
    shape = tf.shape(masks)
    text = ops.write(components.runs(components.pack(masks)), shape[::3], shape[1:3])
    return tf.ensure_shape(text, masks.shape[::3])


def clean_to_rle(
    probabilities: tf.Tensor,
    thresholds: Numbers,
    min_sizes: Numbers,
    *,
    tops: Numbers | None = None,
    scope: Scope = "component",
    size: tuple[int, int] | None = None,
) -> tf.Tensor:
    """Does `resize`, `clean` and `to_rle` in one go, without painting the masks.

    Args:
      probabilities: float[B, H, W, C].
      thresholds: in 0..1; pixels strictly above belong to the mask.
      min_sizes: in pixels; 8-connected components of strictly more are kept.
      tops: in 0..1; components are kept only where a pixel lies strictly above.
      scope: in the component itself ('component'), or in the same label of the
        image ('image').
      size: (height, width) to resize to first; as they are if left out.

    Returns:
      string[B, C], as from `to_rle`.

    Raises:
      InputError: An argument has a wrong dtype, shape or range, or holds NaN.
    """
    where = "postprocess.clean_to_rle"
    probabilities = ops.checked(probabilities, where)
    limits = _limits(probabilities, thresholds, min_sizes, tops, where)
    size = None if size is None else tf.convert_to_tensor(size, tf.int32)
    text = _clean_to_rle(probabilities, limits, scope, size)
    return tf.ensure_shape(text, probabilities.shape[::3])


@tf.function(reduce_retracing=True)
def _clean(probabilities, limits, scope):
    def clean(images):
        columns = ops.threshold(images, limits[0], tf.shape(images)[::3])
        kept = ops.keep(images, columns, limits, scope)
        drawn = components.draw(kept, tf.shape(columns))
        return (components.unpack(drawn, tf.shape(images)[1:3]),)

    return ops.in_groups(clean, [probabilities], [tf.bool])[0]


@tf.function(reduce_retracing=True)
def _clean_to_rle(probabilities, limits, scope, size):
    def clean_to_rle(images):
        planes = images if size is None else ops.resize_abreast(images, size)
        shape = tf.shape(images)[::3]
        columns = ops.threshold(planes, limits[0], shape)
        kept = ops.keep(planes, columns, limits, scope)
        return (ops.write(kept, shape, tf.shape(planes)[1:3]),)

    return ops.in_groups(clean_to_rle, [probabilities], [tf.string])[0]


def _limits(probabilities, thresholds, min_sizes, tops, where):
    labels = probabilities.shape[3]
    thresholds = _numbers("Thresholds", thresholds, labels, 1, where)
    if tops is not None:
        tops = _numbers("Tops", tops, labels, 1, where)
    min_sizes = _numbers("Minimum sizes", min_sizes, labels, math.inf, where)
    return thresholds, min_sizes, tops


def _numbers(name, numbers, labels, highest, where):
    """The numbers as float64[] or float64[C], or an `InputError`."""
    if tf.is_tensor(numbers):
        numbers = tf.cast(numbers, tf.float64)
    numbers = tf.convert_to_tensor(numbers, tf.float64)
    values = tf.get_static_value(numbers)
    if values is not None and not ((values >= 0) & (values <= highest)).all():
        raise InputError(
            f"{name} must lie in 0..{highest}. Received: {values.tolist()}, in "
            f"{where}. Give a number, or one number a label."
        )
    if not any(numbers.shape.is_compatible_with(shape) for shape in ([], [labels])):
        raise InputError(
            f"{name} must be one number or {labels}, one a label. Received: shape "
            f"{numbers.shape}, in {where}. Count the labels of the "
            "probabilities' last axis."
        )
    return numbers
