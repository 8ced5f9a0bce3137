"""Picks the rule that maximises the competition's Dice on labelled images.

`measure` finds the components of probabilities at many thresholds at once (TF);
`join` gathers them, and all that follows is NumPy on that list: `search` tries every
threshold, top and minimum area, `cross_fit` tells what such a choice is worth on
images that it has not seen, `refined` gives finer levels for a second round.

Levels are float[T, C] in 0..1, both excluded: the thresholds and tops to try, rising,
each label's own. Probabilities and levels are compared in float32, as in
`postprocess.clean`; N counts images, and Dice is of each image and label, 1 where
both masks are empty.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from clouds import components, splits
from clouds.errors import InputError
from clouds.rules import Rule, Scope

SIZES = tuple(range(0, 31000, 1000))
"""Minimum areas of the map that `search` draws, in pixels of the submission's grid."""

_MOST = 127
_BYTES = 0x0101010101010101
_SAME = 1e-9
"""Mean Dices closer than this count as one: a pixel of 643 images moves it by more."""


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


class Choice(NamedTuple):
    """What to keep, a number a label; named as in `Rule`.

    Attributes:
      thresholds: pixels strictly above belong to the mask.
      tops: what a pixel must exceed; 0 asks nothing.
      min_sizes: components of strictly more pixels are kept.
      scope: where the top must be reached.
      dice: the mean Dice on the images of the search.
    """

    thresholds: tuple[float, ...]
    tops: tuple[float, ...]
    min_sizes: tuple[int, ...]
    scope: Scope
    dice: tuple[float, ...]

    def rule(self, *, gap: bool = True) -> Rule:
        """The choice as a rule on the submission's grid, of the four labels."""
        return Rule(
            thresholds=self.thresholds,
            min_sizes=self.min_sizes,
            tops=self.tops if any(self.tops) else None,
            scope=self.scope,
            gap=gap,
        )


class Search(NamedTuple):
    """What a search came to.

    Attributes:
      choice: the best of all.
      grid: float64[C, T, A], the mean Dice by threshold and minimum area, no top.
    """

    choice: Choice
    grid: np.ndarray


class CrossFit(NamedTuple):
    """What a choice is worth on images unseen, beside images seen.

    Attributes:
      honest: float64[N, C], the Dice of each image by the choice of the other folds.
      tuned: float64[N, C], by the choice of all images, its own included.
      choices: those of the folds, each made without its fold.
      choice: that of all images.
      fold: int64[N], the fold of each image.
    """

    honest: np.ndarray
    tuned: np.ndarray
    choices: list[Choice]
    choice: Choice
    fold: np.ndarray


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
        levels = _checked_levels(np.asarray(levels), probabilities.shape[3], "measure")
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
            "A rule is tuned on one image at least. Received: none, in tuning.join. "
            "Give the batches of a labelled split."
        )
    joined = Found(*(np.concatenate(x) for x in zip(*parts, strict=True)))
    counts = [len(part.truth) for part in parts]
    first = np.repeat(np.cumsum([0, *counts[:-1]]), [len(x.image) for x in parts])
    return joined._replace(image=joined.image + first.astype("i4"))


def search(
    found: Found,
    levels: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    scope: Scope = "component",
    sizes: Iterable[int] = SIZES,
) -> Search:
    """Finds each label's threshold, top and minimum area of highest mean Dice.

    All levels are tried as thresholds, with no top and with every higher level, and
    all minimum areas: what a component adds to its plane's Dice, once the larger
    ones are drawn, counts from its area down, so that these gains, summed from the
    largest area to the smallest, are the mean Dice as a function of the minimum.

    Of equals, no top goes before any, then the lower top, then the lower threshold.
    Of the minimum areas that are as good as the best, the highest unbroken stretch
    is taken, and its middle: the one that new images are least likely to tip.

    Args:
      found: from `join`.
      levels: float[T, C], those of the components; each label's may be its own.
      weights: float or bool[N], of the images; all alike if left out.
      scope: where a top must be reached (see `Rule`).
      sizes: A minimum areas of the grid that is returned.

    Returns:
      `Search`.

    Raises:
      InputError: The levels or weights do not fit the components.
    """
    levels = _checked_levels(levels, found.truth.shape[1], "search", found)
    weights = _checked_weights(weights, len(found.truth))
    sorted_ = _sort(found, len(levels), scope)
    best, grid = _curves(sorted_, weights[None], np.asarray(list(sizes)))
    return Search(_choose(sorted_, levels, best[0], weights), grid[0])


