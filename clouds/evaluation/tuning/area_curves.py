"""Mean Dice by minimum area, for many thresholds and peak thresholds at once.

The gain of a component is what it adds to the Dice of its plane after the larger ones.
It counts for every minimum area below the component's own, so the cumulative sum of
gains by falling area is the mean Dice at every minimum area. N counts images, T levels,
A minimum areas.
"""

from typing import NamedTuple

import numpy as np

from clouds.config.rule import Scope
from clouds.evaluation.tuning.level_sets import Components


class Sorted(NamedTuple):
    """Components by plane and falling area, with the fields of `Components`, each [M].

    A segment is a label at a level; segments are in the order of levels, then labels.
    Each starts with a sentinel that stands for keeping nothing: a component larger
    than all others, of an extra last image whose Dice it cannot raise.

    Attributes:
      plane: int64[M], the component's segment and image.
      truth: int32[M], pixels of the truth in that plane.
      absent: bool[N, C], where the truth is empty.
      by_area: int64[M], rows by segment and falling area.
      levels: T.
      scope: where the peak threshold must be exceeded, which `reach` is for.
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


def sort(table: Components, levels: int, scope: Scope) -> Sorted:
    """Sorts components for `curves`.

    Args:
      table: result of `level_sets.join`.
      levels: T, number of levels.
      scope: where the peak threshold must be exceeded (see `Rule`).
    """
    images, labels = table.truth.shape
    table = _with_sentinels(table, levels)
    largest = table.area.max()
    segment = table.level.astype(np.int64) * labels + table.label
    plane = segment * (images + 1) + table.image
    rank = int(largest) - table.area.astype(np.int64)
    order = np.argsort(plane * (largest + 1) + rank, kind="stable")
    by_area = np.argsort((segment * (largest + 1) + rank)[order], kind="stable")
    fields = [part[order] for part in table[:-1]]
    plane = plane[order]
    if scope == "image":
        starts = np.flatnonzero(np.diff(plane, prepend=-1))
        reach = np.maximum.reduceat(fields[5], starts)
        fields[5] = np.repeat(reach, np.diff(starts, append=len(plane)))
    truth = table.truth[fields[0], fields[1]]
    absent = table.truth[:-1] == 0
    return Sorted(*fields, plane, truth, absent, by_area, levels, scope)


def _with_sentinels(table: Components, levels: int) -> Components:
    images, labels = table.truth.shape
    level, label = np.divmod(np.arange(levels * labels), labels)
    area, reach = table.area.max(initial=0) + 1, np.iinfo(np.uint8).max
    columns = images, label, level, area, 0, reach
    return Components(
        *(
            np.append(part, np.broadcast_to(column, level.shape)).astype(part.dtype)
            for part, column in zip(table[:-1], columns, strict=True)
        ),
        np.concatenate([table.truth, np.ones((1, labels), table.truth.dtype)]),
    )


def _gains(sorted_, rows):
    """Returns what each component adds to the Dice of its plane after larger ones."""
    plane, truth = sorted_.plane[rows], sorted_.truth[rows]
    first = np.diff(plane, prepend=-1) > 0
    starts = np.flatnonzero(first)
    lengths = np.diff(starts, append=len(rows))

    def cumulative(pixels):
        pixels = pixels[rows]
        sums = np.cumsum(pixels, dtype=np.int64)
        return sums - np.repeat((sums - pixels)[starts], lengths)

    area = cumulative(sorted_.area)
    dice = 2 * cumulative(sorted_.intersection) / (truth + area)
    return dice - np.where(first, truth == 0, np.roll(dice, 1))


def gains(sorted_: Sorted, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the gains of components if only some are kept.

    Args:
      sorted_: components.
      kept: bool[M].

    Returns:
      int64[K], the kept rows by segment and falling area; float64[K], their gains.
    """
    rows = np.flatnonzero(kept)
    gain = np.zeros(len(kept))
    gain[rows] = _gains(sorted_, rows)
    rows = sorted_.by_area[kept[sorted_.by_area]]
    return rows, gain[rows]


def curves(
    sorted_: Sorted, weights: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Computes the mean Dice of each segment and peak threshold, for F weightings.

    Args:
      sorted_: components.
      weights: float[F, N], weights of the images.
      sizes: int[A], minimum areas of the grid.

    Returns:
      float64[F, T, T, C], the highest mean Dice by peak threshold and threshold. The
      lowest peak threshold stands for none; those not above the threshold have -inf.
      float64[F, C, T, A], the grid, without a peak threshold.
    """
    levels, (images, labels) = sorted_.levels, sorted_.absent.shape
    weights = weights / weights.sum(axis=1, keepdims=True)
    empty = weights @ sorted_.absent
    weights = np.pad(weights, [[0, 0], [0, 1]])
    best = np.full((len(weights), levels, levels, labels), -np.inf)
    grid = np.empty((len(weights), levels * labels, len(sizes)))
    for top in range(levels):
        below = top or levels
        rows, gain = gains(sorted_, (sorted_.reach >= top) & (sorted_.level < below))
        image, area = sorted_.image[rows], sorted_.area[rows]
        is_first = image == images
        firsts = np.flatnonzero(is_first)
        tied = np.flatnonzero((area[1:] == area[:-1]) & ~is_first[1:])
        for fold, weight in enumerate(weights):
            sums = np.cumsum(gain * weight[image])
            base = sums[firsts]
            if not top and len(sizes):
                places = _last_larger(area, firsts, sizes)
                grid[fold] = sums[places] - base[:, None]
            # Components of equal area are kept together.
            sums[tied] = -np.inf
            peaks = np.maximum.reduceat(sums, firsts) - base
            best[fold, top, :below] = peaks.reshape(below, labels) + empty[fold]
    grid = grid.reshape(len(weights), levels, labels, len(sizes))
    return best, (grid + empty[:, None, :, None]).transpose(0, 2, 1, 3)


def _last_larger(area, firsts, sizes):
    """Finds the last row of a larger area for each segment and size: int64[S, A]."""
    largest = np.int64(area[0])
    segment = np.repeat(np.arange(len(firsts)), np.diff(firsts, append=len(area)))
    rising = segment * (largest + 1) + largest - area
    limits = np.arange(len(firsts))[:, None] * (largest + 1) + largest
    return np.searchsorted(rising, limits - np.minimum(sizes, largest - 1)) - 1
