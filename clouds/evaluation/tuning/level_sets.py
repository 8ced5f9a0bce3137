"""Components of probabilities at many thresholds at once (TF), and lists of them.

`measure` finds them, `join` gathers those of batches, `subset` keeps some of the
levels. Levels are float[T, C] in 0..1, both excluded: the thresholds, rising, each
label's own. Probabilities and levels are compared in float32, as in
`postprocess.clean`; N counts images.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from clouds.errors import InputError
from clouds.postprocess import components

_MOST = 127
_BYTES = 0x0101010101010101


class Found(NamedTuple):
    """Components of N images at all levels, one to an entry, each int32[M].

    Attributes:
      image: the image that a component lies in.
      label: its label.
      level: the level that its pixels exceed.
      area: its pixels.
      intersection: those of them that are in the truth.
      reach: the highest level that one of its pixels exceeds.
      truth: int32[N, C], the pixels of the truth.
    """

    image: tf.Tensor | np.ndarray
    label: tf.Tensor | np.ndarray
    level: tf.Tensor | np.ndarray
    area: tf.Tensor | np.ndarray
    intersection: tf.Tensor | np.ndarray
    reach: tf.Tensor | np.ndarray
    truth: tf.Tensor | np.ndarray


def measure(probabilities: tf.Tensor, truth: tf.Tensor, levels: tf.Tensor) -> Found:
    """Finds the 8-connected components of probabilities at every level.

    Args:
      probabilities: float32[B, H, W, C], on the grid of the truth, and 0 in the orbit
        gap if the rule is to cut it out.
      truth: uint8 or bool[B, H, W, C].
      levels: float[T, C], 127 at most to a label.

    Returns:
      `Found`, of tensors, in the order image, level, label, column, row.

    Raises:
      InputError: An argument has a wrong dtype or shape, the levels do not rise
        within 0..1, or, told in eager calls only, a probability is NaN.
    """
    probabilities = tf.convert_to_tensor(probabilities)
    truth = tf.convert_to_tensor(truth)
    _check_maps(probabilities, truth)
    if not tf.is_tensor(levels) or tf.executing_eagerly():
        levels = checked(np.asarray(levels), probabilities.shape[3], "slices.measure")
    return _measure(
        tf.cast(probabilities, tf.float32),
        tf.cast(truth, tf.bool),
        tf.cast(levels, tf.float32),
    )


def join(batches: Iterable[Found]) -> Found:
    """Gathers the components of batches, in their order.

    Args:
      batches: from `measure`, at the same levels.

    Returns:
      `Found` of arrays: uint8 for label, level and reach, int32 for the others.

    Raises:
      InputError: There is no image.
    """
    dtypes = Found("i4", "u1", "u1", "i4", "i4", "u1", "i4")
    parts = [
        Found(*(np.asarray(x).astype(d) for x, d in zip(batch, dtypes, strict=True)))
        for batch in batches
    ]
    if not sum(len(part.truth) for part in parts):
        raise InputError(
            "A rule is tuned on one image at least. Received: none, in slices.join. "
            "Give the batches of a labelled split."
        )
    joined = Found(*(np.concatenate(x) for x in zip(*parts, strict=True)))
    counts = [len(part.truth) for part in parts]
    first = np.repeat(np.cumsum([0, *counts[:-1]]), [len(x.image) for x in parts])
    return joined._replace(image=joined.image + first.astype("i4"))


def subset(found: Found, places: np.ndarray) -> Found:
    """Keeps some of the levels: what measuring these alone would find.

    Args:
      found: from `join`.
      places: int[S, C], rising, which of the levels; each label's own.

    Returns:
      `Found` of S levels, in the order of `found`.
    """
    labels = found.truth.shape[1]
    count = max(found.reach.max(initial=0), places.max(initial=0)) + 1
    chosen = np.zeros((count, labels), bool)
    chosen[places, np.arange(labels)] = True
    number = (chosen.cumsum(axis=0) - 1).astype("u1")
    rows = np.flatnonzero(chosen[found.level, found.label])
    image, label, level, area, intersection, reach = (part[rows] for part in found[:-1])
    level, reach = number[level, label], number[reach, label]
    return Found(image, label, level, area, intersection, reach, found.truth)


def of_label(found: Found, label: int) -> Found:
    """Keeps the components of one label: what measuring it alone would find.

    Args:
      found: from `join`.
      label: which.

    Returns:
      `Found` of one label.
    """
    rows = np.flatnonzero(found.label == label)
    parts = [part[rows] for part in found[:-1]]
    only = Found(*parts, found.truth[:, label : label + 1])
    return only._replace(label=np.zeros_like(only.label))


def checked(
    levels: np.ndarray, labels: int, where: str, found: Found | None = None
) -> np.ndarray:
    """Checks levels.

    Args:
      levels: to check.
      labels: C, how many.
      where: the function that they were given to, for the message.
      found: components that they should be those of, if there are any.

    Returns:
      float64[T, C].

    Raises:
      InputError: They do not rise within 0..1, or do not fit labels or components.
    """
    levels = np.asarray(levels)
    if levels.ndim != 2 or levels.shape[1] != labels or not 1 <= len(levels) <= _MOST:
        raise InputError(
            f"Levels must be float[T, {labels}], T from 1 to {_MOST}. Received: shape "
            f"{levels.shape}, in {where}. Repeat levels that all labels share: "
            "numpy.repeat(levels[:, None], labels, axis=1)."
        )
    levels = levels.astype(np.float64)
    ends = np.pad(levels, [[1, 1], [0, 0]], constant_values=[[0, 1], [0, 0]])
    if not (np.diff(ends.astype(np.float32), axis=0) > 0).all():
        raise InputError(
            "Levels must rise within 0..1, both excluded, for each label. Received: "
            f"{levels.T.tolist()}, in {where}. Sort them and drop what is "
            "there twice."
        )
    if found is not None and found.level.max(initial=0) >= len(levels):
        raise InputError(
            f"Components must be of the {len(levels)} levels given. Received: one of "
            f"level {found.level.max()}, in {where}. Give the levels that they "
            "were measured at."
        )
    return levels


@tf.function(reduce_retracing=True)
def _measure(probabilities, truth, levels):
    # An image at a time: its masks at all levels fill the cache, a batch's memory.
    measured = tf.map_fn(
        lambda pair: _components(*pair, levels),
        (probabilities, truth),
        fn_output_signature=tf.RaggedTensorSpec([None, 5], tf.int32, ragged_rank=0),
    )
    image = tf.cast(measured.value_rowids(), tf.int32)
    # Summed over both axes at once, TensorFlow's CPU is several times slower.
    areas = tf.reduce_sum(tf.reduce_sum(tf.cast(truth, tf.int32), axis=1), axis=1)
    # Of no images there is but an empty vector.
    fields = tf.reshape(measured.values, [-1, 5])
    return Found(image, *tf.unstack(fields, axis=1), areas)


def _components(probabilities, truth, levels):
    """Lists the components of an image: int32[M, 5], from label to reach."""
    count, labels = tf.unstack(tf.shape(levels))
    columns = _pack(_exceeded(probabilities, levels), count)
    found = components.runs(columns)
    owners = components.label_runs(found)
    is_first = owners == tf.range(tf.size(owners))
    firsts = tf.where(is_first)[:, 0]
    owners = tf.gather(tf.cumsum(tf.cast(is_first, tf.int32)) - 1, owners)

    def sums(pixels):
        return tf.math.unsorted_segment_sum(pixels, owners, tf.size(firsts))

    heads = components.Runs(*(tf.gather(part, firsts) for part in found))
    level = heads.plane // labels
    fields = (
        heads.plane - level * labels,
        level,
        sums(found.end - found.start),
        sums(_shared(found, truth)),
        _reach(found, heads, owners, level, labels),
    )
    return tf.stack(fields, axis=1)


def _exceeded(probabilities, levels):
    """Counts the levels below each pixel, uint8, turned and padded for `_pack`."""
    height, width, labels = tf.unstack(tf.shape(probabilities))
    values = tf.reshape(tf.transpose(probabilities), [labels, width * height])
    counts = tf.cast(tf.searchsorted(tf.transpose(levels), values), tf.uint8)
    counts = tf.reshape(counts, [labels, width, height])
    return tf.pad(counts, [[0, 0], [0, -width % 8], [0, 8 - height % 8]])


def _pack(counts, levels):
    """As `components.pack`: uint8[T, C, W, K], the pixels above each level.

    Counts are 127 at most, so one sum of words tells in the highest bits of their
    bytes which of eight pixels are above a level; one product gathers these bits.
    """
    labels, wide, tall = tf.unstack(tf.shape(counts))
    words = tf.bitcast(tf.reshape(counts, [1, -1, 8]), tf.uint64)
    lift = tf.cast(_MOST - tf.range(levels), tf.uint64)[:, None]
    words += lift * tf.constant(_BYTES, tf.uint64)
    words &= tf.constant(0x80 * _BYTES, tf.uint64)
    words *= tf.constant(0x0002040810204081, tf.uint64)
    words = tf.bitwise.right_shift(words, tf.constant(56, tf.uint64))
    return tf.reshape(tf.cast(words, tf.uint8), [levels, labels, wide, tall // 8])


def _shared(found, truth):
    """Counts the pixels of each run that are in the truth, bool[H, W, C]."""
    height, width, labels = tf.unstack(tf.shape(truth))
    pixels = tf.cast(tf.reshape(tf.transpose(truth), [-1]), tf.int32)
    before = tf.concat([[0], tf.cumsum(pixels)], 0)
    top = ((found.plane % labels) * width + found.column) * height
    return tf.gather(before, top + found.end) - tf.gather(before, top + found.start)


def _reach(found, heads, owners, level, labels):
    """Tells the highest level within each component.

    A component above the lowest level lies in one of the level below, its parent.
    By turns each hands on what it has found to an ancestor, and looks to that one's.
    """
    above = tf.where(level > 0)[:, 0]
    within = components.Runs(*(tf.gather(part, above) for part in heads))
    within = within._replace(plane=within.plane - labels)
    holders = tf.gather(owners, components.holders(found, within))
    ancestors = tf.tensor_scatter_nd_update(
        tf.range(tf.size(level)), above[:, None], holders
    )

    def hand_on(reach, ancestors, span):
        reach = tf.tensor_scatter_nd_max(reach, ancestors[:, None], reach)
        return reach, tf.gather(ancestors, ancestors), 2 * span

    highest = tf.reduce_max(level)
    state = level, ancestors, tf.constant(1)
    return tf.while_loop(lambda _, __, span: span <= highest, hand_on, state)[0]


def _check_maps(probabilities, truth):
    halves = tf.float16, tf.bfloat16, tf.float32
    if probabilities.dtype not in halves or probabilities.shape.rank != 4:
        raise InputError(
            "Probabilities must be float32[B, H, W, C]. Received: "
            f"{probabilities.dtype.name}, shape {probabilities.shape}, in "
            "slices.measure. Cast them, and give one image as probabilities[None]."
        )
    whole = tf.bool, tf.uint8
    if truth.dtype not in whole or not truth.shape.is_compatible_with(
        probabilities.shape
    ):
        raise InputError(
            "The truth must be uint8 or bool, of the probabilities' shape "
            f"{probabilities.shape}. Received: {truth.dtype.name}, shape "
            f"{truth.shape}, in slices.measure. Resize the probabilities to its grid."
        )
    if not tf.executing_eagerly():
        return
    broken = tf.math.is_nan(probabilities)
    if tf.reduce_any(broken):
        place = tf.where(broken)[0].numpy().tolist()
        raise InputError(
            "Probabilities must be numbers. Received: NaN, first at [B, H, W, C] = "
            f"{place}, in slices.measure. Look for an overflow in the network."
        )