def score(found: Found, levels: np.ndarray, rule: Choice | Rule) -> np.ndarray:
    """Tells the Dice of each image under a rule.

    Args:
      found: from `join`.
      levels: float[T, C], those of the components.
      rule: thresholds, and tops above them, among the levels.

    Returns:
      float64[N, C].

    Raises:
      InputError: The levels do not fit the components, or the rule not the levels.
    """
    levels = _checked_levels(levels, found.truth.shape[1], "score", found)
    thresholds, tops = _places(levels, rule, "score")
    plane = found.image * np.int64(found.truth.shape[1]) + found.label
    rows = np.flatnonzero(found.level == thresholds[found.label])
    plane, label, area = plane[rows], found.label[rows], found.area[rows]
    reach = found.reach[rows]
    if rule.scope == "image":
        reach_of_plane = np.zeros(found.truth.size, np.uint8)
        np.maximum.at(reach_of_plane, plane, reach)
        reach = reach_of_plane[plane]
    kept = (reach >= tops[label]) & (area > np.asarray(rule.min_sizes)[label])

    def sums(pixels):
        sums = np.bincount(plane[kept], pixels[kept], minlength=found.truth.size)
        return sums.reshape(found.truth.shape)

    total = found.truth + sums(area)
    shared = 2 * sums(found.intersection[rows])
    return np.where(total > 0, shared / np.maximum(total, 1), 1.0)


def cross_fit(
    found: Found,
    levels: np.ndarray,
    *,
    folds: int = 5,
    seed: int = 0,
    scope: Scope = "component",
) -> CrossFit:
    """Chooses on all folds but one, scores on that one, for each in turn.

    Args:
      found: from `join`.
      levels: float[T, C], those of the components.
      folds: how many; each holds every set of labels in equal shares.
      seed: of the draw of folds.
      scope: where a top must be reached (see `Rule`).

    Returns:
      `CrossFit`.

    Raises:
      InputError: The levels do not fit the components, or the folds the images.
    """
    levels = _checked_levels(levels, found.truth.shape[1], "cross_fit", found)
    fold = splits.folds(found.truth > 0, folds, seed=seed)
    weights = np.ones((folds + 1, len(fold)))
    weights[fold, np.arange(len(fold))] = 0
    sorted_ = _sort(found, len(levels), scope)
    best, _ = _curves(sorted_, weights, np.zeros(0, int))
    pairs = zip(best, weights, strict=True)
    *choices, choice = (_choose(sorted_, levels, *pair) for pair in pairs)
    scores = np.stack([score(found, levels, each) for each in choices])
    honest = scores[fold, np.arange(len(fold))]
    return CrossFit(honest, score(found, levels, choice), choices, choice, fold)


def refined(levels: np.ndarray, choice: Choice | Rule) -> np.ndarray:
    """Draws closer levels about a choice, for a second `measure` and `search`.

    Without a top, ten lie about the threshold, each a sixth of the way to the next
    level from the last; with one, five lie about the threshold and four about the
    top, by fifths. Beyond the levels' ends, the next levels are 0 and 1.

    Args:
      levels: float[T, C].
      choice: thresholds, and tops above them, among the levels.

    Returns:
      float64[11, C], rising, the thresholds and tops included.

    Raises:
      InputError: The levels do not rise, or the choice is not among them.
    """
    levels = _checked_levels(levels, len(choice.thresholds), "refined")
    thresholds, tops = _places(levels, choice, "refined")
    alone = thresholds + np.arange(-5, 6)[:, None] / 6
    low = thresholds + np.arange(-3, 3)[:, None] / 5
    high = tops + np.arange(-2, 3)[:, None] / 5
    places = np.where(tops > thresholds, np.concatenate([low, high]), alone) + 1
    padded = np.pad(levels, [[1, 1], [0, 0]], constant_values=[[0, 1], [0, 0]])
    below = np.floor(places).astype(int)
    part = places - below
    lower = np.take_along_axis(padded, below, axis=0)
    return lower + part * (np.take_along_axis(padded, below + 1, axis=0) - lower)


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


