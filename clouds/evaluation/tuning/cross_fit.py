"""Chooses a rule, and estimates its score on images that it has not seen (NumPy).

Levels and N are as in `search`.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from clouds.config.rule import Rule, Scope
from clouds.data import splits
from clouds.evaluation.tuning import families, search
from clouds.evaluation.tuning.level_sets import Components
from clouds.evaluation.tuning.search import Choice


class CrossFit(NamedTuple):
    """Result of `cross_fit`.

    Attributes:
      cross_fitted: float64[N, C], Dice of each image by the choice of the other folds.
      tuned: float64[N, C], Dice of each image by the choice of all images.
      choices: choice without each fold.
      choice: choice of all images.
      family: int64[C], its families, as indices in `families.FAMILIES`.
      fold: int64[N], the fold of each image.
      places: int64[S], indices of the levels that were tried first.
      grid: float64[C, S, A], mean Dice of all images by these thresholds and the
        minimum areas, without a peak threshold or a gate.
    """

    cross_fitted: np.ndarray
    tuned: np.ndarray
    choices: list[Choice]
    choice: Choice
    family: np.ndarray
    fold: np.ndarray
    places: np.ndarray
    grid: np.ndarray


def cross_fit(
    table: Components,
    levels: np.ndarray,
    presence: np.ndarray,
    *,
    folds: int = 5,
    seed: int = 0,
    scope: Scope = "component",
    step: int = 1,
    sizes: Iterable[int] = tuple(search.sizes()),
    default: Rule | None = None,
    groups: Sequence[str] | None = None,
) -> CrossFit:
    """Chooses on all folds but one and scores on that one, for each fold.

    The family of each label is chosen by cross-fitting, too, within the images of the
    choice (nested cross-fitting), so that the score is that of the whole procedure.

    A label that should not be drawn gets the level closest to the default threshold. So
    does a label that no image has, with the default minimum area.

    Args:
      table: result of `level_sets.join`.
      levels: float[T, C], levels of the components.
      presence: float[N, C], presence scores.
      folds: number of folds, stratified by set of labels.
      seed: seed of the folds.
      scope: where the peak threshold must be exceeded (see `Rule`).
      step: step between the levels that are tried first.
      sizes: A minimum areas of the returned grid.
      default: rule whose numbers labels get that are never drawn; by default the
        notebook's.
      groups: group of each image, which no fold divides.

    Raises:
      InputError: there are fewer images than folds.
    """
    fold = splits.folds(table.truth > 0, folds, seed=seed, groups=groups)
    numbers = range(folds)
    pairs = itertools.combinations(numbers, 2) if folds > 2 else ()
    left_out = [*pairs, *((k,) for k in numbers), ()]
    weights = np.stack([~np.isin(fold, each) for each in left_out]).astype(float)
    fitter = families.Fitter(table, levels, presence, scope, step, default)
    fitted, grid = fitter.fit(weights, sizes)
    fits = dict(zip(map(frozenset, left_out), fitted, strict=True))

    def choose(outer: frozenset):
        """Chooses the families on the images of other folds, and fits them there."""
        inner = [k for k in numbers if outer | {k} in fits and k not in outer]
        dice = [fits[outer | {k}].dice[:, fold == k] for k in inner]
        # With two folds nothing is left to choose by, which is the default family.
        dice = dice or [fits[outer].dice[:, :0]]
        family = families.select(np.concatenate(dice, axis=1))
        return family, *families.combine(fits[outer], family)

    by_fold = [choose(frozenset([k])) for k in numbers]
    scores = np.stack([dice for _, _, dice in by_fold])
    family, choice, tuned = choose(frozenset())
    return CrossFit(
        scores[fold, np.arange(len(fold))],
        tuned,
        [each for _, each, _ in by_fold],
        choice,
        family,
        fold,
        fitter.places,
        grid,
    )
