"""Searches the rule of highest competition Dice on labelled images (NumPy).

The search tries every threshold, peak threshold and minimum area, on a list of
components at many levels (see `level_sets`).

Levels are float[T, C] in 0..1: the thresholds and peak thresholds to try, rising for
each label. N counts images. Dice is per image and label, 1 where both masks are empty.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from clouds.config.rule import NOTHING, Rule, Scope
from clouds.errors import InputError
from clouds.evaluation import scores
from clouds.evaluation.tuning import area_curves
from clouds.evaluation.tuning.area_curves import Sorted
from clouds.evaluation.tuning.level_sets import Components
from clouds.schema import CLOUDS

_SIZES, _SIZE_STEP = 41, 1500


_SAME = 1e-9
"""Difference up to which mean Dices are equal; one pixel in 643 images exceeds it."""


def sizes(grid: tuple[int, int] = CLOUDS.grid) -> list[int]:
    """Returns minimum areas from 0 to a third of a grid, in its pixels."""
    share = grid[0] * grid[1] / (CLOUDS.grid[0] * CLOUDS.grid[1])
    step = max(1, round(_SIZE_STEP * share))
    return [k * step for k in range(_SIZES)]


class Choice(NamedTuple):
    """Numbers of a rule per label, named as in `Rule`.

    Attributes:
      thresholds: thresholds.
      tops: peak thresholds; 0 stands for none.
      min_sizes: minimum areas.
      scope: where the peak threshold must be exceeded.
      dice: mean Dice on the images of the search.
      presence: presence thresholds; 0 stands for none.
    """

    thresholds: tuple[float, ...]
    tops: tuple[float, ...]
    min_sizes: tuple[int, ...]
    scope: Scope
    dice: tuple[float, ...]
    presence: tuple[float, ...] = ()

    def rule(self, *, gap: bool = True) -> Rule:
        """Converts the choice to a rule on the submission's grid."""
        return Rule(
            thresholds=self.thresholds,
            min_sizes=self.min_sizes,
            tops=self.tops if any(self.tops) else None,
            presence=self.presence if any(self.presence) else None,
            scope=self.scope,
            gap=gap,
        )


class Search(NamedTuple):
    """Result of `search`.

    Attributes:
      choice: best choice.
      grid: float64[C, T, A], mean Dice by threshold and minimum area, without a peak
        threshold.
    """

    choice: Choice
    grid: np.ndarray


def search(
    table: Components,
    levels: np.ndarray,
    *,
    weights: np.ndarray | None = None,
    scope: Scope = "component",
    sizes: Iterable[int] = tuple(sizes()),
    peaks: bool = True,
) -> Search:
    """Finds the threshold, peak threshold and minimum area of highest mean Dice.

    Every level is tried as a threshold, without a peak threshold and with every higher
    level, and every minimum area (see `area_curves`).

    Among equals, no peak threshold is preferred, then a lower one, then a lower
    threshold. The minimum area is the middle of the highest unbroken range of the best
    ones, since new images are least likely to change it. If drawing nothing is best,
    it is `rule.NOTHING`.

    Args:
      table: result of `level_sets.join`.
      levels: float[T, C], levels of the components.
      weights: float or bool[N], weights of the images; equal by default.
      scope: where the peak threshold must be exceeded (see `Rule`).
      sizes: A minimum areas of the returned grid.
      peaks: whether to try peak thresholds.
    """
    levels = np.asarray(levels)
    weights = np.ones(len(table.truth)) if weights is None else np.float64(weights)
    sorted_ = area_curves.sort(table, len(levels), scope)
    best, grid = area_curves.curves(sorted_, weights[None], np.asarray(list(sizes)))
    best = best[0] if peaks else best[0, :1]
    return Search(choose(sorted_, levels, best, weights), grid[0])


