"""Metrics against scikit-learn and against loops over images."""

import collections

import numpy as np
import pytest
import sklearn.metrics
from helpers.references import maps, presence

from clouds.evaluation import scores
from clouds.evaluation.counts import Tally, bins

IMAGES = 40


@pytest.fixture(scope="module")
def drawn():
    """Probabilities, plain and post masks, truth."""
    probabilities, truth = maps(IMAGES, labels=4, seed=3)
    truth[1::5, ..., 1:3] = truth[2::7, ..., 3] = 0
    # Some right not to be drawn, and some wrong.
    probabilities[1::10] = probabilities[2::14] = probabilities[::9] = 0
    plain = probabilities > 0.5
    post = plain & (plain.sum(axis=(1, 2), keepdims=True) >= 60)
    return probabilities, plain, post, truth


@pytest.fixture(scope="module")
def counted(drawn):
    counted = Tally()
    counted.add([str(k) for k in range(IMAGES)], presence(drawn[0]), *drawn)
    return counted


@pytest.fixture(scope="module")
def images(counted):
    return counted.images


@pytest.fixture(scope="module")
def found(images):
    return scores.compute(images, np.ones((1, IMAGES)))


@pytest.fixture(scope="module")
def scored():
    """Presence and score of each image and label, some scores equal."""
    draw = np.random.default_rng(0)
    present = draw.random((IMAGES, 4)) < [0.5, 0.2, 0.9, 0.5]
    return present, (present + draw.normal(0, 1, (IMAGES, 4))).round(1)


KINDS = {"plain": 1, "post": 2}


@pytest.mark.parametrize("kind", KINDS)
def test_metrics_of_pixels_equal_scikit_learn(found, drawn, kind):
    masks, truth = drawn[KINDS[kind]], drawn[3]
    pairs = {
        "iou": sklearn.metrics.jaccard_score,
        "precision": sklearn.metrics.precision_score,
        "recall": sklearn.metrics.recall_score,
    }
    for name, score in pairs.items():
        for label in range(4):
            expected = score(truth[..., label].ravel(), masks[..., label].ravel())
            assert found[f"{name}_{kind}"][0, label] == pytest.approx(expected)
            assert 0 < expected < 1


@pytest.mark.parametrize("kind", KINDS)
def test_dice_is_the_mean_over_images(found, drawn, kind):
    masks, truth = drawn[KINDS[kind]], drawn[3]
    for label in range(4):
        dices, of_present = [], []
        for mask, true in zip(masks[..., label], truth[..., label] > 0, strict=True):
            both = mask.sum() + true.sum()
            dices.append(2 * (mask & true).sum() / both if both else 1)
            of_present += dices[-1:] if true.any() else []
        assert found[f"dice_{kind}"][0, label] == pytest.approx(np.mean(dices))
        non_empty = found[f"dice_non_empty_{kind}"][0, label]
        assert non_empty == pytest.approx(np.mean(of_present))


def test_empty_masks_are_right_as_often_as_scikit_learn_says(found, drawn):
    _, _, post, truth = drawn
    empty, absent = ~post.any(axis=(1, 2)), ~(truth > 0).any(axis=(1, 2))
    assert (empty & absent).any(axis=0).all() and (empty != absent).any(axis=0).all()
    for label in range(4):
        pair = absent[:, label], empty[:, label]
        recall = sklearn.metrics.recall_score(*pair)
        assert found["empty_found_post"][0, label] == pytest.approx(recall)
        precision = sklearn.metrics.precision_score(*pair)
        assert found["empty_right_post"][0, label] == pytest.approx(precision)
    np.testing.assert_allclose(found["present"][0], 1 - absent.mean(axis=0))


def average_precision(present, score, weights):
    """Adds up precision times gain in recall, threshold by threshold."""
    total = recall = 0
    for limit in sorted(set(score[weights > 0]), reverse=True):
        positive = score >= limit
        hits = weights[positive & present].sum()
        gain, recall = (
            hits / weights[present].sum() - recall,
            hits / weights[present].sum(),
        )
        total += gain * hits / weights[positive].sum()
    return total


def test_average_precision_is_that_of_its_definition(scored):
    present, score = scored
    draw = np.random.default_rng(1)
    leading = (score[:, 0] < np.median(score[:, 0])).astype(float)
    weights = np.stack([np.ones(IMAGES), draw.integers(0, 4, IMAGES), leading])
    weights = weights[[0, 1, 2, 1]]
    ours = scores.average_precision(present, score, weights)
    for fold, label in np.ndindex(4, 4):
        parts = present[:, label], score[:, label], weights[fold]
        assert ours[fold, label] == pytest.approx(average_precision(*parts))


