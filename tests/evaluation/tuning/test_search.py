"""Tuning against OpenCV, and against the product's rule tried one by one."""

from itertools import product

import numpy as np
import pytest
from helpers.references import maps

from clouds import metrics, schema
from clouds.config.rule import NOTHING, Rule
from clouds.errors import InputError
from clouds.evaluation.tuning import level_sets, search
from clouds.postprocess import functional

LEVELS = np.linspace(0.1, 0.9, 5)[:, None] + [0.0, 0.03]
SCOPES = ["component", "image"]


def measured(probabilities, truth, levels=LEVELS):
    return level_sets.join([level_sets.measure(probabilities, truth, levels)])


def drawn(probabilities, truth, thresholds, tops, min_sizes, scope):
    """The product's masks and their Dice, float32[N, C]."""
    limits = thresholds, min_sizes
    masks = functional.clean(probabilities, *limits, tops=tops, scope=scope)
    return np.asarray(metrics.dice(truth, masks))


def every_rule(probabilities, truth, found, scope, levels=LEVELS):
    """The mean Dice of each label by (threshold, top or None, minimum area)."""
    sizes = np.unique(np.append(found.area, 0))
    for level, size in product(range(len(levels)), sizes.tolist()):
        for top in [None, *range(level + 1, len(levels))]:
            tops = None if top is None else levels[top]
            dice = drawn(probabilities, truth, levels[level], tops, size, scope)
            yield (level, top, size), dice.mean(axis=0, dtype="f8")


def table(rows, truth):
    """Components written by hand: image, label, level, area, intersection, reach."""
    columns = np.array(rows, np.int32).reshape(-1, 6).T
    return level_sets.join([level_sets.Components(*columns, np.array(truth, np.int32))])


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("blur, seed", [(0, 0), (1, 1), (2, 3)])
def test_the_best_rule_is_that_of_an_exhaustive_search(blur, seed, scope):
    probabilities, truth = maps(5, 7, 8, blur=blur, seed=seed)
    found = measured(probabilities, truth)
    every = every_rule(probabilities, truth, found, scope)
    best = np.max([dice for _, dice in every], axis=0)
    choice = search.search(found, LEVELS, scope=scope).choice
    np.testing.assert_allclose(choice.dice, best, atol=1e-6)
    dice = drawn(probabilities, truth, *choice[:4])
    np.testing.assert_allclose(dice.mean(axis=0), best, atol=1e-6)


@pytest.mark.parametrize("scope", SCOPES)
def test_the_score_of_any_rule_is_that_of_its_masks(scope):
    probabilities, truth = maps(8, seed=4)
    found = measured(probabilities, truth)
    draw = np.random.default_rng(0)
    for _ in range(30):
        picked = draw.integers(0, len(LEVELS), (2, 2))
        thresholds, tops = LEVELS[picked, [0, 1]].tolist()
        sizes = draw.integers(0, 30, 2).tolist()
        rule = search.Choice(thresholds, tops, sizes, scope, ())
        expected = drawn(probabilities, truth, *rule[:4])
        dice = search.score(found, LEVELS, rule)
        np.testing.assert_allclose(dice, expected, atol=1e-6)


def test_the_grid_holds_the_mean_dice_of_each_threshold_and_minimum_area():
    probabilities, truth = maps(6, seed=5)
    found = measured(probabilities, truth)
    sizes = [0, 1, 2, 5, 17, 40, 179, 180, 10**9]
    grid = search.search(found, LEVELS, sizes=sizes).grid
    assert grid.shape == (2, 5, 9)
    for level, size in np.ndindex(5, 9):
        dice = drawn(probabilities, truth, LEVELS[level], None, sizes[size], "image")
        np.testing.assert_allclose(grid[:, level, size], dice.mean(axis=0), atol=1e-6)


def test_components_of_equal_area_go_together():
    rows = [(0, 0, 0, 9, 9, 0), (0, 0, 0, 9, 0, 0), (1, 0, 0, 9, 0, 0)]
    found = table(rows, [[9], [0], [0]])
    result = search.search(found, [[0.5]], sizes=[8, 9])
    keep, drop = (2 / 3 + 0 + 1) / 3, 2 / 3
    np.testing.assert_allclose(result.grid, [[[keep, drop]]])
    np.testing.assert_allclose(result.choice.dice, max(keep, drop))


def test_the_minimum_area_is_the_middle_of_those_as_good():
    # The larger is right, the smaller wrong: 10 to 29 tell them apart.
    found = table([(0, 0, 0, 30, 30, 0), (1, 0, 0, 10, 0, 0)], [[30], [0]])
    assert search.search(found, [[0.5]]).choice.min_sizes == (19,)
    # One that changes nothing does not break the stretch.
    nothing = (2, 0, 0, 20, 0, 0)
    found = table(
        [(0, 0, 0, 30, 30, 0), (1, 0, 0, 10, 0, 0), nothing], [[30], [0], [50]]
    )
    assert search.search(found, [[0.5]]).choice.min_sizes == (19,)


