"""Tuning against OpenCV, and against the product's rule tried one by one."""

from itertools import product

import numpy as np
import pytest
from helpers.references import maps

from clouds import metrics, schema
from clouds.config.rule import NOTHING, Rule
from clouds.errors import InputError
from clouds.evaluation.tuning import level_sets
from clouds.evaluation.tuning import search as search_rules
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
    return level_sets.join([level_sets.Found(*columns, np.array(truth, np.int32))])


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("blur, seed", [(0, 0), (1, 1), (2, 3)])
def test_the_best_rule_is_that_of_an_exhaustive_search(blur, seed, scope):
    probabilities, truth = maps(5, 7, 8, blur=blur, seed=seed)
    found = measured(probabilities, truth)
    every = every_rule(probabilities, truth, found, scope)
    best = np.max([dice for _, dice in every], axis=0)
    choice = search_rules.search(found, LEVELS, scope=scope).choice
    np.testing.assert_allclose(choice.dice, best, atol=1e-6)
    dice = drawn(probabilities, truth, *choice[:4])
    np.testing.assert_allclose(dice.mean(axis=0), best, atol=1e-6)


@pytest.mark.parametrize("scope", SCOPES)
def test_the_score_of_any_rule_is_that_of_the_product(scope):
    probabilities, truth = maps(8, seed=4)
    found = measured(probabilities, truth)
    draw = np.random.default_rng(0)
    for _ in range(30):
        picked = draw.integers(0, len(LEVELS), (2, 2))
        thresholds, tops = LEVELS[picked, [0, 1]].tolist()
        sizes = draw.integers(0, 30, 2).tolist()
        rule = search_rules.Choice(thresholds, tops, sizes, scope, ())
        expected = drawn(probabilities, truth, *rule[:4])
        dice = search_rules.score(found, LEVELS, rule)
        np.testing.assert_allclose(dice, expected, atol=1e-6)


def test_the_grid_holds_the_mean_dice_of_each_threshold_and_minimum_area():
    probabilities, truth = maps(6, seed=5)
    found = measured(probabilities, truth)
    sizes = [0, 1, 2, 5, 17, 40, 179, 180, 10**9]
    grid = search_rules.search(found, LEVELS, sizes=sizes).grid
    assert grid.shape == (2, 5, 9)
    for level, size in np.ndindex(5, 9):
        dice = drawn(probabilities, truth, LEVELS[level], None, sizes[size], "image")
        np.testing.assert_allclose(grid[:, level, size], dice.mean(axis=0), atol=1e-6)


def test_components_of_equal_area_go_together():
    rows = [(0, 0, 0, 9, 9, 0), (0, 0, 0, 9, 0, 0), (1, 0, 0, 9, 0, 0)]
    found = table(rows, [[9], [0], [0]])
    search = search_rules.search(found, [[0.5]], sizes=[8, 9])
    keep, drop = (2 / 3 + 0 + 1) / 3, 2 / 3
    np.testing.assert_allclose(search.grid, [[[keep, drop]]])
    np.testing.assert_allclose(search.choice.dice, max(keep, drop))


def test_the_minimum_area_is_the_middle_of_those_as_good():
    # The larger is right, the smaller wrong: 10 to 29 tell them apart.
    found = table([(0, 0, 0, 30, 30, 0), (1, 0, 0, 10, 0, 0)], [[30], [0]])
    assert search_rules.search(found, [[0.5]]).choice.min_sizes == (19,)
    # One that changes nothing does not break the stretch.
    nothing = (2, 0, 0, 20, 0, 0)
    found = table(
        [(0, 0, 0, 30, 30, 0), (1, 0, 0, 10, 0, 0), nothing], [[30], [0], [50]]
    )
    assert search_rules.search(found, [[0.5]]).choice.min_sizes == (19,)


def test_where_nothing_is_best_no_component_is_large_enough():
    found = table([(0, 0, 0, 30, 0, 0), (0, 0, 0, 10, 0, 0)], [[0]])
    choice = search_rules.search(found, [[0.5]]).choice
    assert choice.min_sizes == (NOTHING,) and choice.dice == (1,)


def test_a_label_better_left_undrawn_has_the_default_threshold():
    rows = [(k, 0, level, 30, 0, level) for k in range(4) for level in range(3)]
    levels = np.array([[0.2], [0.4], [0.7]])
    found = table(rows, [[0], [0], [0], [5]])
    choice = search_rules.cross_fit(found, levels, folds=2).choice
    assert choice[:3] == ((0.4,), (0,), (NOTHING,))


def test_images_without_weight_do_not_bear_on_the_minimum_area():
    rows = [(0, 0, 0, 30, 0, 0), (0, 0, 0, 50, 50, 0), (1, 0, 0, 40, 0, 0)]
    found = table(rows, [[50], [0]])
    search = search_rules.search(found, [[0.5]], weights=[True, False])
    assert search.choice.min_sizes == (39,)
    assert search_rules.search(found, [[0.5]]).choice.min_sizes == (44,)