class _Sorted(NamedTuple):
    """Components by plane and falling area, and the order by segment and area.

    A segment is a label at a level, in the order of `found`'s level, then label. At
    its head goes a component that is larger than all others, of an image added to
    the end, whose Dice it cannot raise: it stands for keeping nothing, and no
    segment is empty.
    """

    image: np.ndarray
    label: np.ndarray
    level: np.ndarray
    area: np.ndarray
    intersection: np.ndarray
    reach: np.ndarray
    plane: np.ndarray
    truth: np.ndarray
    absent: np.ndarray
    by_area: np.ndarray
    levels: int
    scope: Scope


def _sort(found, levels, scope):
    images, labels = found.truth.shape
    level, label = np.divmod(np.arange(levels * labels), labels)
    ends = np.iinfo(np.uint8).max, found.area.max(initial=0) + 1
    filled = [np.full(len(level), x) for x in (images, ends[1], 0, ends[0])]
    heads = Found(filled[0], label, level, *filled[1:], found.truth)
    parts = zip(found[:-1], heads[:-1], strict=True)
    found = Found(
        *(np.concatenate([ours, head.astype(ours.dtype)]) for ours, head in parts),
        np.concatenate([found.truth, np.ones((1, labels), found.truth.dtype)]),
    )
    segment = found.level.astype(np.int64) * labels + found.label
    plane = segment * (images + 1) + found.image
    rank = int(ends[1]) - found.area.astype(np.int64)
    order = np.argsort(plane * (ends[1] + 1) + rank, kind="stable")
    by_area = np.argsort((segment * (ends[1] + 1) + rank)[order], kind="stable")
    fields = [part[order] for part in found[:-1]]
    plane = plane[order]
    if scope == "image":
        starts = np.flatnonzero(np.diff(plane, prepend=-1))
        reach = np.maximum.reduceat(fields[5], starts)
        fields[5] = np.repeat(reach, np.diff(starts, append=len(plane)))
    truth = found.truth[fields[0], fields[1]]
    absent = found.truth[:-1] == 0
    return _Sorted(*fields, plane, truth, absent, by_area, levels, scope)


def _gains(sorted_, rows):
    """What each component adds to its plane's Dice, once the larger are drawn."""
    plane, truth = sorted_.plane[rows], sorted_.truth[rows]
    first = np.diff(plane, prepend=-1) > 0
    starts = np.flatnonzero(first)
    lengths = np.diff(starts, append=len(rows))

    def drawn(pixels):
        pixels = pixels[rows]
        sums = np.cumsum(pixels, dtype=np.int64)
        return sums - np.repeat((sums - pixels)[starts], lengths)

    dice = 2 * drawn(sorted_.intersection) / (truth + drawn(sorted_.area))
    return dice - np.where(first, truth == 0, np.roll(dice, 1))


def _falling(sorted_, kept):
    """Rows that are kept, from segment to segment and by falling area; their gains."""
    rows = np.flatnonzero(kept)
    gains = np.zeros(len(kept))
    gains[rows] = _gains(sorted_, rows)
    rows = sorted_.by_area[kept[sorted_.by_area]]
    return rows, gains[rows]


