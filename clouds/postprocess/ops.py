"""The steps of post-processing on packed columns and runs (TensorFlow).

Planes of probabilities are float32 or float64[B, H, W, C], compared with limits
float64[] or float64[C]; columns and `Runs` are those of `components`. A shape is
int32[2] with B and C, a grid int32[2] with height and width.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from clouds.config.rule import Scope
from clouds.errors import InputError
from clouds.postprocess import components
from clouds.postprocess.components import Runs

_BLACK = 2
_ROUNDING = 1e-3
_GROUP = 4


def check_probabilities(probabilities: tf.Tensor, where: str) -> tf.Tensor:
    """Checks probabilities, and converts them.

    Args:
      probabilities: float[B, H, W, C].
      where: name of the function that received them, for the error.

    Returns:
      float32[B, H, W, C], or the same if float64.

    Raises:
      InputError: they have a wrong dtype or rank or, in eager calls only, contain NaN
        or are outside 0..1.
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
        _check_values(probabilities, where)
    return tf.ensure_shape(probabilities, [None] * 4)


def map_groups(
    function: Callable[..., Sequence[tf.Tensor]],
    batches: Sequence[tf.Tensor],
    dtypes: Sequence[tf.DType],
) -> list[tf.Tensor]:
    """Maps a function over small groups of images.

    A group fits into the cache where a batch does not, and as most ops use a single
    core, groups in parallel use all of them.

    Args:
      function: function from the group's part of each batch to tensors whose first axis
        is the group.
      batches: tensors whose first axis is B images.
      dtypes: dtypes of the results of the function.

    Returns:
      The concatenated results.
    """
    count = tf.shape(batches[0])[0]
    groups = (count + _GROUP - 1) // _GROUP

    def one(number, done):
        first = number * _GROUP
        results = function(*(batch[first : first + _GROUP] for batch in batches))
        return number + 1, [
            array.write(number, result)
            for array, result in zip(done, results, strict=True)
        ]

    def all_of_them():
        arrays = [tf.TensorArray(d, groups, infer_shape=False) for d in dtypes]
        _, arrays = tf.while_loop(lambda number, _: number < groups, one, [0, arrays])
        return [array.concat() for array in arrays]

    return tf.cond(groups > 1, all_of_them, lambda: list(function(*batches)))


def resize_side_by_side(
    probabilities: tf.Tensor, size: tuple[int, int] | tf.Tensor
) -> tf.Tensor:
    """Resizes the planes of all images as the channels of one image.

    TensorFlow's CPU kernel is twice as fast with eight or more channels.

    Args:
      probabilities: float[B, H, W, C].
      size: (height, width) of the result.

    Returns:
      float32[1, height, width, B C], starting with the labels of the first image; for
      B = 0 float32[0, height, width, C].
    """
    batch, height, width, labels = tf.unstack(tf.shape(probabilities))
    channels_last = tf.transpose(probabilities, [1, 2, 0, 3])
    # An image without channels could not be resized.
    shape = [tf.minimum(batch, 1), height, width, tf.maximum(batch, 1) * labels]
    return tf.image.resize(tf.reshape(channels_last, shape), size)


def observed(images: tf.Tensor, grid: tf.Tensor) -> tf.Tensor:
    """Returns where images are not black, as they are in the gap between two orbits.

    Args:
      images: [B, h, w, K]; a pixel is black if all bands are 0, or of uint8 2 or less,
        as a JPEG leaves them.
      grid: height and width of the result.

    Returns:
      bool[B, height, width, 1], of the nearest pixel of the image.
    """
    images = tf.convert_to_tensor(images)
    if images.dtype == tf.uint8:
        lit = tf.reduce_max(images, axis=-1, keepdims=True) > _BLACK
    else:
        lit = tf.reduce_any(images != 0, axis=-1, keepdims=True)
    return tf.image.resize(tf.cast(lit, tf.uint8), grid, "nearest") > 0


