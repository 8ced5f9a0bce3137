"""What a `Rule` says, from a network's probabilities to masks, text and areas (TF).

Probabilities are float[B, h, w, C] in 0..1, masks bool[B, H, W, C], text
string[B, C] and areas int32[B, C], in pixels. On the rule's grid `submission`, the
probabilities are resized, then thresholded, then cleaned, so that `min_sizes` are
areas in the submission's pixels; on `network` the masks are resized last.
"""

import tensorflow as tf

from clouds.config.rule import Rule
from clouds.postprocess import components, ops


def draw(
    probabilities: tf.Tensor, rule: Rule, images: tf.Tensor, size: tuple[int, int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draws masks by a rule, plain and cleaned.

    Args:
      probabilities: float[B, h, w, C], the network's.
      rule: what to keep of them.
      images: uint8[B, ., ., 3], on which the orbit gap is black.
      size: (height, width) of the masks.

    Returns:
      Two of bool[B, height, width, C]: what lies above the rule's thresholds, and
      what its other limits leave of that.

    Raises:
      InputError: The probabilities have a wrong dtype or rank, or hold NaN.
    """
    return _ruled(probabilities, rule, images, size, tf.bool)


def write(
    probabilities: tf.Tensor, rule: Rule, images: tf.Tensor, size: tuple[int, int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Does `draw`, then `postprocess.to_rle`.

    Args:
      probabilities: as for `draw`.
      rule: as for `draw`.
      images: as for `draw`.
      size: as for `draw`.

    Returns:
      Two of string[B, C], plain and cleaned.

    Raises:
      InputError: as `draw`.
    """
    return _ruled(probabilities, rule, images, size, tf.string)


def measure(
    probabilities: tf.Tensor, rule: Rule, images: tf.Tensor, size: tuple[int, int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Writes the cleaned masks of `write`, and counts their pixels.

    Args:
      probabilities: as for `draw`.
      rule: as for `draw`.
      images: as for `draw`.
      size: as for `draw`.

    Returns:
      string[B, C] and int32[B, C].

    Raises:
      InputError: as `draw`.
    """
    probabilities = ops.checked(probabilities, "drawing.measure")

    def of_group(probabilities, images):
        plain, kept, shape, grid = _judged(probabilities, rule, images, size)
        if rule.grid == "network":
            drawn = components.draw(kept, tf.shape(plain))
            masks = _painted(drawn, rule, grid, size)
            return _text(masks, shape), tf.reduce_sum(tf.cast(masks, tf.int32), (1, 2))
        lengths, planes = kept.end - kept.start, tf.reduce_prod(shape)
        areas = tf.math.unsorted_segment_sum(lengths, kept.plane, planes)
        return ops.write(kept, shape, grid), tf.reshape(areas, shape)

    results = ops.in_groups(of_group, [probabilities, images], [tf.string, tf.int32])
    return tuple(tf.ensure_shape(r, probabilities.shape[::3]) for r in results)


def _ruled(probabilities, rule, images, size, dtype):
    """The plain and the cleaned masks of a rule, painted (bool) or written (string)."""
    where = "drawing.draw" if dtype == tf.bool else "drawing.write"
    probabilities = ops.checked(probabilities, where)

    def of_group(probabilities, images):
        plain, kept, shape, grid = _judged(probabilities, rule, images, size)
        if dtype == tf.string and rule.grid != "network":
            found = components.runs(plain)
            return [ops.write(runs, shape, grid) for runs in (found, kept)]
        drawn = components.draw(kept, tf.shape(plain))
        masks = [_painted(columns, rule, grid, size) for columns in (plain, drawn)]
        return masks if dtype == tf.bool else [_text(each, shape) for each in masks]

    shape = (probabilities.shape[0], probabilities.shape[3])
    shape = [shape[0], *size, shape[1]] if dtype == tf.bool else shape
    results = ops.in_groups(of_group, [probabilities, images], [dtype] * 2)
    return tuple(tf.ensure_shape(result, shape) for result in results)


def _judged(probabilities, rule, images, size):
    """The columns above the thresholds, the runs that are kept, and where they lie.

    Returns:
      uint8[B, C, W, K], `Runs`, int32[2] B and C, int32[2] the height and width of the
      grid.
    """
    planes = probabilities
    if rule.grid != "network":
        planes = ops.resize_abreast(probabilities, size)
    shape, grid = tf.shape(probabilities)[::3], tf.shape(planes)[1:3]
    numbers = rule.thresholds, rule.min_sizes, rule.tops
    limits = [n and tf.constant(n, tf.float64) for n in numbers]
    plain = columns = ops.threshold(planes, limits[0], shape)
    if rule.gap:
        columns = plain & components.pack(ops.seen(images, grid))
    return plain, ops.keep(planes, columns, limits, rule.scope), shape, grid


def _painted(columns, rule, grid, size):
    masks = components.unpack(columns, grid)
    return _resized_masks(masks, size) if rule.grid == "network" else masks


def _resized_masks(masks, size):
    # Linear, then floored: a pixel is set where all that it lies between are.
    holes = tf.image.resize(tf.cast(~masks, tf.float32), size)
    return holes == 0


def _text(masks, shape):
    found = components.runs(components.pack(masks))
    return ops.write(found, shape, tf.shape(masks)[1:3])
