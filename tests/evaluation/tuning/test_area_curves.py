"""Dice by minimum area, against sums over planes, one at a time."""

import numpy as np
import pytest
from helpers.references import maps

from clouds.evaluation.tuning import area_curves, level_sets

LEVELS = np.linspace(0.1, 0.9, 5)[:, None] + [0.0, 0.03]


@pytest.fixture(scope="module")
def found():
    return level_sets.join([level_sets.measure(*maps(6), LEVELS)])


def mean_dice(found, level, label, min_size, reach=0):
    """Adds up, image by image, what is kept of a plane."""
    scores = []
    for image, truth in enumerate(found.truth[:, label]):
        rows = (found.image == image) & (found.label == label)
        rows &= (found.level == level) & (found.reach >= reach)
        rows &= found.area > min_size
        total = truth + found.area[rows].sum()
        scores.append(2 * found.intersection[rows].sum() / total if total else 1)
    return np.array(scores)


def test_gains_add_up_to_the_dice_of_each_plane(found):
    ordered = area_curves.sort(found, 5, "component")
    rows, gains = area_curves.gains(ordered, np.ones(len(ordered.image), bool))
    segment = ordered.level[rows].astype(int) * 2 + ordered.label[rows]
    sums = np.zeros((10, 7))
    np.add.at(sums, (segment, ordered.image[rows]), gains)
    for level, label in np.ndindex(5, 2):
        dice = mean_dice(found, level, label, 0) - (found.truth[:, label] == 0)
        np.testing.assert_allclose(sums[2 * level + label, :6], dice, atol=1e-12)
    assert not sums[:, 6].any()


def test_rows_are_sorted_by_segment_and_falling_area(found):
    ordered = area_curves.sort(found, 5, "component")
    rows, _ = area_curves.gains(ordered, np.ones(len(ordered.image), bool))
    segment = ordered.level[rows].astype(int) * 2 + ordered.label[rows]
    assert (np.diff(segment) >= 0).all()
    falls = np.diff(ordered.area[rows]) <= 0
    assert falls[np.diff(segment) == 0].all()


def test_curves_hold_the_best_of_all_minimum_areas(found):
    weights = np.array([np.ones(6), [0, 1, 2, 0, 3, 1]])
    sizes = np.array([0, 3, 20])
    best, grid = area_curves.curves(
        area_curves.sort(found, 5, "component"), weights, sizes
    )
    assert best.shape == (2, 5, 5, 2) and grid.shape == (2, 2, 5, 3)
    every = np.unique(np.append(found.area, 0))
    for top, level, label in np.ndindex(5, 5, 2):
        if 0 < top <= level:
            assert (best[:, top, level, label] == -np.inf).all()
            continue
        dice = [mean_dice(found, level, label, size, top) for size in every]
        means = weights @ np.array(dice).T / weights.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(best[:, top, level, label], means.max(axis=1))
    for level, label, size in np.ndindex(5, 2, 3):
        dice = mean_dice(found, level, label, sizes[size])
        means = weights @ dice / weights.sum(axis=1)
        np.testing.assert_allclose(grid[:, label, level, size], means)
