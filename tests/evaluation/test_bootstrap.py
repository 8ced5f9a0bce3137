"""Intervals against resampled images, one resample after another."""

import numpy as np
import pytest
from helpers.references import maps, presence

from clouds import schema
from clouds.evaluation import bootstrap, scores
from clouds.evaluation.counts import Images, Tally

IMAGES = 40


@pytest.fixture(scope="module")
def images():
    probabilities, truth = maps(IMAGES, labels=4, seed=3)
    truth[1::5, ..., 1:3] = truth[2::7, ..., 3] = 0
    # Some right not to be drawn, and some wrong.
    probabilities[1::10] = probabilities[2::14] = probabilities[::9] = 0
    plain = probabilities > 0.5
    post = plain & (plain.sum(axis=(1, 2), keepdims=True) >= 60)
    tally = Tally()
    names = [str(k) for k in range(IMAGES)]
    tally.add(names, presence(probabilities), probabilities, plain, post, truth)
    return tally.images


def test_intervals_are_percentiles_over_resampled_images(images):
    ours = bootstrap.intervals(
        lambda weights: scores.compute(images, weights), IMAGES, resamples=60, seed=5
    )
    draws = np.random.default_rng(5).multinomial(IMAGES, [1 / IMAGES] * IMAGES, 60)
    samples = []
    for counts in draws:
        rows = np.repeat(np.arange(IMAGES), counts)
        again = Images(rows.tolist(), *(part[rows] for part in images[1:-1]))
        samples.append(scores.compute(again, np.ones((1, IMAGES))))
    for name, values in ours.items():
        drawn = np.array([sample[name][0] for sample in samples])
        drawn = np.append(drawn, np.nanmean(drawn, axis=1, keepdims=True), axis=1)
        ends = np.nanpercentile(drawn, [2.5, 97.5], axis=0)
        np.testing.assert_allclose(values[:, 1:].T, ends, err_msg=name)


def test_a_mean_has_the_interval_of_the_normal_distribution():
    values = np.random.default_rng(6).normal(3, 2, (400, 2))

    def compute(weights):
        return {"mean": weights @ values / weights.sum(axis=1, keepdims=True)}

    value, low, high = bootstrap.intervals(compute, 400, resamples=4000)["mean"].T
    half = 1.96 * values.std(axis=0) / 20
    np.testing.assert_allclose(value[:2], values.mean(axis=0))
    np.testing.assert_allclose(low[:2], values.mean(axis=0) - half, atol=0.02)
    np.testing.assert_allclose(high[:2], values.mean(axis=0) + half, atol=0.02)


def test_resamples_do_not_depend_on_how_many_are_in_memory(images, monkeypatch):
    def compute(weights):
        return scores.compute(images, weights)

    whole = bootstrap.intervals(compute, IMAGES, resamples=50)
    monkeypatch.setattr(bootstrap, "_WEIGHTS_PER_BATCH", 7 * IMAGES)
    parts = bootstrap.intervals(compute, IMAGES, resamples=50)
    for name, values in whole.items():
        np.testing.assert_allclose(parts[name], values, err_msg=name)


def test_what_is_not_defined_is_nan_and_left_out_of_the_mean(images):
    truth, post = images.truth.copy(), images.post.copy()
    plain_shared, post_shared = images.plain_shared.copy(), images.post_shared.copy()
    truth[:, 1] = post[:, 1] = plain_shared[:, 1] = post_shared[:, 1] = 0
    without = images._replace(
        truth=truth, post=post, plain_shared=plain_shared, post_shared=post_shared
    )
    found = bootstrap.intervals(
        lambda w: scores.compute(without, w), IMAGES, resamples=9
    )
    undefined = {"average_precision", "recall_plain", "recall_post", "iou_post"}
    undefined |= {"dice_non_empty_plain", "dice_non_empty_post", "precision_post"}
    for name, values in found.items():
        assert np.isnan(values[1]).all() == (name in undefined), name
        assert np.isfinite(values[[0, 2, 3, 4]]).all()
        assert values[4, 0] == pytest.approx(np.nanmean(values[:4, 0]))
    assert found["dice_post"][1].tolist() == [1, 1, 1]
    assert found["precision_plain"][1].tolist() == [0, 0, 0]


def test_metrics_are_named():
    named = bootstrap.named({"iou": np.arange(15).reshape(5, 3)}, schema.CLOUDS.labels)
    assert list(named["iou"]) == ["Fish", "Flower", "Gravel", "Sugar", "mean"]
    assert named["iou"]["mean"] == {"value": 12, "low": 13, "high": 14}


def test_a_group_is_drawn_with_all_of_its_images():
    values = np.random.default_rng(6).normal(3, 2, (60, 2))
    groups = [str(k // 3) for k in range(60)]

    def compute(weights):
        assert (weights.reshape(len(weights), 20, 3) == weights[:, ::3, None]).all()
        return {"mean": weights @ values / weights.sum(axis=1, keepdims=True)}

    ours = bootstrap.intervals(compute, 60, groups=groups, resamples=50, seed=5)["mean"]
    draws = np.random.default_rng(5).multinomial(20, [1 / 20] * 20, 50)
    # Groups are numbered in the order of their names.
    means = values.reshape(20, 3, 2).mean(1)[[int(g) for g in sorted(set(groups))]]
    samples = np.stack([counts @ means / 20 for counts in draws])
    ends = np.quantile(samples, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(ours[:2, 1:].T, ends)


def test_one_group_has_no_interval():
    found = bootstrap.intervals(
        lambda weights: {"mean": weights @ np.ones((4, 2)) / 4}, 4, groups=["a"] * 4
    )["mean"]
    assert (found[:, 0] == 1).all() and np.isnan(found[:, 1:]).all()
