import keras
import numpy as np
import pytest
from sklearn.metrics import log_loss

from clouds import losses

rng = np.random.default_rng(0)
masks = (rng.random((3, 8, 10, 4)) < 0.3).astype(np.uint8)
logits = rng.normal(0, 3, masks.shape).astype(np.float32)


def bce_dice(masks, logits, smooth=1):
    """The notebook's formula, on probabilities, in float64."""
    masks = masks.astype(float).ravel()
    probabilities = 1 / (1 + np.exp(-logits.astype(float).ravel()))
    overlap = 2 * (masks @ probabilities) + smooth
    dice = overlap / (masks.sum() + probabilities.sum() + smooth)
    return log_loss(masks, probabilities, labels=[0, 1]) + 1 - dice


@pytest.mark.parametrize("truth", [masks, masks * 0, masks * 0 + 1])
def test_bce_dice_is_the_notebooks_formula(truth):
    value = float(losses.bce_dice(truth, logits))
    assert value == pytest.approx(bce_dice(truth, logits), rel=1e-5)


def test_the_sum_is_that_of_its_parts():
    parts = float(losses.bce(masks, logits)) + float(losses.dice(masks, logits))
    assert parts == pytest.approx(bce_dice(masks, logits), rel=1e-5)
    probabilities = 1 / (1 + np.exp(-logits.astype(float).ravel()))
    entropy = log_loss(masks.ravel(), probabilities)
    assert float(losses.bce(masks, logits)) == pytest.approx(entropy, rel=1e-5)


def test_half_precision_logits_are_computed_in_single():
    half = logits.astype(np.float16)
    value = losses.bce_dice(masks, half)
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    assert float(value) == pytest.approx(bce_dice(masks, half), rel=1e-5)


def test_extreme_logits_give_a_finite_loss():
    assert np.isfinite(float(losses.bce_dice(masks, np.where(masks, -1e4, 1e4))))
    assert float(losses.bce_dice(masks, np.where(masks, 1e4, -1e4))) < 1e-5


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_hundred_million_pixels_lose_no_digits(dtype):
    block = rng.normal(0, 3, (1, 50, 50, 4)).astype(dtype)
    truth = (rng.random(block.shape) < 0.3).astype(np.uint8)
    many = (1, 100, 100, 1)
    value = float(losses.bce_dice(np.tile(truth, many), np.tile(block, many)))
    # Numerator and denominator are those of one block, times the blocks.
    assert value == pytest.approx(bce_dice(truth, block, 1 / 100**2), rel=1e-4)


def test_the_loss_of_present_labels_ignores_labels_that_an_image_lacks():
    truth = masks.copy()
    truth[0, ..., 1] = 0
    truth[2, ..., 3] = 0
    other = logits.copy()
    other[0, ..., 1] = 9
    other[2, ..., 3] = -9
    value = float(losses.bce_dice_present(truth, logits))
    assert value == float(losses.bce_dice_present(truth, other))
    present = truth.any(axis=(1, 2))
    kept = np.where(present[:, None, None], logits, 0)
    probabilities = 1 / (1 + np.exp(-kept.astype(float)))
    entropy = log_loss(truth.ravel(), probabilities.ravel())
    probabilities *= present[:, None, None]
    overlap = 2 * (truth * probabilities).sum() + 1
    dice = overlap / (truth.sum() + probabilities.sum() + 1)
    assert value == pytest.approx(0.75 * entropy + 0.25 * (1 - dice), rel=1e-5)


def test_the_loss_of_presence_is_cross_entropy_of_any_pixel():
    truth = masks.copy()
    truth[1, ..., 2] = 0
    scores = logits[:, 0, 0]
    probabilities = 1 / (1 + np.exp(-scores.astype(float)))
    entropy = log_loss(truth.any(axis=(1, 2)).ravel(), probabilities.ravel())
    assert float(losses.presence(truth, scores)) == pytest.approx(entropy, rel=1e-5)
