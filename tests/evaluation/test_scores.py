"""Figures against scikit-learn and against loops over images."""

import numpy as np
import pytest
import sklearn.metrics
from helpers.references import maps, presence

from clouds.evaluation import scores
from clouds.evaluation.counts import Images, Tally, bins

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
    return scores.figures(images, np.ones((1, IMAGES)))


@pytest.fixture(scope="module")
def scored():
    """Presence and score of each image and label, some scores equal."""
    draw = np.random.default_rng(0)
    present = draw.random((IMAGES, 4)) < [0.5, 0.2, 0.9, 0.5]
    return present, (present + draw.normal(0, 1, (IMAGES, 4))).round(1)


KINDS = {"plain": 1, "post": 2}


@pytest.mark.parametrize("kind", KINDS)
def test_figures_of_pixels_are_scikit_learns(found, drawn, kind):
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


def test_average_precision_is_scikit_learns(scored):
    present, score = scored
    draw = np.random.default_rng(1)
    weights = np.stack([np.ones(IMAGES), draw.integers(0, 4, IMAGES)])
    ours = scores.average_precision(present, score, weights)
    for fold, label in np.ndindex(2, 4):
        expected = sklearn.metrics.average_precision_score(
            present[:, label], score[:, label], sample_weight=weights[fold]
        )
        assert ours[fold, label] == pytest.approx(expected)


def test_weights_without_the_leading_images_do_no_harm(scored):
    present, score = scored
    weights = (score[:, 0] < np.median(score[:, 0])).astype(float)
    ours = scores.average_precision(present, score, weights[None])
    kept = weights > 0
    expected = sklearn.metrics.average_precision_score(present[kept, 0], score[kept, 0])
    assert ours[0, 0] == pytest.approx(expected)


def test_precision_and_recall_are_scikit_learns(scored):
    for there, score in zip(scored[0].T, scored[1].T, strict=True):
        precision, recall, limits = scores.precision_recall(there, score)
        theirs = sklearn.metrics.precision_recall_curve(there, score)
        np.testing.assert_allclose(precision[::-1], theirs[0][:-1])
        np.testing.assert_allclose(recall[::-1], theirs[1][:-1])
        np.testing.assert_allclose(limits[::-1], theirs[2])


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
    sets = np.zeros((16, 16), int)
    codes = np.array([1, 2, 4, 8, 0])
    np.add.at(sets, (codes[true], codes[predicted]), 1)
    expected = sklearn.metrics.confusion_matrix(true, predicted)
    np.testing.assert_array_equal(scores.confusion(sets), expected)


def test_of_several_labels_each_true_one_goes_where_it_was_taken_for():
    def of_pixel(true, predicted):
        sets = np.zeros((16, 16), int)
        sets[sum(1 << k for k in true), sum(1 << k for k in predicted)] = 1
        matrix = scores.confusion(sets)
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
    matrix = scores.confusion(counted.sets)
    expected = [*truth.sum(axis=(0, 1, 2)), (truth.sum(axis=3) == 0).sum()]
    np.testing.assert_allclose(matrix.sum(axis=1), expected)
    both = (post & (truth > 0)).sum(axis=(0, 1, 2))
    np.testing.assert_array_equal(np.diag(matrix)[:4], both)


def test_intervals_are_percentiles_over_images_drawn_anew(images):
    ours = scores.intervals(
        lambda weights: scores.figures(images, weights), IMAGES, resamples=60, seed=5
    )
    draws = np.random.default_rng(5).multinomial(IMAGES, [1 / IMAGES] * IMAGES, 60)
    samples = []
    for counts in draws:
        rows = np.repeat(np.arange(IMAGES), counts)
        again = Images(rows.tolist(), *(part[rows] for part in images[1:]))
        samples.append(scores.figures(again, np.ones((1, IMAGES))))
    for name, values in ours.items():
        drawn = np.array([sample[name][0] for sample in samples])
        drawn = np.append(drawn, np.nanmean(drawn, axis=1, keepdims=True), axis=1)
        ends = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
        np.testing.assert_allclose(values[:, 1:].T, ends, err_msg=name)


def test_a_mean_has_the_interval_of_the_normal_distribution():
    values = np.random.default_rng(6).normal(3, 2, (400, 2))

    def compute(weights):
        return {"mean": weights @ values / weights.sum(axis=1, keepdims=True)}

    value, low, high = scores.intervals(compute, 400, resamples=4000)["mean"].T
    half = 1.96 * values.std(axis=0) / 20
    np.testing.assert_allclose(value[:2], values.mean(axis=0))
    np.testing.assert_allclose(low[:2], values.mean(axis=0) - half, atol=0.02)
    np.testing.assert_allclose(high[:2], values.mean(axis=0) + half, atol=0.02)


def test_resamples_do_not_depend_on_how_many_are_in_memory(images, monkeypatch):
    def compute(weights):
        return scores.figures(images, weights)

    whole = scores.intervals(compute, IMAGES, resamples=50)
    monkeypatch.setattr(scores, "_AT_ONCE", 7 * IMAGES)
    parts = scores.intervals(compute, IMAGES, resamples=50)
    for name, values in whole.items():
        np.testing.assert_allclose(parts[name], values, err_msg=name)


def test_what_is_not_defined_is_nan_and_left_out_of_the_mean(images):
    truth, post = images.truth.copy(), images.post.copy()
    plain_shared, post_shared = images.plain_shared.copy(), images.post_shared.copy()
    truth[:, 1] = post[:, 1] = plain_shared[:, 1] = post_shared[:, 1] = 0
    without = images._replace(
        truth=truth, post=post, plain_shared=plain_shared, post_shared=post_shared
    )
    found = scores.intervals(lambda w: scores.figures(without, w), IMAGES, resamples=9)
    undefined = {"average_precision", "recall_plain", "recall_post", "iou_post"}
    undefined |= {"dice_non_empty_plain", "dice_non_empty_post", "precision_post"}
    for name, values in found.items():
        assert np.isnan(values[1]).all() == (name in undefined), name
        assert np.isfinite(values[[0, 2, 3, 4]]).all()
        assert values[4, 0] == pytest.approx(np.nanmean(values[:4, 0]))
    assert found["dice_post"][1].tolist() == [1, 1, 1]
    assert found["precision_plain"][1].tolist() == [0, 0, 0]


def test_figures_are_named():
    named = scores.named({"iou": np.arange(15).reshape(5, 3)})
    assert list(named["iou"]) == ["Fish", "Flower", "Gravel", "Sugar", "mean"]
    assert named["iou"]["mean"] == {"value": 12, "low": 13, "high": 14}
