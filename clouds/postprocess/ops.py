"""What limits leave of probabilities: packed columns, runs, and their text (TF).

The steps that `postprocess` takes with numbers and `drawing` by a rule. Planes of
probabilities are float32 or float64[B, H, W, C], compared with limits of float64[] or
float64[C]; columns and `Runs` are those of `components`. A shape is int32[2], B and C,
and a grid int32[2], height and width.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from clouds.config.rule import Scope
from clouds.errors import InputError
from clouds.postprocess import components
from clouds.postprocess.components import Runs

_BLACK = 2
_ROUNDING = 1e-3
_AT_ONCE = 4


def checked(probabilities: tf.Tensor, where: str) -> tf.Tensor:
    """Checks probabilities.

    Args:
      probabilities: to check.
      where: the function that they were given to, for the message.

    Returns:
      float32[B, H, W, C], or float64 as they are.

    Raises:
      InputError: They have a wrong dtype or rank or, told in eager calls only, hold
        NaN or lie outside 0..1.
    """
    probabilities = tf.convert_to_tensor(probabilities)
    if not probabilities.dtype.is_floating or probabilities.shape.rank not in (4, None):
        raise InputError(
            "Probabilities must be float[B, H, W, C]. Received: "
            f"{probabilities.dtype.name}, shape {probabilities.shape}, in "
            f"{where}. Give one image as probabilities[None]."
        )
    if probabilities.dtype != tf.float64:
        probabilities = tf.cast(probabilities, tf.float32)
    if tf.executing_eagerly():
        _refuse_values(probabilities, where)
    return tf.ensure_shape(probabilities, [None] * 4)


def in_groups(
    function: Callable[..., Sequence[tf.Tensor]],
    batches: Sequence[tf.Tensor],
    dtypes: Sequence[tf.DType],
) -> list[tf.Tensor]:
    """Calls a function of batches with a few images at a time.

    A few fit the cache where a batch does not, and most of the ops keep to one core,
    so groups side by side make use of all.

    Args:
      function: from a few images' part of each batch to tensors, these images first.
      batches: each of B images.
      dtypes: those of the function's results.

    Returns:
      Its results, of all B images.
    """
    count = tf.shape(batches[0])[0]
    groups = (count + _AT_ONCE - 1) // _AT_ONCE

    def one(number, done):
        first = number * _AT_ONCE
        results = function(*(batch[first : first + _AT_ONCE] for batch in batches))
        return number + 1, [
            array.write(number, result)
            for array, result in zip(done, results, strict=True)
        ]

    def all_of_them():
        arrays = [tf.TensorArray(d, groups, infer_shape=False) for d in dtypes]
        _, arrays = tf.while_loop(lambda number, _: number < groups, one, [0, arrays])
        return [array.concat() for array in arrays]

    return tf.cond(groups > 1, all_of_them, lambda: list(function(*batches)))


def resize_abreast(
    probabilities: tf.Tensor, size: tuple[int, int] | tf.Tensor
) -> tf.Tensor:
    """Resizes the planes of all images as those of one, as `postprocess.resize` does.

    TensorFlow's CPU takes half the time from eight channels on.

    Args:
      probabilities: float[B, H, W, C].
      size: (height, width) wanted.

    Returns:
      float32[1, height, width, B C], the labels of the first image first; of no
      images float32[0, height, width, C].
    """
    batch, height, width, labels = tf.unstack(tf.shape(probabilities))
    abreast = tf.transpose(probabilities, [1, 2, 0, 3])
    # No image is not one without channels, which could not be resized.
    shape = [tf.minimum(batch, 1), height, width, tf.maximum(batch, 1) * labels]
    return tf.image.resize(tf.reshape(abreast, shape), size)


def seen(images: tf.Tensor, grid: tf.Tensor) -> tf.Tensor:
    """Tells where images are not black, as they are between two orbits.

    Args:
      images: uint8[B, h, w, 3], black where all channels are 2 or less.
      grid: the height and width wanted.

    Returns:
      bool[B, height, width, 1], by the nearest pixel of the image.
    """
    lit = tf.reduce_max(images, axis=-1, keepdims=True) > _BLACK
    return tf.image.resize(tf.cast(lit, tf.uint8), grid, "nearest") > 0


def threshold(planes: tf.Tensor, numbers: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Packs the pixels that lie strictly above a number a label.

    Args:
      planes: float[B, H, W, C], or as from `resize_abreast`.
      numbers: float64[] or float64[C].
      shape: int32[2], B and C.

    Returns:
      uint8[B, C, W, K], as from `components.pack`.
    """
    labels = shape[1]
    batch, height, width, channels = tf.unstack(tf.shape(planes))
    # By whole rows: a broadcast over a few labels costs several times more.
    limits = tf.cast(tf.broadcast_to(numbers, [labels]), planes.dtype)
    limits = tf.tile(limits, [width * (channels // tf.maximum(labels, 1))])
    above = tf.reshape(planes, [batch, height, width * channels]) > limits
    columns = components.pack(tf.reshape(above, tf.shape(planes)))
    return tf.reshape(columns, tf.concat([shape, tf.shape(columns)[2:]], 0))


def keep(
    planes: tf.Tensor,
    columns: tf.Tensor,
    limits: tuple[tf.Tensor, tf.Tensor, tf.Tensor | None],
    scope: Scope,
) -> Runs:
    """Keeps the large components, and of these those that reach the top.

    Args:
      planes: as for `threshold`.
      columns: uint8[B, C, W, K], what `threshold` gave, or a part of it.
      limits: thresholds, minimum sizes and tops, each float64[] or float64[C]; None
        for no tops.
      scope: where the top must be reached, as in `postprocess.clean`.

    Returns:
      `Runs`, those of the columns that are left, in their order.
    """
    thresholds, min_sizes, tops = limits
    found = components.runs(columns)
    owners = components.label_runs(found)
    areas = components.areas(found, owners)
    labels = tf.shape(columns)[1]
    min_sizes = tf.gather(tf.broadcast_to(min_sizes, [labels]), found.plane % labels)
    kept = tf.cast(areas, tf.float64) > min_sizes
    if tops is not None:
        tops = tf.maximum(thresholds, tops)
        above = threshold(planes, tops, tf.shape(columns)[:2]) & columns
        peaks = components.runs(above)
        if scope == "image":
            owners, count = found.plane, tf.shape(columns)[0] * labels
            reached = peaks.plane
        else:
            count = tf.size(owners)
            reached = tf.gather(owners, components.holders(found, peaks))
        reached = tf.math.unsorted_segment_sum(tf.ones_like(reached), reached, count)
        kept &= tf.gather(reached, owners) > 0
    kept = tf.where(kept)[:, 0]
    return Runs(*(tf.gather(part, kept) for part in found))


def write(
    found: Runs, shape: tf.Tensor, grid: tuple[int, int] | tf.Tensor
) -> tf.Tensor:
    """Writes runs as the competition's text.

    Args:
      found: runs, in the order plane, column, row.
      shape: int32[2], B and C.
      grid: the height and width of the planes.

    Returns:
      string[B, C], as from `postprocess.to_rle`.
    """
    batch, labels = tf.unstack(shape)
    height, width = tf.unstack(grid)
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


def _refuse_values(probabilities, where):
    # What averages and resizing add by their rounding is no mistake.
    within = (probabilities >= -_ROUNDING) & (probabilities <= 1 + _ROUNDING)
    if tf.reduce_all(within):
        return
    broken = tf.math.is_nan(probabilities)
    if not tf.reduce_any(broken):
        lowest, highest = tf.reduce_min(probabilities), tf.reduce_max(probabilities)
        raise InputError(
            f"Probabilities must lie in 0..1. Received: {lowest.numpy():.4g} to "
            f"{highest.numpy():.4g}, in {where}. Take the sigmoid of logits, or divide "
            "what was scaled."
        )
    places = tf.where(broken).numpy().tolist()
    raise InputError(
        f"Probabilities must be numbers. Received: NaN in {len(places)} places, the "
        f"first at [B, H, W, C] = {places[0]}, in {where}. Look for an overflow in "
        "the network."
    )
