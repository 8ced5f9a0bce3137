"""Cross-fitting against fits on the folds."""

import numpy as np
import pytest
from helpers.references import maps

from clouds.evaluation.tuning import families, level_sets
from clouds.evaluation.tuning.cross_fit import cross_fit

LEVELS = np.linspace(0.1, 0.9, 5)[:, None] + [0.0, 0.03]
SCOPES = ["component", "image"]


def measured(probabilities, truth, levels=LEVELS):
    return level_sets.join([level_sets.measure(probabilities, truth, levels)])


def scores_of(probabilities):
    return probabilities.mean(axis=(1, 2))


@pytest.mark.parametrize("scope", SCOPES)
def test_the_choice_for_a_fold_does_not_depend_on_it(scope):
    probabilities, truth = maps(12, seed=7)
    presence = scores_of(probabilities)
    found = measured(probabilities, truth)
    fitted = cross_fit(found, LEVELS, presence, folds=3, scope=scope)
    others, _ = maps(12, blur=0, seed=8)
    for fold in range(3):
        held = fitted.fold == fold
        changed = np.where(held[:, None, None, None], others, probabilities)
        # The truth as well, but not which labels are there: the folds go by these.
        rolled = np.where(held[:, None, None, None], np.rot90(truth, 2, (1, 2)), truth)
        scores = np.where(held[:, None], scores_of(others), presence)
        options = {"folds": 3, "scope": scope}
        refitted = cross_fit(measured(changed, rolled), LEVELS, scores, **options)
        np.testing.assert_array_equal(refitted.fold, fitted.fold)
        assert refitted.choices[fold] == fitted.choices[fold]


@pytest.mark.parametrize("scope", SCOPES)
def test_families_are_chosen_on_the_inner_folds_and_fitted_on_all_of_them(scope):
    probabilities, truth = maps(16, seed=9)
    presence = scores_of(probabilities)
    found = measured(probabilities, truth)
    options = {"folds": 4, "seed": 1, "scope": scope}
    fitted = cross_fit(found, LEVELS, presence, **options)
    fitter = families.Fitter(found, LEVELS, presence, scope, 1)

    def fit(*left_out):
        weights = ~np.isin(fitted.fold, left_out)
        (fits,), _ = fitter.fit(weights[None].astype(float), ())
        return fits

    for outer in (0, 1, 2, 3, None):
        inner = [k for k in range(4) if k != outer]
        dice = [fit(outer, k).dice[:, fitted.fold == k] for k in inner]
        family = families.select(np.concatenate(dice, axis=1))
        choice, dice = families.combine(fit(outer), family)
        if outer is None:
            assert choice == fitted.choice
            np.testing.assert_array_equal(family, fitted.family)
            np.testing.assert_array_equal(dice, fitted.tuned)
        else:
            assert choice == fitted.choices[outer]
            held = fitted.fold == outer
            np.testing.assert_array_equal(fitted.cross_fitted[held], dice[held])


def test_two_images_keep_the_default_rule():
    probabilities, truth = maps(2, seed=3)
    found = measured(probabilities, truth)
    fitted = cross_fit(found, LEVELS, scores_of(probabilities), folds=2)
    assert fitted.family.tolist() == [0, 0]
    assert fitted.choice.min_sizes == (10000, 10000)


def test_folds_do_not_divide_groups():
    probabilities, truth = maps(12, seed=7)
    groups = [str(k // 2) for k in range(12)]
    fitted = cross_fit(
        measured(probabilities, truth),
        LEVELS,
        scores_of(probabilities),
        folds=3,
        groups=groups,
    )
    assert (fitted.fold[::2] == fitted.fold[1::2]).all()
    assert sorted(set(fitted.fold)) == [0, 1, 2]