def _curves(sorted_, weights, sizes):
    """Runs down the minimum areas of each segment and top, for F weightings.

    Returns:
      float64[F, top, T, C], the highest mean Dice, of no top in place of the lowest
      top, -inf of tops not above the threshold; float64[F, C, T, A], the grid.
    """
    levels, (images, labels) = sorted_.levels, sorted_.absent.shape
    weights = weights / weights.sum(axis=1, keepdims=True)
    empty = weights @ sorted_.absent
    weights = np.pad(weights, [[0, 0], [0, 1]])
    best = np.full((len(weights), levels, levels, labels), -np.inf)
    grid = np.empty((len(weights), levels * labels, len(sizes)))
    for top in range(levels):
        below = top or levels
        rows, gains = _falling(
            sorted_, (sorted_.reach >= top) & (sorted_.level < below)
        )
        image, area = sorted_.image[rows], sorted_.area[rows]
        is_head = image == images
        heads = np.flatnonzero(is_head)
        tied = np.flatnonzero((area[1:] == area[:-1]) & ~is_head[1:])
        for fold, weight in enumerate(weights):
            sums = np.cumsum(gains * weight[image])
            base = sums[heads]
            if not top and len(sizes):
                places = _places_of_sizes(area, heads, sizes)
                grid[fold] = sums[places] - base[:, None]
            # Of equal areas all go or none.
            sums[tied] = -np.inf
            peaks = np.maximum.reduceat(sums, heads) - base
            best[fold, top, :below] = peaks.reshape(below, labels) + empty[fold]
    grid = grid.reshape(len(weights), levels, labels, len(sizes))
    return best, (grid + empty[:, None, :, None]).transpose(0, 2, 1, 3)


def _places_of_sizes(area, heads, sizes):
    """For each segment and size the last row of a larger area: int64[S, A]."""
    most = np.int64(area[0])
    segment = np.repeat(np.arange(len(heads)), np.diff(heads, append=len(area)))
    rising = segment * (most + 1) + most - area
    wanted = np.arange(len(heads))[:, None] * (most + 1) + most
    return np.searchsorted(rising, wanted - np.minimum(sizes, most - 1)) - 1


def _choose(sorted_, levels, best, weights):
    images = len(weights)
    best = best.reshape(-1, best.shape[-1])
    picked = np.argmax(best >= best.max(axis=0) - _SAME, axis=0)
    tops, thresholds = np.divmod(picked, len(levels))
    kept = sorted_.level == thresholds[sorted_.label]
    kept &= sorted_.reach >= tops[sorted_.label]
    kept &= np.append(weights > 0, True)[sorted_.image]
    rows, gains = _falling(sorted_, kept)
    scores = np.cumsum(gains * np.append(weights, 0)[sorted_.image[rows]])
    heads = np.flatnonzero(sorted_.image[rows] == images)
    sizes = _middles(scores / weights.sum(), sorted_.area[rows], heads)
    places = np.argsort(sorted_.label[rows][heads])
    label = np.arange(len(places))
    return Choice(
        tuple(levels[thresholds, label].tolist()),
        tuple(np.where(tops, levels[tops, label], 0.0).tolist()),
        tuple(sizes[places].tolist()),
        sorted_.scope,
        tuple(best[picked, label].tolist()),
    )


def _middles(scores, area, heads):
    """The middle of the highest stretch of best minimum areas, by segment.

    From a row on, and down to the next smaller area, all minimum areas draw alike.
    """
    smaller = np.append(area[1:], 0).astype(np.int64)
    smaller[np.append(heads[1:], len(area)) - 1] = 0
    larger = area.astype(np.int64)
    larger[heads] = smaller[heads] + 1
    states = np.flatnonzero(larger != smaller)
    scores, larger, smaller = scores[states], larger[states], smaller[states]
    heads = np.searchsorted(states, heads)
    ends = np.append(heads[1:], len(states))
    lengths, place = ends - heads, np.arange(len(states))
    # What came before a segment is a part of its scores, and of their peak alike.
    peaks = np.repeat(np.maximum.reduceat(scores, heads), lengths)
    good = scores >= peaks - _SAME
    first = np.minimum.reduceat(np.where(good, place, len(place)), heads)
    is_past = ~good & (place > np.repeat(first, lengths))
    stop = np.minimum.reduceat(np.where(is_past, place, len(place)), heads)
    stop = np.minimum(stop, ends)
    return (smaller[stop - 1] + larger[first] - 1) // 2