def test_planes_without_components_or_truth_count_as_the_competition_has_it():
    found = table([(2, 0, 0, 4, 2, 0)], [[0], [3], [4]])
    search = search_rules.search(found, [[0.5]], sizes=[0, 4])
    np.testing.assert_allclose(search.grid, [[[(1 + 0 + 0.5) / 3, 1 / 3]]])
    assert search.choice.min_sizes == (1,)
    none = table([], [[0, 3], [0, 0]])
    for scope in SCOPES:
        choice = search_rules.search(none, LEVELS, scope=scope).choice
        assert choice.dice == (1, 0.5) and choice.min_sizes == (NOTHING,) * 2
        assert choice.thresholds == tuple(LEVELS[0]) and choice.tops == (0, 0)


def test_no_top_is_chosen_where_none_helps():
    rows = [(0, 0, 0, 9, 9, 1), (0, 0, 1, 8, 8, 1)]
    choice = search_rules.search(table(rows, [[9]]), LEVELS[:, :1]).choice
    assert choice.tops == (0,) and choice.thresholds == (LEVELS[0, 0],)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_top_is_chosen_where_it_helps(scope):
    right, wrong = (0, 0, 0, 9, 9, 1), (1, 0, 0, 9, 0, 0)
    found = table([right, wrong, (0, 0, 1, 2, 2, 1)], [[9], [0]])
    choice = search_rules.search(found, LEVELS[:, :1], scope=scope).choice
    assert choice[:2] == ((LEVELS[0, 0],), (LEVELS[1, 0],)) and choice.dice == (1,)


@pytest.mark.parametrize("scope", SCOPES)
def test_images_weigh_as_told(scope):
    probabilities, truth = maps(8, seed=6)
    subset = np.arange(8) % 3 > 0
    found = measured(probabilities, truth)
    part = measured(probabilities[subset], truth[subset])
    search = search_rules.search(found, LEVELS, weights=subset, scope=scope)
    alone = search_rules.search(part, LEVELS, scope=scope)
    assert search.choice[:4] == alone.choice[:4]
    np.testing.assert_allclose(search.choice.dice, alone.choice.dice)
    np.testing.assert_allclose(search.grid, alone.grid)
    twice = np.repeat(np.arange(8), 1 + subset)
    doubled = measured(probabilities[twice], truth[twice])
    doubled = search_rules.search(doubled, LEVELS, scope=scope)
    search = search_rules.search(found, LEVELS, weights=1.5 + 1.5 * subset, scope=scope)
    assert search.choice[:4] == doubled.choice[:4]
    np.testing.assert_allclose(search.grid, doubled.grid)


@pytest.mark.parametrize("scope", SCOPES)
def test_a_fold_is_never_looked_at_for_its_own_choice(scope):
    probabilities, truth = maps(12, seed=7)
    found = measured(probabilities, truth)
    fitted = search_rules.cross_fit(found, LEVELS, folds=3, scope=scope)
    others, _ = maps(12, blur=0, seed=8)
    for fold in range(3):
        held = fitted.fold == fold
        changed = np.where(held[:, None, None, None], others, probabilities)
        # The truth as well, but not which labels are there: the folds go by these.
        rolled = np.where(held[:, None, None, None], np.rot90(truth, 2, (1, 2)), truth)
        refitted = search_rules.cross_fit(
            measured(changed, rolled), LEVELS, folds=3, scope=scope
        )
        np.testing.assert_array_equal(refitted.fold, fitted.fold)
        assert refitted.choices[fold] == fitted.choices[fold]
        np.testing.assert_array_equal(
            search_rules.score(found, LEVELS, refitted.choices[fold])[held],
            fitted.honest[held],
        )


@pytest.mark.parametrize("scope", SCOPES)
def test_cross_fitting_chooses_as_searches_on_the_other_folds_do(scope):
    found = measured(*maps(12, seed=9))
    fitted = search_rules.cross_fit(found, LEVELS, folds=4, seed=1, scope=scope)
    for fold, choice in enumerate(fitted.choices):
        held = fitted.fold == fold
        assert held.sum() == 3
        search = search_rules.search(found, LEVELS, weights=~held, scope=scope)
        assert search.choice == choice
        dice = search_rules.score(found, LEVELS, choice)
        np.testing.assert_array_equal(fitted.honest[held], dice[held])
    choice = search_rules.search(found, LEVELS, scope=scope).choice
    assert fitted.choice == choice
    np.testing.assert_allclose(fitted.tuned.mean(axis=0), choice.dice)
    assert fitted.tuned.mean() >= fitted.honest.mean()


def fine_levels():
    return np.linspace(0, 1, 25)[1:-1, None] + [0, 0.01]