def score(table: Components, levels: np.ndarray, rule: Choice | Rule) -> np.ndarray:
    """Returns the Dice of each image by a rule, float64[N, C].

    Args:
      table: result of `level_sets.join`.
      levels: float[T, C], levels of the components.
      rule: rule whose thresholds and peak thresholds are among the levels.

    Raises:
      InputError: the rule does not fit the levels.
    """
    thresholds, tops = places(levels, rule)
    plane = table.image * np.int64(table.truth.shape[1]) + table.label
    rows = np.flatnonzero(table.level == thresholds[table.label])
    plane, label, area = plane[rows], table.label[rows], table.area[rows]
    reach = table.reach[rows]
    if rule.scope == "image":
        reach_of_plane = np.zeros(table.truth.size, np.uint8)
        np.maximum.at(reach_of_plane, plane, reach)
        reach = reach_of_plane[plane]
    kept = (reach >= tops[label]) & (area > np.asarray(rule.min_sizes)[label])

    def sums(pixels):
        sums = np.bincount(plane[kept], pixels[kept], minlength=table.truth.size)
        return sums.reshape(table.truth.shape)

    return scores.dice(table.truth, sums(area), sums(table.intersection[rows]))


def choose(
    sorted_: Sorted, levels: np.ndarray, best: np.ndarray, weights: np.ndarray
) -> Choice:
    """Returns the best choice.

    Args:
      sorted_: components.
      levels: float[T, C].
      best: float64[., T, C], highest mean Dice from `area_curves.curves`, by the first
        peak thresholds.
      weights: float[N], weights of the images.
    """
    images = len(weights)
    best = best.reshape(-1, best.shape[-1])
    picked = np.argmax(best >= best.max(axis=0) - _SAME, axis=0)
    tops, thresholds = np.divmod(picked, len(levels))
    kept = sorted_.level == thresholds[sorted_.label]
    kept &= sorted_.reach >= tops[sorted_.label]
    kept &= np.append(weights > 0, True)[sorted_.image]
    rows, gain = area_curves.gains(sorted_, kept)
    dice = np.cumsum(gain * np.append(weights, 0)[sorted_.image[rows]])
    firsts = np.flatnonzero(sorted_.image[rows] == images)
    sizes = _middles(dice / weights.sum(), sorted_.area[rows], firsts)
    places = np.argsort(sorted_.label[rows][firsts])
    label = np.arange(len(places))
    return Choice(
        tuple(levels[thresholds, label].tolist()),
        tuple(np.where(tops, levels[tops, label], 0.0).tolist()),
        tuple(sizes[places].tolist()),
        sorted_.scope,
        tuple(best[picked, label].tolist()),
    )


def _middles(dice, area, firsts):
    """Returns the middle of the highest range of best minimum areas, by segment.

    All minimum areas from a row's down to the next smaller one keep the same
    components.
    """
    smaller = np.append(area[1:], 0).astype(np.int64)
    smaller[np.append(firsts[1:], len(area)) - 1] = 0
    larger = area.astype(np.int64)
    larger[firsts] = smaller[firsts] + 1
    states = np.flatnonzero(larger != smaller)
    dice, larger, smaller = dice[states], larger[states], smaller[states]
    firsts = np.searchsorted(states, firsts)
    ends = np.append(firsts[1:], len(states))
    lengths, place = ends - firsts, np.arange(len(states))
    # The sum of earlier segments is part of a segment's Dice and of its peak alike.
    peaks = np.repeat(np.maximum.reduceat(dice, firsts), lengths)
    good = dice >= peaks - _SAME
    start = np.minimum.reduceat(np.where(good, place, len(place)), firsts)
    is_past = ~good & (place > np.repeat(start, lengths))
    stop = np.minimum.reduceat(np.where(is_past, place, len(place)), firsts)
    stop = np.minimum(stop, ends)
    middles = (smaller[stop - 1] + larger[start] - 1) // 2
    # A segment starts with the sentinel that keeps nothing.
    return np.where(start == firsts, NOTHING, middles)


def places(levels: np.ndarray, rule: Choice | Rule) -> list[np.ndarray]:
    """Returns the indices of thresholds and peak thresholds, each int64[C].

    Args:
      levels: float[T, C].
      rule: rule whose thresholds and peak thresholds are among the levels.

    Raises:
      InputError: they are not.
    """
    tops = rule.thresholds if rule.tops is None else rule.tops
    numbers = rule.thresholds, np.maximum(rule.thresholds, tops)
    same = [np.float32(levels) == np.float32(values) for values in numbers]
    if not all(each.any(axis=0).all() for each in same):
        raise InputError(
            "Thresholds and peak thresholds must be among the levels. Received: "
            f"{rule.thresholds} and {rule.tops}, with levels {levels.T.tolist()}."
        )
    return [each.argmax(axis=0) for each in same]