def test_where_nothing_is_best_no_component_is_large_enough():
    found = table([(0, 0, 0, 30, 0, 0), (0, 0, 0, 10, 0, 0)], [[0]])
    choice = search.search(found, [[0.5]]).choice
    assert choice.min_sizes == (NOTHING,) and choice.dice == (1,)


def test_images_without_weight_do_not_change_the_minimum_area():
    rows = [(0, 0, 0, 30, 0, 0), (0, 0, 0, 50, 50, 0), (1, 0, 0, 40, 0, 0)]
    found = table(rows, [[50], [0]])
    result = search.search(found, [[0.5]], weights=[True, False])
    assert result.choice.min_sizes == (39,)
    assert search.search(found, [[0.5]]).choice.min_sizes == (44,)


def test_planes_without_components_or_truth_count_as_the_competition_has_it():
    found = table([(2, 0, 0, 4, 2, 0)], [[0], [3], [4]])
    result = search.search(found, [[0.5]], sizes=[0, 4])
    np.testing.assert_allclose(result.grid, [[[(1 + 0 + 0.5) / 3, 1 / 3]]])
    assert result.choice.min_sizes == (1,)
    none = table([], [[0, 3], [0, 0]])
    for scope in SCOPES:
        choice = search.search(none, LEVELS, scope=scope).choice
        assert choice.dice == (1, 0.5) and choice.min_sizes == (NOTHING,) * 2
        assert choice.thresholds == tuple(LEVELS[0]) and choice.tops == (0, 0)


def test_no_top_is_chosen_where_none_helps():
    rows = [(0, 0, 0, 9, 9, 1), (0, 0, 1, 8, 8, 1)]
    choice = search.search(table(rows, [[9]]), LEVELS[:, :1]).choice
    assert choice.tops == (0,) and choice.thresholds == (LEVELS[0, 0],)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_top_is_chosen_where_it_helps(scope):
    right, wrong = (0, 0, 0, 9, 9, 1), (1, 0, 0, 9, 0, 0)
    found = table([right, wrong, (0, 0, 1, 2, 2, 1)], [[9], [0]])
    choice = search.search(found, LEVELS[:, :1], scope=scope).choice
    assert choice[:2] == ((LEVELS[0, 0],), (LEVELS[1, 0],)) and choice.dice == (1,)


@pytest.mark.parametrize("scope", SCOPES)
def test_images_have_their_weights(scope):
    probabilities, truth = maps(8, seed=6)
    subset = np.arange(8) % 3 > 0
    found = measured(probabilities, truth)
    part = measured(probabilities[subset], truth[subset])
    result = search.search(found, LEVELS, weights=subset, scope=scope)
    alone = search.search(part, LEVELS, scope=scope)
    assert result.choice[:4] == alone.choice[:4]
    np.testing.assert_allclose(result.choice.dice, alone.choice.dice)
    np.testing.assert_allclose(result.grid, alone.grid)
    twice = np.repeat(np.arange(8), 1 + subset)
    doubled = measured(probabilities[twice], truth[twice])
    doubled = search.search(doubled, LEVELS, scope=scope)
    result = search.search(found, LEVELS, weights=1.5 + 1.5 * subset, scope=scope)
    assert result.choice[:4] == doubled.choice[:4]
    np.testing.assert_allclose(result.grid, doubled.grid)


def choose(threshold, top, levels=LEVELS):
    tops = [0, 0] if top is None else levels[top]
    return search.Choice(levels[threshold], tops, (0, 0), "image", ())


def test_a_choice_becomes_a_rule_and_scores_as_one():
    probabilities, truth = maps(5, labels=4)
    levels = np.repeat(LEVELS[:, :1], 4, axis=1)
    found = measured(probabilities, truth, levels)
    choice = search.search(found, levels).choice
    rule = choice.rule(gap=False)
    assert isinstance(rule, Rule) and not rule.gap and len(schema.CLOUDS.labels) == 4
    assert (rule.tops is None) == (not any(choice.tops))
    ours = search.score(found, levels, choice)
    np.testing.assert_array_equal(search.score(found, levels, rule), ours)
    plain = choice._replace(tops=(0.0,) * 4).rule()
    assert plain.tops is None
    assert search.score(found, levels, plain).shape == (5, 4)


@pytest.mark.parametrize("top", [None, [0.91, 0.91]])
def test_rules_away_from_the_levels_are_refused(top):
    threshold = LEVELS[0] + (0.01 if top is None else 0)
    rule = search.Choice(threshold, top, (0, 0), "image", ())
    with pytest.raises(InputError, match="must be among the levels.*Received: "):
        search.score(measured(*maps(2)), LEVELS, rule)
