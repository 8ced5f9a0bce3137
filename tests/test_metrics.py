import numpy as np
import pytest
from keras import ops

from clouds import metrics

rng = np.random.default_rng(0)
masks = (rng.random((3, 8, 10, 4)) < 0.3).astype(np.uint8)
masks[0, ..., 1] = 0
probabilities = rng.random(masks.shape).astype(np.float32)


def soft_dice(masks, probabilities, smooth=1):
    """The notebook's formula, in NumPy and float64."""
    masks, probabilities = (a.astype(float).ravel() for a in (masks, probabilities))
    overlap = 2 * (masks @ probabilities) + smooth
    return overlap / (masks.sum() + probabilities.sum() + smooth)


def hard_dice(mask, prediction):
    """The competition's formula, by sets."""
    truth = set(map(tuple, np.argwhere(mask)))
    drawn = set(map(tuple, np.argwhere(prediction)))
    if not truth and not drawn:
        return 1
    return 2 * len(truth & drawn) / (len(truth) + len(drawn))


@pytest.mark.parametrize("truth", [masks, masks * 0, masks * 0 + 1])
@pytest.mark.parametrize("found", [probabilities, masks * 0.0, masks * 0.0 + 1])
def test_dice_coef_is_the_notebooks_formula(truth, found):
    value = float(metrics.dice_coef(truth, found))
    assert value == pytest.approx(soft_dice(truth, found), rel=1e-6)


def test_dice_coef_of_nothing_and_nothing_is_one():
    assert float(metrics.dice_coef(masks * 0, probabilities * 0)) == 1


def test_dice_coef_of_half_precision_is_computed_in_single():
    ones = np.ones((1, 512, 512, 1))
    assert float(metrics.dice_coef(ones, ones.astype(np.float16))) == 1


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_hundred_million_pixels_lose_no_digits(dtype):
    block = rng.random((1, 50, 50, 4)).astype(dtype)
    truth = (rng.random(block.shape) < 0.3).astype(np.uint8)
    many = (1, 100, 100, 1)
    found = np.tile(block, many)
    value = float(metrics.dice_coef(np.tile(truth, many), found))
    # Numerator and denominator are those of one block, times the blocks.
    assert value == pytest.approx(soft_dice(truth, block, 1 / 100**2), rel=1e-4)
    drawn = block[0] > 0.4
    expected = [hard_dice(drawn[..., 0] | True, drawn[..., n]) for n in range(4)]
    values = metrics.dice(np.ones(found.shape, dtype), found > 0.4)
    np.testing.assert_allclose(np.array(values)[0], expected, rtol=1e-4)


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
    found = {name: float(value) for name, value in mean.result().items()}
    assert found.pop("mean_dice") == pytest.approx(float(expected), rel=1e-6)
    of_labels = np.mean(metrics.dice(masks, probabilities > 0.5), axis=0)
    assert list(found) == ["dice_fish", "dice_flower", "dice_gravel", "dice_sugar"]
    assert list(found.values()) == pytest.approx(of_labels.tolist(), rel=1e-6)
    mean.reset_state()
    assert float(mean.result()["mean_dice"]) == 0


def test_one_pixel_too_many_is_a_dice_of_0():
    truth, found = np.zeros((2, 1, 4, 5, 1))
    found[0, 2, 3, 0] = 1
    assert float(metrics.dice(truth, found)[0, 0]) == 0
    assert float(metrics.dice(found, truth)[0, 0]) == 0


def test_a_probability_of_exactly_a_half_is_not_drawn():
    metric = metrics.Dice(("Fish",))
    metric.update_state(np.zeros((1, 4, 5, 1)), np.zeros((1, 4, 5, 1)))
    assert float(metric.result()["mean_dice"]) == 1
