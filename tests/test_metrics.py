import numpy as np
import pytest
from keras import ops

from clouds import metrics

rng = np.random.default_rng(0)
masks = (rng.random((3, 8, 10, 4)) < 0.3).astype(np.uint8)
masks[0, ..., 1] = 0
probabilities = rng.random(masks.shape).astype(np.float32)


def soft_dice(masks, probabilities):
    """The notebook's formula, in NumPy and float64."""
    masks, probabilities = (a.astype(float).ravel() for a in (masks, probabilities))
    return (2 * (masks @ probabilities) + 1) / (masks.sum() + probabilities.sum() + 1)


def hard_dice(mask, prediction):
    """The competition's formula, by sets."""
    truth = set(map(tuple, np.argwhere(mask)))
    drawn = set(map(tuple, np.argwhere(prediction)))
    if not truth and not drawn:
        return 1
    return 2 * len(truth & drawn) / (len(truth) + len(drawn))


def test_dice_coef_is_the_notebooks_formula():
    value = float(metrics.dice_coef(masks, probabilities))
    assert value == pytest.approx(soft_dice(masks, probabilities), rel=1e-6)


def test_dice_coef_of_nothing_and_nothing_is_one():
    assert float(metrics.dice_coef(masks * 0, probabilities * 0)) == 1


def test_dice_coef_of_half_precision_is_computed_in_single():
    ones = np.ones((1, 512, 512, 1))
    assert float(metrics.dice_coef(ones, ones.astype(np.float16))) == 1


def test_dice_equals_the_sets_formula_for_each_image_and_label():
    predictions = probabilities > 0.6
    predictions[0, ..., :2] = False
    values = np.array(metrics.dice(masks, predictions))
    for image in range(3):
        for label in range(4):
            expected = hard_dice(
                masks[image, ..., label], predictions[image, ..., label]
            )
            assert values[image, label] == pytest.approx(expected, rel=1e-6)
    assert values[0, 1] == 1
    assert values[0, 0] == 0


def test_mean_dice_is_the_mean_over_images_and_labels():
    predictions = probabilities > 0.6
    mean = np.array(metrics.dice(masks, predictions)).mean()
    assert float(metrics.mean_dice(masks, predictions)) == pytest.approx(mean)


def test_the_metrics_of_logits_average_over_batches_and_over_pairs():
    logits = np.log(probabilities / (1 - probabilities))
    coef, mean = metrics.of_logits()
    for batch in (slice(0, 2), slice(2, 3)):
        for metric in (coef, mean):
            metric.update_state(ops.array(masks[batch]), ops.array(logits[batch]))
    batches = [
        soft_dice(masks[b], probabilities[b]) for b in (slice(0, 2), slice(2, 3))
    ]
    assert float(coef.result()) == pytest.approx(np.mean(batches), rel=1e-5)
    expected = metrics.mean_dice(masks, probabilities > 0.5)
    assert float(mean.result()) == pytest.approx(float(expected), rel=1e-6)
    assert [coef.name, mean.name] == ["dice_coef", "mean_dice"]
