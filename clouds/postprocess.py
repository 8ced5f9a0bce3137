"""From probabilities to clean masks and the competition's run-length text (TF).

Probabilities are float[B, H, W, C] in 0..1, compared in float32 (float64 as they
are); masks are bool[B, H, W, C]; text is string[B, C]. The product's order: resize
the probabilities to the submission's grid, threshold them, then drop the small
components, so that `min_sizes` are areas in the submission's pixels. `draw` and
`write` do all that a `Rule` says.

Eager calls refuse mistakes in shapes and values alike. A graph sees shapes and
constants only: there NaN, above no threshold, counts as background.
"""

import math
from collections.abc import Sequence

import tensorflow as tf

from clouds import components
from clouds.errors import InputError
from clouds.rules import Rule, Scope

Numbers = float | Sequence[float] | tf.Tensor
"""One number for all labels, or C numbers, one a label."""

_BLACK = 2


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
    seen = tf.reduce_max(images, axis=-1, keepdims=True) > _BLACK
    seen = tf.image.resize(
        tf.cast(seen, tf.uint8), tf.shape(probabilities)[1:3], "nearest"
    )
    return probabilities * tf.cast(seen, probabilities.dtype)


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
    where = "clean"
    probabilities = _checked(probabilities, where)
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
    text = _write(components.runs(components.pack(masks)), tf.shape(masks))
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
    where = "clean_to_rle"
    probabilities = _checked(probabilities, where)
    limits = _limits(probabilities, thresholds, min_sizes, tops, where)
    size = None if size is None else tf.convert_to_tensor(size, tf.int32)
    text = _clean_to_rle(probabilities, limits, scope, size)
    return tf.ensure_shape(text, probabilities.shape[::3])


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
    of_network = rule.grid == "network"
    if not of_network:
        probabilities = resize(probabilities, size)
    plain = _above(probabilities, tf.constant(rule.thresholds))
    if rule.gap:
        probabilities = without_gap(probabilities, images)
    limits = rule.thresholds, rule.min_sizes
    cleaned = clean(probabilities, *limits, tops=rule.tops, scope=rule.scope)
    if of_network:
        return _resized_masks(plain, size), _resized_masks(cleaned, size)
    return plain, cleaned


def write(
    probabilities: tf.Tensor, rule: Rule, images: tf.Tensor, size: tuple[int, int]
) -> tuple[tf.Tensor, tf.Tensor]:
    """Does `draw`, then `to_rle`.

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
    plain, cleaned = draw(probabilities, rule, images, size)
    return to_rle(plain), to_rle(cleaned)


@tf.function(reduce_retracing=True)
def _clean(probabilities, limits, scope):
    def clean(images):
        columns = components.pack(_above(images, limits[0]))
        kept = components.draw(_kept(images, columns, limits, scope), tf.shape(columns))
        return components.unpack(kept, tf.shape(images)[1:3])

    return _each(clean, probabilities, tf.bool)


@tf.function(reduce_retracing=True)
def _clean_to_rle(probabilities, limits, scope, size):
    def clean_to_rle(images):
        if size is not None:
            images = tf.image.resize(images, size)
        columns = components.pack(_above(images, limits[0]))
        return _write(_kept(images, columns, limits, scope), tf.shape(images))

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


def _kept(images, columns, limits, scope):
    thresholds, min_sizes, tops = limits
    found = components.runs(columns)
    owners = components.label_runs(found)
    areas = components.areas(found, owners)
    labels = tf.shape(columns)[1]
    min_sizes = tf.gather(tf.broadcast_to(min_sizes, [labels]), found.plane % labels)
    kept = tf.cast(areas, tf.float64) > min_sizes
    if tops is not None:
        above = _above(images, tf.maximum(thresholds, tops))
        peaks = components.runs(components.pack(above))
        if scope == "image":
            owners, count = found.plane, tf.shape(columns)[0] * labels
            reached = peaks.plane
        else:
            count = tf.size(owners)
            reached = tf.gather(owners, components.holders(found, peaks))
        reached = tf.math.unsorted_segment_sum(tf.ones_like(reached), reached, count)
        kept &= tf.gather(reached, owners) > 0
    kept = tf.where(kept)[:, 0]
    return components.Runs(*(tf.gather(part, kept) for part in found))


def _resized_masks(masks, size):
    # Linear, then floored: a pixel is set where all that it lies between are.
    holes = tf.image.resize(tf.cast(~masks, tf.float32), size)
    return holes == 0


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
            f"postprocess.{where}. Give a number, or one number a label."
        )
    if not any(numbers.shape.is_compatible_with(shape) for shape in ([], [labels])):
        raise InputError(
            f"{name} must be one number or {labels}, one a label. Received: shape "
            f"{numbers.shape}, in postprocess.{where}. Count the labels of the "
            "probabilities' last axis."
        )
    return numbers