@pytest.mark.parametrize("scope", SCOPES)
def test_what_was_chosen_first_is_refined_among_the_levels_next_to_it(scope):
    levels, step = fine_levels(), 3
    found = measured(*maps(10, seed=11), levels)
    fitted = search_rules.cross_fit(found, levels, folds=2, scope=scope, step=step)
    places = np.arange(2, 23, 3)
    np.testing.assert_array_equal(fitted.places, places)
    coarse = measured(*maps(10, seed=11), levels[places])
    choices = [*fitted.choices, fitted.choice]
    weights = [fitted.fold != 0, fitted.fold != 1, None]
    for choice, weight in zip(choices, weights, strict=True):
        options = {"weights": weight, "scope": scope}
        first = search_rules.search(coarse, levels[places], **options)
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
            best = search_rules.search(part, levels[near, label : label + 1], **options)
            ours = [field[label] for field in choice[:3]]
            assert ours == [field[0] for field in best.choice[:3]]
    grid = search_rules.search(coarse, levels[places]).grid
    np.testing.assert_allclose(fitted.grid, grid)


def test_a_label_of_none_of_the_images_keeps_the_default_rule():
    probabilities, truth = maps(8, seed=12)
    truth[..., 0] = 0
    found = measured(probabilities, truth, fine_levels())
    fitted = search_rules.cross_fit(found, fine_levels(), folds=2, step=3)
    assert np.bincount(np.nonzero(truth)[3]).tolist()[0] == 0
    for choice in (*fitted.choices, fitted.choice):
        assert [field[0] for field in choice[:3]] == [0.5, 0, 10000]
        assert choice.thresholds[1] != 0.51
    default = search_rules.Choice(
        (0.5, fitted.choice.thresholds[1]), None, (10000, 0), "", ()
    )
    dice = search_rules.score(found, fine_levels(), default)
    np.testing.assert_array_equal(fitted.tuned[:, 0], dice[:, 0])


def choose(threshold, top, levels=LEVELS):
    tops = [0, 0] if top is None else levels[top]
    return search_rules.Choice(levels[threshold], tops, (0, 0), "image", ())


def test_a_choice_becomes_a_rule_and_scores_as_one():
    probabilities, truth = maps(5, labels=4)
    levels = np.repeat(LEVELS[:, :1], 4, axis=1)
    found = measured(probabilities, truth, levels)
    choice = search_rules.search(found, levels).choice
    rule = choice.rule(gap=False)
    assert isinstance(rule, Rule) and not rule.gap and len(schema.LABELS) == 4
    assert (rule.tops is None) == (not any(choice.tops))
    ours = search_rules.score(found, levels, choice)
    np.testing.assert_array_equal(search_rules.score(found, levels, rule), ours)
    plain = choice._replace(tops=(0.0,) * 4).rule()
    assert plain.tops is None
    assert search_rules.score(found, levels, plain).shape == (5, 4)


@pytest.mark.parametrize(
    "levels, message",
    [
        (LEVELS[::-1], "must rise within 0..1"),
        (LEVELS[[0, 0, 1]], "must rise within 0..1"),
        (LEVELS - 0.1, "must rise within 0..1"),
        (LEVELS + 0.1, "must rise within 0..1"),
        (LEVELS * np.nan, "must rise within 0..1"),
        (LEVELS[:, 0], r"must be float\[T, 2\]"),
        (LEVELS[:, :1], r"must be float\[T, 2\]"),
        (LEVELS[:0], "T from 1 to 127"),
        (np.linspace(0.1, 0.9, 128)[:, None] + [0, 0], "T from 1 to 127"),
    ],
)
def test_levels_that_do_not_fit_are_refused(levels, message):
    maps_ = maps(2)
    found = measured(*maps_)
    calls = {
        "slices.measure": lambda: level_sets.measure(*maps_, levels),
        "tuning.search": lambda: search_rules.search(found, levels),
        "tuning.cross_fit": lambda: search_rules.cross_fit(found, levels),
        "tuning.score": lambda: search_rules.score(found, levels, choose(1, None)),
    }
    for name, call in calls.items():
        with pytest.raises(InputError, match=f"{message}.*Received: .*{name}"):
            call()


def test_levels_other_than_those_measured_are_refused():
    with pytest.raises(InputError, match="must be of the 2 levels given. Received: "):
        search_rules.search(measured(*maps(2)), LEVELS[:2])


@pytest.mark.parametrize("top", [None, [0.91, 0.91]])
def test_rules_away_from_the_levels_are_refused(top):
    threshold = LEVELS[0] + (0.01 if top is None else 0)
    rule = search_rules.Choice(threshold, top, (0, 0), "image", ())
    with pytest.raises(InputError, match="must be among the levels.*Received: "):
        search_rules.score(measured(*maps(2)), LEVELS, rule)


@pytest.mark.parametrize(
    "weights",
    [np.ones(3), np.ones((4, 1)), np.zeros(4), [1, 1, 1, -1], [1, 1, 1, np.nan]],
)
def test_weights_that_do_not_fit_are_refused(weights):
    with pytest.raises(InputError, match="Weights must be 4 numbers.*Received: "):
        search_rules.search(measured(*maps(4)), LEVELS, weights=weights)