def _places(levels, rule, where):
    """Where thresholds and tops are among the levels, each int64[C]."""
    thresholds = np.asarray(rule.thresholds)
    tops = np.zeros(len(thresholds)) if rule.tops is None else np.asarray(rule.tops)
    tops = np.maximum(thresholds, tops)
    for name, values in (("Thresholds", thresholds), ("Tops", tops)):
        if len(values) != levels.shape[1] or not _among(levels, values).any(0).all():
            raise InputError(
                f"{name} must be among the levels, one a label. Received: "
                f"{values.tolist()}, of levels {levels.T.tolist()}, in tuning.{where}. "
                "Give a choice made at these levels, or measure at others."
            )
    return _among(levels, thresholds).argmax(0), _among(levels, tops).argmax(0)


def _among(levels, values):
    return levels.astype(np.float32) == values.astype(np.float32)


def _check_maps(probabilities, truth):
    halves = tf.float16, tf.bfloat16, tf.float32
    if probabilities.dtype not in halves or probabilities.shape.rank != 4:
        raise InputError(
            "Probabilities must be float32[B, H, W, C]. Received: "
            f"{probabilities.dtype.name}, shape {probabilities.shape}, in "
            "tuning.measure. Cast them, and give one image as probabilities[None]."
        )
    whole = tf.bool, tf.uint8
    if truth.dtype not in whole or not truth.shape.is_compatible_with(
        probabilities.shape
    ):
        raise InputError(
            "The truth must be uint8 or bool, of the probabilities' shape "
            f"{probabilities.shape}. Received: {truth.dtype.name}, shape "
            f"{truth.shape}, in tuning.measure. Resize the probabilities to its grid."
        )
    if not tf.executing_eagerly():
        return
    broken = tf.math.is_nan(probabilities)
    if tf.reduce_any(broken):
        place = tf.where(broken)[0].numpy().tolist()
        raise InputError(
            "Probabilities must be numbers. Received: NaN, first at [B, H, W, C] = "
            f"{place}, in tuning.measure. Look for an overflow in the network."
        )


def _checked_levels(levels, labels, where, found=None):
    """The levels as float64[T, C], or an `InputError`."""
    levels = np.asarray(levels)
    if levels.ndim != 2 or levels.shape[1] != labels or not 1 <= len(levels) <= _MOST:
        raise InputError(
            f"Levels must be float[T, {labels}], T from 1 to {_MOST}. Received: shape "
            f"{levels.shape}, in tuning.{where}. Repeat levels that all labels share: "
            "numpy.repeat(levels[:, None], labels, axis=1)."
        )
    levels = levels.astype(np.float64)
    ends = np.pad(levels, [[1, 1], [0, 0]], constant_values=[[0, 1], [0, 0]])
    if not (np.diff(ends.astype(np.float32), axis=0) > 0).all():
        raise InputError(
            "Levels must rise within 0..1, both excluded, for each label. Received: "
            f"{levels.T.tolist()}, in tuning.{where}. Sort them and drop what is "
            "there twice."
        )
    if found is not None and found.level.max(initial=0) >= len(levels):
        raise InputError(
            f"Components must be of the {len(levels)} levels given. Received: one of "
            f"level {found.level.max()}, in tuning.{where}. Give the levels that they "
            "were measured at."
        )
    return levels


def _checked_weights(weights, images):
    if weights is None:
        return np.ones(images)
    weights = np.asarray(weights)
    if (
        weights.shape != (images,)
        or not (weights >= 0).all()
        or not np.isfinite(weights).all()
        or not weights.any()
    ):
        raise InputError(
            f"Weights must be {images} numbers of 0 or more, one above 0 at least, one "
            f"an image. Received: {weights.dtype}, shape {weights.shape}, in "
            "tuning.search. Give a mask of a subset of the images as bool."
        )
    return weights.astype(np.float64)
