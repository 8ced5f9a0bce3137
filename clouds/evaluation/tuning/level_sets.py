"""Connected components of probabilities at many thresholds at once (TF).

`measure` lists the components of a batch, `join` those of all batches; `subset` and
`of_label` select from the list. Levels are the thresholds, float[T, C] in 0..1, both
excluded, rising for each label. Probabilities and levels are compared in float32, as
in `postprocess.clean`. N counts images.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from clouds.errors import InputError
from clouds.postprocess import components, ops

_MAX_LEVELS = 127
_BYTES = 0x0101010101010101


class Components(NamedTuple):
    """Components of N images at all levels, each int32[M].

    Attributes:
      image: index of the image.
      label: index of the label.
      level: index of the level that the pixels exceed.
      area: number of pixels.
      intersection: number of pixels that are also in the truth.
      reach: index of the highest level that any of the pixels exceeds.
      truth: int32[N, C], pixels of the truth.
    """

    image: tf.Tensor | np.ndarray
    label: tf.Tensor | np.ndarray
    level: tf.Tensor | np.ndarray
    area: tf.Tensor | np.ndarray
    intersection: tf.Tensor | np.ndarray
    reach: tf.Tensor | np.ndarray
    truth: tf.Tensor | np.ndarray


def measure(
    probabilities: tf.Tensor, truth: tf.Tensor, levels: tf.Tensor
) -> Components:
    """Finds the 8-connected components of probabilities at every level.

    Args:
      probabilities: float[B, H, W, C], on the grid of the truth, and 0 in the orbit
        gap if the rule is to cut it out.
      truth: uint8 or bool[B, H, W, C].
      levels: float[T, C], T at most 127.

    Returns:
      Tensors, in the order image, level, label, column, row.

    Raises:
      InputError: an argument has a wrong dtype or shape, the levels do not rise
        within 0..1, or (in eager calls only) a probability is NaN or not in 0..1.
    """
    probabilities = ops.check_probabilities(probabilities, "level_sets.measure")
    truth = tf.convert_to_tensor(truth)
    same_shape = truth.shape.is_compatible_with(probabilities.shape)
    if truth.dtype not in (tf.bool, tf.uint8) or not same_shape:
        raise InputError(
            "The truth must be uint8 or bool, of the probabilities' shape "
            f"{probabilities.shape}. Received: {truth.dtype.name}, shape "
            f"{truth.shape}. Resize the probabilities to its grid."
        )
    if not tf.is_tensor(levels) or tf.executing_eagerly():
        _check_levels(np.asarray(levels, np.float32), probabilities.shape[3])
    return _measure(
        tf.cast(probabilities, tf.float32),
        tf.cast(truth, tf.bool),
        tf.cast(levels, tf.float32),
    )


def join(batches: Iterable[Components]) -> Components:
    """Concatenates the components of batches.

    Args:
      batches: results of `measure` at the same levels.

    Returns:
      Arrays: uint8 for label, level and reach, int32 for the others.

    Raises:
      InputError: there is no image.
    """
    dtypes = Components("i4", "u1", "u1", "i4", "i4", "u1", "i4")
    parts = [
        Components(
            *(np.asarray(x).astype(d) for x, d in zip(each, dtypes, strict=True))
        )
        for each in batches
    ]
    counts = [len(part.truth) for part in parts]
    if not sum(counts):
        raise InputError(
            "A rule is tuned on at least one image. Received: none. Give the batches "
            "of a labelled split."
        )
    joined = Components(*(np.concatenate(x) for x in zip(*parts, strict=True)))
    first = np.repeat(np.cumsum([0, *counts[:-1]]), [len(x.image) for x in parts])
    return joined._replace(image=joined.image + first.astype("i4"))


def subset(table: Components, places: np.ndarray) -> Components:
    """Returns what `measure` would find at some of the levels only.

    Args:
      table: result of `join`.
      places: int[S, C], rising indices of the levels of each label.
    """
    labels = table.truth.shape[1]
    count = max(table.reach.max(initial=0), places.max(initial=0)) + 1
    chosen = np.zeros((count, labels), bool)
    chosen[places, np.arange(labels)] = True
    number = (chosen.cumsum(axis=0) - 1).astype("u1")
    kept = _select(table, chosen[table.level, table.label])
    return kept._replace(
        level=number[kept.level, kept.label], reach=number[kept.reach, kept.label]
    )


def of_label(table: Components, label: int) -> Components:
    """Returns what `measure` would find for one label only.

    Args:
      table: result of `join`.
      label: index of the label.
    """
    kept = _select(table, table.label == label)
    truth = table.truth[:, label : label + 1]
    return kept._replace(label=np.zeros_like(kept.label), truth=truth)


def _select(table: Components, kept: np.ndarray) -> Components:
    rows = np.flatnonzero(kept)
    return Components(*(part[rows] for part in table[:-1]), table.truth)


def _check_levels(levels, labels):
    fits = levels.ndim == 2 and levels.shape[1] == labels
    if not fits or not 1 <= len(levels) <= _MAX_LEVELS:
        raise InputError(
            f"Levels must be float[T, {labels}], T from 1 to {_MAX_LEVELS}. Received: "
            f"shape {levels.shape}."
        )
    ends = np.pad(levels, [[1, 1], [0, 0]], constant_values=[[0, 1], [0, 0]])
    if not (np.diff(ends, axis=0) > 0).all():
        raise InputError(
            "Levels must rise within 0..1, both excluded, for each label. Received: "
            f"{levels.T.tolist()}."
        )


@tf.function(reduce_retracing=True)
def _measure(probabilities, truth, levels):
    # Image by image: its masks at all levels fit the cache, those of a batch do not.
    measured = tf.map_fn(
        lambda pair: _components(*pair, levels),
        (probabilities, truth),
        fn_output_signature=tf.RaggedTensorSpec([None, 5], tf.int32, ragged_rank=0),
    )
    image = tf.cast(measured.value_rowids(), tf.int32)
    # Summed over both axes at once, TensorFlow's CPU is several times slower.
    areas = tf.reduce_sum(tf.reduce_sum(tf.cast(truth, tf.int32), axis=1), axis=1)
    # Without images, the values are an empty vector.
    fields = tf.reshape(measured.values, [-1, 5])
    return Components(image, *tf.unstack(fields, axis=1), areas)


def _components(probabilities, truth, levels):
    """Returns the components of an image: int32[M, 5], from label to reach."""
    count, labels = tf.unstack(tf.shape(levels))
    columns = _pack(_exceeded(probabilities, levels), count)
    runs = components.runs(columns)
    owners = components.label_runs(runs)
    is_first = owners == tf.range(tf.size(owners))
    firsts = tf.where(is_first)[:, 0]
    owners = tf.gather(tf.cumsum(tf.cast(is_first, tf.int32)) - 1, owners)

    def sums(pixels):
        return tf.math.unsorted_segment_sum(pixels, owners, tf.size(firsts))

    heads = components.Runs(*(tf.gather(part, firsts) for part in runs))
    level = heads.plane // labels
    fields = (
        heads.plane - level * labels,
        level,
        sums(runs.end - runs.start),
        sums(_shared(runs, truth)),
        _reach(runs, heads, owners, level, labels),
    )
    return tf.stack(fields, axis=1)


def _exceeded(probabilities, levels):
    """Counts the levels below each pixel, uint8, transposed and padded for `_pack`."""
    height, width, labels = tf.unstack(tf.shape(probabilities))
    values = tf.reshape(tf.transpose(probabilities), [labels, width * height])
    counts = tf.cast(tf.searchsorted(tf.transpose(levels), values), tf.uint8)
    counts = tf.reshape(counts, [labels, width, height])
    return tf.pad(counts, [[0, 0], [0, -width % 8], [0, 8 - height % 8]])


def _pack(counts, levels):
    """Packs the pixels above each level as `components.pack` does: uint8[T, C, W, K].

    Counts are at most 127, so adding words sets the highest bit of each byte whose
    pixel is above a level, eight pixels at once. A product gathers these bits.
    """
    labels, wide, tall = tf.unstack(tf.shape(counts))
    words = tf.bitcast(tf.reshape(counts, [1, -1, 8]), tf.uint64)
    lift = tf.cast(_MAX_LEVELS - tf.range(levels), tf.uint64)[:, None]
    words += lift * tf.constant(_BYTES, tf.uint64)
    words &= tf.constant(0x80 * _BYTES, tf.uint64)
    words *= tf.constant(0x0002040810204081, tf.uint64)
    words = tf.bitwise.right_shift(words, tf.constant(56, tf.uint64))
    return tf.reshape(tf.cast(words, tf.uint8), [levels, labels, wide, tall // 8])


def _shared(runs, truth):
    """Counts the pixels of each run that are in the truth, bool[H, W, C]."""
    height, width, labels = tf.unstack(tf.shape(truth))
    pixels = tf.cast(tf.reshape(tf.transpose(truth), [-1]), tf.int32)
    before = tf.concat([[0], tf.cumsum(pixels)], 0)
    top = ((runs.plane % labels) * width + runs.column) * height
    return tf.gather(before, top + runs.end) - tf.gather(before, top + runs.start)


def _reach(runs, heads, owners, level, labels):
    """Returns the highest level within each component.

    A component above the lowest level is within one of the level below, its parent.
    In each round a component passes its maximum to an ancestor, and then points to
    that one's ancestor (pointer jumping).
    """
    above = tf.where(level > 0)[:, 0]
    within = components.Runs(*(tf.gather(part, above) for part in heads))
    within = within._replace(plane=within.plane - labels)
    parents = tf.gather(owners, components.containing(runs, within))
    ancestors = tf.tensor_scatter_nd_update(
        tf.range(tf.size(level)), above[:, None], parents
    )

    def propagate(reach, ancestors, span):
        reach = tf.tensor_scatter_nd_max(reach, ancestors[:, None], reach)
        return reach, tf.gather(ancestors, ancestors), 2 * span

    highest = tf.reduce_max(level)
    state = level, ancestors, tf.constant(1)
    return tf.while_loop(lambda _, __, span: span <= highest, propagate, state)[0]
