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


@pytest.mark.parametrize("count", [3, 9])
@pytest.mark.parametrize("grid", ["submission", "network"])
@pytest.mark.parametrize("with_head", [False, True])
def test_a_gate_removes_labels_whose_presence_it_does_not_pass(grid, count, with_head):
    probabilities, size = references.blobs()[[0, 1, 2] * (count // 3)], (40, 60)
    images = np.full((count, 40, 60, 3), 90, np.uint8)
    head = np.random.default_rng(0).random((count, 4), np.float32)
    scores = functional.presence(functional.resize(probabilities, size)).numpy()
    if with_head:
        scores = (scores + head) / 2
    gate = tuple(np.sort(scores, axis=0)[count // 2].tolist())
    numbers = {"thresholds": THRESHOLDS, "min_sizes": MIN_SIZES, "grid": grid}
    options = {"class_scores": head if with_head else None}
    plain = apply(probabilities, Rule(**numbers), images, size, **options)["masks"]
    results = ("masks", "raw_masks", "areas", "scores")
    gated, raw, areas, returned = apply(
        probabilities,
        Rule(**numbers, presence=gate),
        images,
        size,
        outputs=results,
        **options,
    ).values()
    passed = scores > np.float32(gate)
    assert passed.any() and not passed.all()
    expected = plain.numpy() & passed[:, None, None]
    np.testing.assert_array_equal(gated, expected)
    np.testing.assert_array_equal(areas, expected.sum((1, 2)))
    np.testing.assert_allclose(returned, scores, rtol=1e-6)
    assert (raw.numpy() & ~passed[:, None, None]).any()


def test_the_best_label_is_forced_where_none_passes_the_gate():
    probabilities, size = references.blobs(), (40, 60)
    images = np.full((3, 40, 60, 3), 90, np.uint8)
    numbers = {"thresholds": (0.3,) * 4, "min_sizes": (0,) * 4}
    plain = apply(probabilities, Rule(**numbers), images, size)["masks"].numpy()
    rule = Rule(**numbers, presence=(1, 1, 1, 1), force_best=True)
    masks, scores = apply(
        probabilities, rule, images, size, outputs=("masks", "scores")
    ).values()
    best = scores.numpy().argmax(axis=1)
    expected = plain & np.eye(4, dtype=bool)[best][:, None, None]
    assert expected.any()
    np.testing.assert_array_equal(masks, expected)


def test_a_gate_outside_0_to_1_and_a_forced_label_without_a_gate_are_refused():
    with pytest.raises(InputError, match="Presence thresholds must be 4 numbers from"):
        Rule(presence=(0.5, 0.5, 0.5, 1.5))
    with pytest.raises(InputError, match="can be forced only with presence"):
        Rule(force_best=True)
