"""What a rule says, against the steps by hand and the slow twins."""

import cv2
import numpy as np
import pytest
import tensorflow as tf
from helpers import references

from clouds.config.rule import Rule
from clouds.errors import InputError
from clouds.postprocess import apply, functional

THRESHOLDS = (0.3, 0.5, 0.55, 0.9)
MIN_SIZES = (0, 3, 10, 40)
TOPS = (0.9, 0.9, 0.92, 0.95)


def expect_text(text, masks):
    expected = references.by_plane(references.encode, masks)
    np.testing.assert_array_equal(text.numpy().astype(str), expected)


def test_a_rule_resizes_then_cuts_then_cleans():
    probabilities, size = references.blobs(), (40, 60)
    images = np.full((3, 40, 60, 3), 90, np.uint8)
    images[:, :, 20:28] = 0
    rule = Rule(thresholds=THRESHOLDS, min_sizes=MIN_SIZES, tops=TOPS)
    plain, cleaned = apply.draw(probabilities, rule, images, size)
    resized = functional.resize(probabilities, size)
    np.testing.assert_array_equal(plain, resized > np.float32(THRESHOLDS))
    cut = resized.numpy()
    cut[:, :, 20:28] = 0
    expected = functional.clean(cut, THRESHOLDS, MIN_SIZES, tops=TOPS)
    np.testing.assert_array_equal(cleaned, expected)
    for text, masks in zip(
        apply.write(probabilities, rule, images, size),
        (plain, cleaned),
        strict=True,
    ):
        expect_text(text, masks.numpy())


@pytest.mark.parametrize("count", [3, 9])
@pytest.mark.parametrize("grid", ["submission", "network"])
def test_measuring_writes_the_cleaned_masks_and_counts_their_pixels(grid, count):
    probabilities, size = references.blobs()[[0, 1, 2] * (count // 3)], (40, 60)
    images = np.full((count, 40, 60, 3), 90, np.uint8)
    images[:, :, 20:28] = 0
    rule = Rule(thresholds=THRESHOLDS, min_sizes=MIN_SIZES, grid=grid)
    _, cleaned = apply.draw(probabilities, rule, images, size)
    text, areas = apply.measure(probabilities, rule, images, size)
    expect_text(text, cleaned.numpy())
    np.testing.assert_array_equal(areas, cleaned.numpy().sum((1, 2)))
    assert areas.dtype == tf.int32
    assert areas.numpy().any()


def test_the_notebooks_order_gives_the_notebooks_masks():
    probabilities, size = references.blobs(height=40, width=60), (43, 66)
    rule = Rule(thresholds=THRESHOLDS, min_sizes=MIN_SIZES, gap=False, grid="network")
    images = np.zeros((3, 40, 60, 3), np.uint8)
    masks = apply.draw(probabilities, rule, images, size)
    limits = np.float32(THRESHOLDS), MIN_SIZES
    kept = references.by_plane(references.clean, probabilities, *limits)
    for drawn, of_network in zip(masks, (probabilities > limits[0], kept), strict=True):
        expected = [
            cv2.resize(image.astype(np.float32), size[::-1]).astype(np.int64)
            for image in of_network
        ]
        np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize("function", ["draw", "write", "measure"])
def test_a_mistake_names_the_function_that_it_was_given_to(function):
    images = np.zeros((1, 6, 8, 3), np.uint8)
    with pytest.raises(InputError, match=rf"bool, .*, in drawing\.{function}\. Give"):
        getattr(apply, function)(np.ones((1, 6, 8, 4), bool), Rule(), images, (6, 8))
