"""Mean Dice as a function of the minimum area, for many thresholds and tops at once.

What a component adds to its plane's Dice, once the larger ones are drawn, counts
from its area down; so these gains, summed from the largest area to the smallest,
are the mean Dice at every minimum. N counts images, T levels, A minimum areas.
"""

from typing import NamedTuple

import numpy as np

from clouds.config.rule import Scope
from clouds.evaluation.tuning.level_sets import Found


class Sorted(NamedTuple):
    """Components by plane and falling area, each field of `Found` [M].

    A segment is a label at a level; segments go by level, then label. At the head of
    each goes a component that is larger than all others, of an image added to the
    end, whose Dice it cannot raise: it stands for keeping nothing, and no segment is
    empty.

    Attributes:
      plane: int64[M], the segment and image that a component lies in.
      truth: int32[M], the pixels of the truth there.
      absent: bool[N, C], where the truth is empty.
      by_area: int64[M], rows from segment to segment, and by falling area there.
      levels: T.
      scope: where a top must be reached; `reach` is of that.
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


def sort(found: Found, levels: int, scope: Scope) -> Sorted:
    """Brings components into the orders that `curves` goes by.

    Args:
      found: from `slices.join`.
      levels: T, how many.
      scope: where a top must be reached (see `Rule`).
    """
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
    return Sorted(*fields, plane, truth, absent, by_area, levels, scope)


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


def falling(sorted_: Sorted, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tells what components add to Dice where only some are kept.

    Args:
      sorted_: the components.
      kept: bool[M].

    Returns:
      int64[K], the rows that are kept, from segment to segment and by falling area;
      float64[K], what each adds to the Dice of its plane.
    """
    rows = np.flatnonzero(kept)
    gains = np.zeros(len(kept))
    gains[rows] = _gains(sorted_, rows)
    rows = sorted_.by_area[kept[sorted_.by_area]]
    return rows, gains[rows]


def curves(
    sorted_: Sorted, weights: np.ndarray, sizes: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Runs down the minimum areas of each segment and top, for F weightings.

    Args:
      sorted_: the components.
      weights: float[F, N], of the images.
      sizes: int[A], minimum areas of the grid.

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
        rows, gains = falling(sorted_, (sorted_.reach >= top) & (sorted_.level < below))
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
