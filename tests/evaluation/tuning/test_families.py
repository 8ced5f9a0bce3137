"""Families against searches and slow twins."""

import numpy as np
import pytest
from helpers.references import maps

from clouds.config.rule import NOTHING
from clouds.evaluation.tuning import families, level_sets, search
from clouds.evaluation.tuning.families import FAMILIES, Fitter

LEVELS = np.linspace(0.1, 0.9, 5)[:, None] + [0.0, 0.03]
SCOPES = ["component", "image"]


def measured(probabilities, truth, levels=LEVELS):
    return level_sets.join([level_sets.measure(probabilities, truth, levels)])


def fine_levels():
    return np.linspace(0, 1, 25)[1:-1, None] + [0, 0.01]


def fit(table, levels, presence, weight=None, *, scope="component", step=1):
    weight = np.ones(len(table.truth)) if weight is None else weight
    fitter = Fitter(table, levels, presence, scope, step)
    (fits,), grid = fitter.fit(weight[None].astype(float), search.sizes())
    return dict(zip(FAMILIES, zip(*fits, strict=True), strict=True)), grid


def test_a_label_that_should_not_be_drawn_has_the_default_threshold():
    # Image, label, level, area, intersection, reach.
    rows = [(k, 0, level, 30, 0, level) for k in range(4) for level in range(3)]
    levels = np.array([[0.2], [0.4], [0.7]])
    truth = np.array([[0], [0], [0], [5]])
    found = level_sets.join([level_sets.Components(*np.transpose(rows), truth)])
    fits, _ = fit(found, levels, np.ones((4, 1)))
    choice, _ = fits["peak"]
    assert choice[:3] == ((0.4,), (0,), (NOTHING,))


@pytest.mark.parametrize("scope", SCOPES)
def test_each_family_is_the_best_of_its_kind(scope):
    probabilities, truth = maps(12, seed=9)
    found, weight = measured(probabilities, truth), np.arange(12) % 4 > 0
    fits, _ = fit(found, LEVELS, np.zeros((12, 2)), weight, scope=scope)
    for family, peaks in (("peak", True), ("area", False)):
        choice, dice = fits[family]
        options = {"weights": weight, "scope": scope, "peaks": peaks}
        best = search.search(found, LEVELS, **options).choice
        assert choice[:4] == best[:4]
        np.testing.assert_array_equal(dice, search.score(found, LEVELS, choice))
        np.testing.assert_allclose(dice[weight].mean(axis=0), best.dice)
    assert not any(fits["area"][0].tops)
    scores = []
    for level in LEVELS:
        rule = search.Choice(tuple(level), (0, 0), (10000, 10000), scope, ())
        scores.append(search.score(found, LEVELS, rule)[weight].mean(axis=0))
    _, dice = fits["threshold"]
    np.testing.assert_allclose(dice[weight].mean(axis=0), np.max(scores, axis=0))


@pytest.mark.parametrize("scope", SCOPES)
def test_the_first_choice_is_refined_among_the_levels_close_to_it(scope):
    levels, step = fine_levels(), 3
    found = measured(*maps(10, seed=11), levels)
    weight = np.arange(10) != 4
    fits, grid = fit(found, levels, np.ones((10, 2)), weight, scope=scope, step=step)
    choice, _ = fits["peak"]
    places = np.arange(2, 23, 3)
    coarse = measured(*maps(10, seed=11), levels[places])
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
    np.testing.assert_allclose(grid, first.grid)


def test_the_gate_is_the_presence_threshold_of_highest_dice():
    rng = np.random.default_rng(0)
    probabilities, truth = maps(30, seed=4)
    truth[rng.random(30) < 0.5] = 0
    absent = ~truth.any(axis=(1, 2))
    presence = rng.normal(0, 0.2, (30, 2)) + np.where(absent, 0.4, 0.7)
    weight = np.arange(30) % 5 > 0
    fitter = Fitter(measured(probabilities, truth), LEVELS, presence, "component", 1)
    dice = rng.random((30, 2)) * ~absent
    gates = fitter._gate(dice, weight.astype(float))
    for label, gate in enumerate(gates):

        def mean(gate, label=label):
            passed = presence[:, label] > gate
            return np.where(passed, dice[:, label], absent[:, label])[weight].mean()

        assert gate > 0 and mean(gate) > mean(-9)
        assert mean(gate) == pytest.approx(max(map(mean, presence[weight, label])))
    fits, _ = fit(measured(probabilities, truth), LEVELS, presence, weight)
    choice, dice = fits["area, gate"]
    assert fits["area"][0].presence == (0, 0) and choice[:3] == fits["area"][0][:3]
    plain = fits["area"][1]
    expected = np.where(presence > choice.presence, plain, absent)
    np.testing.assert_array_equal(dice, expected)


def test_a_label_of_no_image_keeps_the_default_rule():
    probabilities, truth = maps(8, seed=12)
    truth[..., 0] = 0
    found = measured(probabilities, truth, fine_levels())
    fits, _ = fit(found, fine_levels(), np.ones((8, 2)), step=3)
    for family in ("default", "threshold", "area", "peak"):
        choice, _ = fits[family]
        assert [field[0] for field in choice[:3]] == [0.5, 0, 10000]


def test_the_simplest_family_within_a_standard_error_is_chosen():
    rng = np.random.default_rng(0)
    common = rng.random((1, 400, 3))
    noise = rng.normal(0, 0.1, (len(FAMILIES), 400, 3))
    assert families.select(common + noise * 0).tolist() == [0, 0, 0]
    better = np.zeros((len(FAMILIES), 1, 1))
    better[FAMILIES.index("gate") :] = 0.05
    better[-1] += 1e-4
    chosen = families.select(common + noise + better)
    assert chosen.tolist() == [FAMILIES.index("gate")] * 3
