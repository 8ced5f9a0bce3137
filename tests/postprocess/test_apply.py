"""A rule, against the steps by hand and the slow twins."""

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


def test_a_rule_resizes_then_cuts_the_gap_then_cleans():
    probabilities, size = references.blobs(), (40, 60)
    images = np.full((3, 40, 60, 3), 90, np.uint8)
    images[:, :, 20:28] = 0
    rule = Rule(thresholds=THRESHOLDS, min_sizes=MIN_SIZES, tops=TOPS)
    plain, cleaned = apply(
        probabilities, rule, images, size, outputs=("raw_masks", "masks")
    ).values()
    resized = functional.resize(probabilities, size)
    np.testing.assert_array_equal(plain, resized > np.float32(THRESHOLDS))
    cut = resized.numpy()
    cut[:, :, 20:28] = 0
    expected = functional.clean(cut, THRESHOLDS, MIN_SIZES, tops=TOPS)
    np.testing.assert_array_equal(cleaned, expected)
    for text, masks in zip(
        apply(probabilities, rule, images, size, outputs=("raw_rle", "rle")).values(),
        (plain, cleaned),
        strict=True,
    ):
        expect_text(text, masks.numpy())


@pytest.mark.parametrize("count", [3, 9])
@pytest.mark.parametrize("grid", ["submission", "network"])
def test_text_and_areas_are_those_of_the_masks(grid, count):
    probabilities, size = references.blobs()[[0, 1, 2] * (count // 3)], (40, 60)
    images = np.full((count, 40, 60, 3), 90, np.uint8)
    images[:, :, 20:28] = 0
    rule = Rule(thresholds=THRESHOLDS, min_sizes=MIN_SIZES, grid=grid)
    _, cleaned = apply(
        probabilities, rule, images, size, outputs=("raw_masks", "masks")
    ).values()
    text, areas = apply(
        probabilities, rule, images, size, outputs=("rle", "areas")
    ).values()
    expect_text(text, cleaned.numpy())
    np.testing.assert_array_equal(areas, cleaned.numpy().sum((1, 2)))
    assert areas.dtype == tf.int32
    assert areas.numpy().any()


def test_the_notebooks_order_gives_the_notebooks_masks():
    probabilities, size = references.blobs(height=40, width=60), (43, 66)
    rule = Rule(thresholds=THRESHOLDS, min_sizes=MIN_SIZES, gap=False, grid="network")
    images = np.zeros((3, 40, 60, 3), np.uint8)
    masks = apply(
        probabilities, rule, images, size, outputs=("raw_masks", "masks")
    ).values()
    limits = np.float32(THRESHOLDS), MIN_SIZES
    kept = references.by_plane(references.clean, probabilities, *limits)
    for drawn, of_network in zip(masks, (probabilities > limits[0], kept), strict=True):
        expected = [
            cv2.resize(image.astype(np.float32), size[::-1]).astype(np.int64)
            for image in of_network
        ]
        np.testing.assert_array_equal(drawn, expected)


def test_a_mistake_names_the_function():
    images = np.zeros((1, 6, 8, 3), np.uint8)
    with pytest.raises(InputError, match=r"bool, .*, in postprocess\.apply\. Give"):
        apply(np.ones((1, 6, 8, 4), bool), Rule(), images, (6, 8))


@pytest.mark.parametrize("grid", ["submission", "network"])
def test_only_the_requested_outputs_are_returned_in_static_shapes(grid):
    names = ["areas", "raw_masks", "rle"]
    traced = tf.function(
        lambda probabilities, images: apply(
            probabilities, Rule(grid=grid), images, (35, 52), outputs=names
        )
    )
    graph = traced.get_concrete_function(
        tf.TensorSpec([None, 23, 31, 4]), tf.TensorSpec([None, 23, 31, 3], tf.uint8)
    )
    shapes = {name: spec.shape for name, spec in graph.structured_outputs.items()}
    assert {name: shape.as_list() for name, shape in shapes.items()} == {
        "areas": [None, 4],
        "raw_masks": [None, 35, 52, 4],
        "rle": [None, 4],
    }
