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
_BINS = 8192
_AT_ONCE = 4
_TOP = 17500 / (350 * 525)


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
    seen = _seen(images, tf.shape(probabilities)[1:3])
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
      InputError: The probabilities have a wrong dtype or rank, or hold NaN.
    """
    probabilities = tf.cast(_checked(probabilities, "presence"), tf.float32)
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
    shape = tf.shape(masks)
    text = _write(components.runs(components.pack(masks)), shape[::3], shape[1:3])
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
    return _ruled(probabilities, rule, images, size, tf.bool)


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
    probabilities = _checked(probabilities, "measure")

    def of_group(probabilities, images):
        plain, kept, shape, grid = _judged(probabilities, rule, images, size)
        if rule.grid == "network":
            drawn = components.draw(kept, tf.shape(plain))
            masks = _painted(drawn, rule, grid, size)
            return to_rle(masks), tf.reduce_sum(tf.cast(masks, tf.int32), (1, 2))
        lengths, planes = kept.end - kept.start, tf.reduce_prod(shape)
        areas = tf.math.unsorted_segment_sum(lengths, kept.plane, planes)
        return _write(kept, shape, grid), tf.reshape(areas, shape)

    results = _in_groups(of_group, [probabilities, images], [tf.string, tf.int32])
    return tuple(tf.ensure_shape(r, probabilities.shape[::3]) for r in results)


@tf.function(reduce_retracing=True)
def _clean(probabilities, limits, scope):
    def clean(images):
        columns = _columns(images, limits[0], tf.shape(images)[::3])
        kept = _kept(images, columns, limits, scope)
        drawn = components.draw(kept, tf.shape(columns))
        return (components.unpack(drawn, tf.shape(images)[1:3]),)

    return _in_groups(clean, [probabilities], [tf.bool])[0]


@tf.function(reduce_retracing=True)
def _clean_to_rle(probabilities, limits, scope, size):
    def clean_to_rle(images):
        planes = images if size is None else _resized(images, size)
        shape = tf.shape(images)[::3]
        columns = _columns(planes, limits[0], shape)
        kept = _kept(planes, columns, limits, scope)
        return (_write(kept, shape, tf.shape(planes)[1:3]),)

    return _in_groups(clean_to_rle, [probabilities], [tf.string])[0]


def _ruled(probabilities, rule, images, size, dtype):
    """The plain and the cleaned masks of a rule, painted (bool) or written (string)."""
    probabilities = _checked(probabilities, "draw" if dtype == tf.bool else "write")

    def of_group(probabilities, images):
        plain, kept, shape, grid = _judged(probabilities, rule, images, size)
        if dtype == tf.string and rule.grid != "network":
            found = components.runs(plain)
            return [_write(runs, shape, grid) for runs in (found, kept)]
        drawn = components.draw(kept, tf.shape(plain))
        masks = [_painted(columns, rule, grid, size) for columns in (plain, drawn)]
        return masks if dtype == tf.bool else [to_rle(painted) for painted in masks]

    shape = (probabilities.shape[0], probabilities.shape[3])
    shape = [shape[0], *size, shape[1]] if dtype == tf.bool else shape
    results = _in_groups(of_group, [probabilities, images], [dtype] * 2)
    return tuple(tf.ensure_shape(result, shape) for result in results)


def _judged(probabilities, rule, images, size):
    """The columns above the thresholds, the runs that are kept, and where they lie.

    Returns:
      uint8[B, C, W, K], `Runs`, int32[2] B and C, int32[2] the height and width of the
      grid.
    """
    planes = probabilities if rule.grid == "network" else _resized(probabilities, size)
    shape, grid = tf.shape(probabilities)[::3], tf.shape(planes)[1:3]
    numbers = rule.thresholds, rule.min_sizes, rule.tops
    limits = [n and tf.constant(n, tf.float64) for n in numbers]
    plain = columns = _columns(planes, limits[0], shape)
    if rule.gap:
        columns = plain & components.pack(_seen(images, grid))
    return plain, _kept(planes, columns, limits, rule.scope), shape, grid


def _painted(columns, rule, grid, size):
    masks = components.unpack(columns, grid)
    return _resized_masks(masks, size) if rule.grid == "network" else masks


def _in_groups(function, batches, dtypes):
    """Calls a function of batches with a few images at a time.

    A few fit the cache where a batch does not, and most of the ops keep to one core,
    so groups side by side make use of all.
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


def _resized(images, size):
    """Resizes B images of C labels as one of B C: float[1, height, width, B C].

    TensorFlow's CPU takes half the time from eight channels on.
    """
    batch, height, width, labels = tf.unstack(tf.shape(images))
    abreast = tf.transpose(images, [1, 2, 0, 3])
    # No image is not one without channels, which could not be resized.
    shape = [tf.minimum(batch, 1), height, width, tf.maximum(batch, 1) * labels]
    return tf.image.resize(tf.reshape(abreast, shape), size)


def _columns(planes, numbers, shape):
    """Packs what lies above a number a label: uint8[B, C, W, K].

    Args:
      planes: float[B, H, W, C], or with the labels of all images abreast.
      numbers: float64[] or float64[C].
      shape: int32[2], B and C.
    """
    labels = shape[1]
    batch, height, width, channels = tf.unstack(tf.shape(planes))
    # By whole rows: a broadcast over a few labels costs several times more.
    limits = tf.cast(tf.broadcast_to(numbers, [labels]), planes.dtype)
    limits = tf.tile(limits, [width * (channels // tf.maximum(labels, 1))])
    above = tf.reshape(planes, [batch, height, width * channels]) > limits
    columns = components.pack(tf.reshape(above, tf.shape(planes)))
    return tf.reshape(columns, tf.concat([shape, tf.shape(columns)[2:]], 0))


def _kept(planes, columns, limits, scope):
    thresholds, min_sizes, tops = limits
    found = components.runs(columns)
    owners = components.label_runs(found)
    areas = components.areas(found, owners)
    labels = tf.shape(columns)[1]
    min_sizes = tf.gather(tf.broadcast_to(min_sizes, [labels]), found.plane % labels)
    kept = tf.cast(areas, tf.float64) > min_sizes
    if tops is not None:
        tops = tf.maximum(thresholds, tops)
        above = _columns(planes, tops, tf.shape(columns)[:2]) & columns
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
    return components.Runs(*(tf.gather(part, kept) for part in found))


def _seen(images, grid):
    """Tells where images are not black, at the nearest pixel: bool[B, *grid, 1]."""
    seen = tf.reduce_max(images, axis=-1, keepdims=True) > _BLACK
    return tf.image.resize(tf.cast(seen, tf.uint8), grid, "nearest") > 0


def _resized_masks(masks, size):
    # Linear, then floored: a pixel is set where all that it lies between are.
    holes = tf.image.resize(tf.cast(~masks, tf.float32), size)
    return holes == 0


def _write(found, shape, grid):
    """Writes the runs of B images of C labels on a grid: string[B, C]."""
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
