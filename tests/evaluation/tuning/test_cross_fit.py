"""Cross-fitting against searches on the folds."""

import numpy as np
import pytest
from helpers.references import maps

from clouds.config.rule import NOTHING
from clouds.evaluation.tuning import level_sets, search
from clouds.evaluation.tuning.cross_fit import cross_fit

LEVELS = np.linspace(0.1, 0.9, 5)[:, None] + [0.0, 0.03]
SCOPES = ["component", "image"]


def measured(probabilities, truth, levels=LEVELS):
    return level_sets.join([level_sets.measure(probabilities, truth, levels)])


def test_a_label_that_should_not_be_drawn_has_the_default_threshold():
    # Image, label, level, area, intersection, reach.
    rows = [(k, 0, level, 30, 0, level) for k in range(4) for level in range(3)]
    levels = np.array([[0.2], [0.4], [0.7]])
    truth = np.array([[0], [0], [0], [5]])
    found = level_sets.join([level_sets.Components(*np.transpose(rows), truth)])
    choice = cross_fit(found, levels, folds=2).choice
    assert choice[:3] == ((0.4,), (0,), (NOTHING,))


@pytest.mark.parametrize("scope", SCOPES)
def test_the_choice_for_a_fold_does_not_depend_on_it(scope):
    probabilities, truth = maps(12, seed=7)
    found = measured(probabilities, truth)
    fitted = cross_fit(found, LEVELS, folds=3, scope=scope)
    others, _ = maps(12, blur=0, seed=8)
    for fold in range(3):
        held = fitted.fold == fold
        changed = np.where(held[:, None, None, None], others, probabilities)
        # The truth as well, but not which labels are there: the folds go by these.
        rolled = np.where(held[:, None, None, None], np.rot90(truth, 2, (1, 2)), truth)
        refitted = cross_fit(measured(changed, rolled), LEVELS, folds=3, scope=scope)
        np.testing.assert_array_equal(refitted.fold, fitted.fold)
        assert refitted.choices[fold] == fitted.choices[fold]
        np.testing.assert_array_equal(
            search.score(found, LEVELS, refitted.choices[fold])[held],
            fitted.cross_fitted[held],
        )


@pytest.mark.parametrize("scope", SCOPES)
def test_each_choice_is_that_of_a_search_on_the_other_folds(scope):
    found = measured(*maps(12, seed=9))
    fitted = cross_fit(found, LEVELS, folds=4, seed=1, scope=scope)
    for fold, choice in enumerate(fitted.choices):
        held = fitted.fold == fold
        assert held.sum() == 3
        result = search.search(found, LEVELS, weights=~held, scope=scope)
        assert result.choice[:4] == choice[:4]
        np.testing.assert_allclose(result.choice.dice, choice.dice)
        dice = search.score(found, LEVELS, choice)
        np.testing.assert_array_equal(fitted.cross_fitted[held], dice[held])
    choice = search.search(found, LEVELS, scope=scope).choice
    assert fitted.choice[:4] == choice[:4]
    np.testing.assert_allclose(fitted.tuned.mean(axis=0), choice.dice)
    assert fitted.tuned.mean() >= fitted.cross_fitted.mean()


def fine_levels():
    return np.linspace(0, 1, 25)[1:-1, None] + [0, 0.01]


@pytest.mark.parametrize("scope", SCOPES)
def test_the_first_choice_is_refined_among_the_levels_close_to_it(scope):
    levels, step = fine_levels(), 3
    found = measured(*maps(10, seed=11), levels)
    fitted = cross_fit(found, levels, folds=2, scope=scope, step=step)
    places = np.arange(2, 23, 3)
    np.testing.assert_array_equal(fitted.places, places)
    coarse = measured(*maps(10, seed=11), levels[places])
    choices = [*fitted.choices, fitted.choice]
    weights = [fitted.fold != 0, fitted.fold != 1, None]
    for choice, weight in zip(choices, weights, strict=True):
        options = {"weights": weight, "scope": scope}
        first = search.search(coarse, levels[places], **options)
        assert (np.array(choice.dice) >= np.array(first.choice.dice) - 1e-9).all()
        for label in range(2):
            chosen = [first.choice.thresholds[label], first.choice.tops[label]]
            at = [np.argmin(abs(levels[:, label] - x)) for x in chosen if x]
            near = {k + d for k in at for d in (-2, -1, 0, 1, 2)} & set(range(23))
            near = np.array(sorted(near))
            part = measured(
                *(x[..., label : label + 1] for x in maps(10, seed=11)),
                levels[near, label : label + 1],
            )
            best = search.search(part, levels[near, label : label + 1], **options)
            ours = [field[label] for field in choice[:3]]
            assert ours == [field[0] for field in best.choice[:3]]
    grid = search.search(coarse, levels[places]).grid
    np.testing.assert_allclose(fitted.grid, grid)


def test_a_label_of_no_image_keeps_the_default_rule():
    probabilities, truth = maps(8, seed=12)
    truth[..., 0] = 0
    found = measured(probabilities, truth, fine_levels())
    fitted = cross_fit(found, fine_levels(), folds=2, step=3)
    assert np.bincount(np.nonzero(truth)[3]).tolist()[0] == 0
    for choice in (*fitted.choices, fitted.choice):
        assert [field[0] for field in choice[:3]] == [0.5, 0, 10000]
        assert choice.thresholds[1] != 0.51
    default = search.Choice(
        (0.5, fitted.choice.thresholds[1]), None, (10000, 0), "", ()
    )
    dice = search.score(found, fine_levels(), default)
    np.testing.assert_array_equal(fitted.tuned[:, 0], dice[:, 0])