def threshold(planes: tf.Tensor, numbers: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Thresholds planes and packs the result.

    Args:
      planes: float[B, H, W, C], or from `resize_side_by_side`.
      numbers: thresholds, float64[] or float64[C]; pixels strictly above are set.
      shape: int32[2], B and C.

    Returns:
      uint8[B, C, W, K], as from `components.pack`.
    """
    labels = shape[1]
    batch, height, width, channels = tf.unstack(tf.shape(planes))
    # By entire rows: a broadcast over a few labels takes several times as long.
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
    """Keeps the large components, and among them those with a high peak.

    Args:
      planes: as for `threshold`.
      columns: uint8[B, C, W, K], the result of `threshold` or a part of it.
      limits: thresholds, minimum areas and peak thresholds, each float64[] or
        float64[C]; None for no peak thresholds.
      scope: where the peak must be, as for `postprocess.clean`.

    Returns:
      `Runs`, the remaining runs of the columns, in their order.
    """
    thresholds, min_sizes, tops = limits
    runs = components.runs(columns)
    owners = components.label_runs(runs)
    areas = components.areas(runs, owners)
    labels = tf.shape(columns)[1]
    min_sizes = tf.gather(tf.broadcast_to(min_sizes, [labels]), runs.plane % labels)
    kept = tf.cast(areas, tf.float64) > min_sizes
    if tops is not None:
        tops = tf.maximum(thresholds, tops)
        above = threshold(planes, tops, tf.shape(columns)[:2]) & columns
        peaks = components.runs(above)
        if scope == "image":
            owners, count = runs.plane, tf.shape(columns)[0] * labels
            peak_owners = peaks.plane
        else:
            count = tf.size(owners)
            peak_owners = tf.gather(owners, components.containing(runs, peaks))
        peak_counts = tf.math.unsorted_segment_sum(
            tf.ones_like(peak_owners), peak_owners, count
        )
        kept &= tf.gather(peak_counts, owners) > 0
    kept = tf.where(kept)[:, 0]
    return Runs(*(tf.gather(part, kept) for part in runs))


def to_text(
    runs: Runs, shape: tf.Tensor, grid: tuple[int, int] | tf.Tensor
) -> tf.Tensor:
    """Encodes runs as the competition's text.

    Args:
      runs: runs, in the order plane, column, row.
      shape: int32[2], B and C.
      grid: height and width of the planes.

    Returns:
      string[B, C], as from `postprocess.to_rle`.
    """
    batch, labels = tf.unstack(shape)
    height, width = tf.unstack(grid)
    # A spare column separates the planes where runs of two columns are joined.
    area = (width + 1) * height
    starts = (runs.plane * (width + 1) + runs.column) * height + runs.start
    ends = starts + runs.end - runs.start
    breaks = starts[1:] != ends[:-1]
    end = tf.ones([tf.minimum(tf.size(starts), 1)], tf.bool)
    starts = tf.boolean_mask(starts, tf.concat([end, breaks], 0))
    ends = tf.boolean_mask(ends, tf.concat([breaks, end], 0))
    plane = starts // area
    numbers = tf.stack([starts - plane * area + 1, ends - starts], axis=1)
    words = _words(tf.reshape(numbers, [-1]))
    planes = tf.repeat(plane, 2)
    text = tf.strings.unsorted_segment_join(words, planes, batch * labels, " ")
    return tf.reshape(text, [batch, labels])


def _words(numbers):
    """Formats numbers, by a look-up table if they outnumber their range."""
    values = tf.reduce_max(tf.concat([[0], numbers], 0)) + 1
    return tf.cond(
        tf.size(numbers) > values,
        lambda: tf.gather(tf.strings.as_string(tf.range(values)), numbers),
        lambda: tf.strings.as_string(numbers),
    )


def _check_values(probabilities, where):
    # Averages and resizing may exceed the range by their rounding.
    within = (probabilities >= -_ROUNDING) & (probabilities <= 1 + _ROUNDING)
    if tf.reduce_all(within):
        return
    is_nan = tf.math.is_nan(probabilities)
    if not tf.reduce_any(is_nan):
        lowest, highest = tf.reduce_min(probabilities), tf.reduce_max(probabilities)
        raise InputError(
            f"Probabilities must be in 0..1. Received: {lowest.numpy():.4g} to "
            f"{highest.numpy():.4g}, in {where}. Take the sigmoid of logits, or undo "
            "the scaling."
        )
    places = tf.where(is_nan).numpy().tolist()
    raise InputError(
        f"Probabilities contain NaN in {len(places)} places, first at [B, H, W, C] = "
        f"{places[0]}, in {where}. Look for an overflow in the network."
    )
