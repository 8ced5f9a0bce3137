"""Picks the rule that maximises the competition's Dice on labelled images (NumPy).

All works on a list of components at many levels (`clouds.evaluation.tuning.level_sets`): `search` tries
every threshold, top and minimum area, `cross_fit` does so with some of the levels,
looks again among those between, and tells what such a choice is worth on images that
it has not seen.

Levels are float[T, C] in 0..1: the thresholds and tops to try, rising, each label's
own. N counts images, and Dice is of each image and label, 1 where both masks are
empty.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from clouds.config.rule import NOTHING, Rule, Scope
from clouds.data import splits
from clouds.errors import InputError
from clouds.evaluation.tuning import area_curves, level_sets
from clouds.evaluation.tuning.level_sets import Found

SIZES = tuple(range(0, 61500, 1500))
"""Minimum areas of the map that `search` draws, in pixels of the submission's grid."""

_SAME = 1e-9
"""Mean Dices closer than this count as one: a pixel of 643 images moves it by more."""


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
      places: int64[S], those of the levels that were tried first.
      grid: float64[C, S, A], the mean Dice of all images at these thresholds and the
        minimum areas, no top.
    """

    honest: np.ndarray
    tuned: np.ndarray
    choices: list[Choice]
    choice: Choice
    fold: np.ndarray
    places: np.ndarray
    grid: np.ndarray


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
    is taken, and its middle: the one that new images are least likely to tip. Where
    no mask is better than to draw none, it is `rules.NOTHING`.

    Args:
      found: from `slices.join`.
      levels: float[T, C], those of the components; each label's may be its own.
      weights: float or bool[N], of the images; all alike if left out.
      scope: where a top must be reached (see `Rule`).
      sizes: A minimum areas of the grid that is returned.

    Returns:
      `Search`.

    Raises:
      InputError: The levels or weights do not fit the components.
    """
    levels = level_sets.checked(levels, found.truth.shape[1], "tuning.search", found)
    weights = _checked_weights(weights, len(found.truth))
    sorted_ = area_curves.sort(found, len(levels), scope)
    best, grid = area_curves.curves(sorted_, weights[None], np.asarray(list(sizes)))
    return Search(_choose(sorted_, levels, best[0], weights), grid[0])


def score(found: Found, levels: np.ndarray, rule: Choice | Rule) -> np.ndarray:
    """Tells the Dice of each image under a rule.

    Args:
      found: from `slices.join`.
      levels: float[T, C], those of the components.
      rule: thresholds, and tops above them, among the levels.

    Returns:
      float64[N, C].

    Raises:
      InputError: The levels do not fit the components, or the rule not the levels.
    """
    levels = level_sets.checked(levels, found.truth.shape[1], "tuning.score", found)
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
    step: int = 1,
    sizes: Iterable[int] = SIZES,
) -> CrossFit:
    """Chooses on all folds but one, scores on that one, for each in turn.

    Every step-th level is tried first; then, label by label, those less than a step
    from what was chosen. A label of which nothing should be drawn has the level next
    to the default rule's threshold. So has one that none of the images has, as it
    cannot be tuned, with the default's minimum area.

    Args:
      found: from `slices.join`.
      levels: float[T, C], those of the components.
      folds: how many; each holds every set of labels in equal shares.
      seed: of the draw of folds.
      scope: where a top must be reached (see `Rule`).
      step: of the levels that are tried first.
      sizes: A minimum areas of the grid that is returned.

    Returns:
      `CrossFit`.

    Raises:
      InputError: The levels do not fit the components, or the folds the images.
    """
    labels = found.truth.shape[1]
    levels = level_sets.checked(levels, labels, "tuning.cross_fit", found)
    fold = splits.folds(found.truth > 0, folds, seed=seed)
    weights = np.ones((folds + 1, len(fold)))
    weights[fold, np.arange(len(fold))] = 0
    places = np.arange(step - 1, len(levels), step)
    coarse = found
    if step > 1:
        coarse = level_sets.subset(found, np.repeat(places[:, None], labels, axis=1))
    sorted_ = area_curves.sort(coarse, len(places), scope)
    best, grids = area_curves.curves(sorted_, weights, np.asarray(list(sizes)))
    pairs = zip(best, weights, strict=True)
    choices = [_choose(sorted_, levels[places], *pair) for pair in pairs]
    if step > 1:
        alone = [level_sets.of_label(found, label) for label in range(labels)]
        pairs = zip(choices, weights, strict=True)
        choices = [_refined(alone, levels, *pair, step) for pair in pairs]
    present = weights @ (found.truth > 0) > 0
    pairs = zip(choices, present, strict=True)
    *choices, choice = (_settled(levels, *pair) for pair in pairs)
    scores = np.stack([score(found, levels, each) for each in choices])
    honest = scores[fold, np.arange(len(fold))]
    tuned = score(found, levels, choice)
    return CrossFit(honest, tuned, choices, choice, fold, places, grids[-1])


def _refined(alone, levels, choice, weights, step):
    """The best of each label with the levels less than a step from a choice's."""
    thresholds, tops = _places(levels, choice, "cross_fit")
    picked = []
    for label, found in enumerate(alone):
        around = np.append(thresholds[label], tops[label])[:, None]
        near = np.unique(around + np.arange(1 - step, step))
        near = near[(near >= 0) & (near < len(levels))]
        sorted_ = area_curves.sort(
            level_sets.subset(found, near[:, None]), len(near), choice.scope
        )
        best, _ = area_curves.curves(sorted_, weights[None], np.zeros(0, int))
        of_label = levels[near, label : label + 1]
        picked.append(_choose(sorted_, of_label, best[0], weights))
    fields = (
        tuple(getattr(each, name)[0] for each in picked)
        for name in ("thresholds", "tops", "min_sizes")
    )
    return Choice(*fields, choice.scope, tuple(each.dice[0] for each in picked))


def _settled(levels, choice, present):
    default = Rule()
    nearest = np.abs(levels - default.thresholds[0]).argmin(axis=0)
    nearest = levels[nearest, np.arange(levels.shape[1])]
    sizes = np.where(present, choice.min_sizes, default.min_sizes[0])
    drawn = present & (sizes != NOTHING)
    return choice._replace(
        thresholds=tuple(np.where(drawn, choice.thresholds, nearest).tolist()),
        tops=tuple(np.where(drawn, choice.tops, 0.0).tolist()),
        min_sizes=tuple(sizes.tolist()),
    )


def _choose(sorted_, levels, best, weights):
    images = len(weights)
    best = best.reshape(-1, best.shape[-1])
    picked = np.argmax(best >= best.max(axis=0) - _SAME, axis=0)
    tops, thresholds = np.divmod(picked, len(levels))
    kept = sorted_.level == thresholds[sorted_.label]
    kept &= sorted_.reach >= tops[sorted_.label]
    kept &= np.append(weights > 0, True)[sorted_.image]
    rows, gains = area_curves.falling(sorted_, kept)
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
    middles = (smaller[stop - 1] + larger[first] - 1) // 2
    # A segment begins with what draws nothing.
    return np.where(first == heads, NOTHING, middles)


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