def test_average_precision_is_nan_where_no_weighted_image_has_the_label(scored):
    present, score = scored
    weights = np.stack([np.ones(IMAGES), ~present[:, 1]]).astype(float)
    ours = scores.average_precision(present, score, weights)
    np.testing.assert_array_equal(np.isnan(ours), [[0] * 4, [0, 1, 0, 0]])


def test_precision_and_recall_are_those_of_each_threshold(scored):
    for present, score in zip(scored[0].T, scored[1].T, strict=True):
        precision, recall, limits = scores.precision_recall(present, score)
        assert limits.tolist() == sorted(set(score), reverse=True)
        for k, limit in enumerate(limits):
            positive = score >= limit
            assert precision[k] == pytest.approx(present[positive].mean())
            assert recall[k] == pytest.approx(positive[present].mean())


def test_the_calibration_error_is_that_of_its_definition(drawn, counted):
    probabilities, _, _, truth = drawn
    probability, frequency, error = scores.reliability(counted.bins)
    edges = np.linspace(0, 1, 21).astype(np.float32)
    for label in range(4):
        values, there = probabilities[..., label].ravel(), truth[..., label].ravel()
        place = np.digitize(values, edges[1:-1])
        total = 0
        for k in range(20):
            here = place == k
            if not here.any():
                assert np.isnan([probability[label, k], frequency[label, k]]).all()
                continue
            means = values[here].mean(dtype="f8"), there[here].mean()
            pair = probability[label, k], frequency[label, k]
            np.testing.assert_allclose(pair, means)
            total += here.mean() * abs(means[0] - means[1])
        assert error[label] == pytest.approx(total)
        assert total > 0.02


def test_a_calibrated_forecast_has_no_error_and_a_wrong_one_its_distance():
    probabilities = np.repeat([0.25, 0.75], [8, 4])[:, None]
    present = np.array([1, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0])[:, None]
    error = scores.reliability(bins(probabilities, present, 10))[2]
    np.testing.assert_allclose(error, [0], atol=1e-12)
    error = scores.reliability(bins(probabilities, 1 - present, 10))[2]
    np.testing.assert_allclose(error, [0.5])


def test_of_single_labels_the_confusion_is_scikit_learns():
    draw = np.random.default_rng(2)
    true, predicted = draw.integers(0, 5, (2, 1000))
    true[:500] = predicted[:500]
    codes = np.array([1, 2, 4, 8, 0])
    pairs = zip(codes[true].tolist(), codes[predicted].tolist(), strict=True)
    sets = collections.Counter(pairs)
    expected = sklearn.metrics.confusion_matrix(true, predicted)
    np.testing.assert_array_equal(scores.confusion(sets, 4), expected)


def test_of_several_labels_each_true_one_goes_where_it_was_taken_for():
    def of_pixel(true, predicted):
        codes = tuple(sum(1 << k for k in labels) for labels in (true, predicted))
        matrix = scores.confusion({codes: 1}, 4)
        places = map(tuple, np.argwhere(matrix).tolist())
        return {place: matrix[place] for place in places}

    assert of_pixel({0, 1}, {0, 1}) == {(0, 0): 1, (1, 1): 1}
    assert of_pixel({0, 1}, {0}) == {(0, 0): 1, (1, 4): 1}
    assert of_pixel({0, 1}, {0, 2}) == {(0, 0): 1, (1, 2): 1}
    assert of_pixel({0}, {1, 2}) == {(0, 1): 0.5, (0, 2): 0.5}
    assert of_pixel({0}, {0, 3}) == {(0, 0): 1}
    assert of_pixel(set(), {1, 3}) == {(4, 1): 0.5, (4, 3): 0.5}
    assert of_pixel(set(), set()) == {(4, 4): 1}


def test_rows_of_the_confusion_count_the_true_pixels(drawn, counted):
    _, _, post, truth = drawn
    matrix = scores.confusion(counted.sets, 4)
    expected = [*truth.sum(axis=(0, 1, 2)), (truth.sum(axis=3) == 0).sum()]
    np.testing.assert_allclose(matrix.sum(axis=1), expected)
    both = (post & (truth > 0)).sum(axis=(0, 1, 2))
    np.testing.assert_array_equal(np.diag(matrix)[:4], both)
