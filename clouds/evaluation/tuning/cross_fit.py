"""Chooses a rule, and estimates its score on images that it has not seen (NumPy).

Levels and N are as in `search`.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from clouds.config.rule import NOTHING, Rule, Scope
from clouds.data import splits
from clouds.evaluation.tuning import area_curves, level_sets, search
from clouds.evaluation.tuning.level_sets import Components
from clouds.evaluation.tuning.search import SIZES, Choice


class CrossFit(NamedTuple):
    """Result of `cross_fit`.

    Attributes:
      cross_fitted: float64[N, C], Dice of each image by the choice of the other folds.
      tuned: float64[N, C], Dice of each image by the choice of all images.
      choices: choice without each fold.
      choice: choice of all images.
      fold: int64[N], the fold of each image.
      places: int64[S], indices of the levels that were tried first.
      grid: float64[C, S, A], mean Dice of all images by these thresholds and the
        minimum areas, without a peak threshold.
    """

    cross_fitted: np.ndarray
    tuned: np.ndarray
    choices: list[Choice]
    choice: Choice
    fold: np.ndarray
    places: np.ndarray
    grid: np.ndarray


def cross_fit(
    table: Components,
    levels: np.ndarray,
    *,
    folds: int = 5,
    seed: int = 0,
    scope: Scope = "component",
    step: int = 1,
    sizes: Iterable[int] = SIZES,
) -> CrossFit:
    """Chooses on all folds but one and scores on that one, for each fold.

    Every step-th level is tried first; then, per label, the levels less than a step
    from the choice. A label that should not be drawn gets the level closest to the
    default threshold. So does a label that no image has, with the default minimum area.

    Args:
      table: result of `level_sets.join`.
      levels: float[T, C], levels of the components.
      folds: number of folds, stratified by set of labels.
      seed: seed of the folds.
      scope: where the peak threshold must be exceeded (see `Rule`).
      step: step between the levels that are tried first.
      sizes: A minimum areas of the returned grid.

    Raises:
      InputError: there are fewer images than folds.
    """
    labels = table.truth.shape[1]
    fold = splits.folds(table.truth > 0, folds, seed=seed)
    weights = np.ones((folds + 1, len(fold)))
    weights[fold, np.arange(len(fold))] = 0
    places = np.arange(step - 1, len(levels), step)
    coarse = level_sets.subset(table, np.repeat(places[:, None], labels, axis=1))
    sorted_ = area_curves.sort(coarse, len(places), scope)
    best, grids = area_curves.curves(sorted_, weights, np.asarray(list(sizes)))
    by_label = [level_sets.of_label(table, label) for label in range(labels)]
    choices = []
    for dice, weight in zip(best, weights, strict=True):
        choice = search.choose(sorted_, levels[places], dice, weight)
        choice = _refine(by_label, levels, choice, weight, step)
        present = weight @ (table.truth > 0) > 0
        choices.append(_with_defaults(levels, choice, present))
    *choices, choice = choices
    scores = np.stack([search.score(table, levels, each) for each in choices])
    cross_fitted = scores[fold, np.arange(len(fold))]
    tuned = search.score(table, levels, choice)
    return CrossFit(cross_fitted, tuned, choices, choice, fold, places, grids[-1])


def _refine(by_label, levels, choice, weights, step):
    """Searches each label again among the levels less than a step from its choice."""
    options = {"weights": weights, "scope": choice.scope, "sizes": ()}
    refined = []
    for label, (table, *chosen) in enumerate(
        zip(by_label, *search.places(levels, choice), strict=True)
    ):
        near = np.unique(np.add.outer(chosen, np.arange(1 - step, step)))
        near = near[(near >= 0) & (near < len(levels))]
        part, own = level_sets.subset(table, near[:, None]), levels[near, label, None]
        refined.append(search.search(part, own, **options).choice)
    fields = ([field[0] for field in each[:3]] for each in refined)
    dice = tuple(each.dice[0] for each in refined)
    return Choice(*zip(*fields, strict=True), choice.scope, dice)


def _with_defaults(levels, choice, present):
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
