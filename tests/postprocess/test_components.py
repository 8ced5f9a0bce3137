"""Components against OpenCV, eager and in every kind of graph."""

import math

import cv2
import numpy as np
import pytest
import tensorflow as tf
from helpers import references
from hypothesis import given, settings
from hypothesis import strategies as st

from clouds.errors import InputError
from clouds.postprocess import components

PLANES = tf.TensorSpec([None, None, None], tf.bool)
SIZES = [(1, 1), (1, 9), (9, 1), (8, 8), (7, 16), (16, 7), (41, 30), (64, 65)]


@tf.function(input_signature=[PLANES])
def label(planes):
    return components.label(planes)


@tf.function(input_signature=[PLANES])
def label_by_sides(planes):
    return components.label(planes, connectivity=4)


LABELS = {8: label, 4: label_by_sides}


def draw(height, width, count=4, seed=0):
    """Random planes from nearly empty to nearly full, empty and full included."""
    noise = np.random.default_rng(seed).random((count, height, width))
    return noise < np.linspace(0, 1, count)[:, None, None]


def expect_partition(plane, numbers, connectivity=8):
    count, expected, stats, _ = cv2.connectedComponentsWithStats(
        plane.astype(np.uint8), connectivity=connectivity
    )
    assert numbers.min(initial=0) == 0 and numbers.max(initial=0) == count - 1
    # As one number each, which is ten times as fast as unique rows.
    pairs = np.unique(expected.ravel() * np.int64(count) + numbers.ravel())
    theirs, ours = np.divmod(pairs, count)
    assert len(np.unique(theirs)) == len(np.unique(ours)) == len(pairs)
    np.testing.assert_array_equal(numbers > 0, plane)
    areas = np.bincount(numbers.ravel(), minlength=count)
    np.testing.assert_array_equal(areas[ours], stats[theirs, cv2.CC_STAT_AREA])


def white(generator, shape):
    return generator.random(shape, np.float32)


def blurred(generator, shape):
    noise = white(generator, shape)
    for plane in noise:
        cv2.blur(plane, (5, 5), dst=plane)
    return noise


@pytest.mark.parametrize("connectivity", [8, 4])
@given(
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    kind=st.sampled_from([white, blurred]),
    density=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_components_equal_opencv_on_drawn_planes(
    connectivity, size, kind, density, seed
):
    """100 planes an example, so 10,000 in all."""
    noise = kind(np.random.default_rng(seed), (100, *size))
    planes = noise < np.quantile(noise, density)
    numbers = LABELS[connectivity](tf.constant(planes)).numpy()
    for plane, ours in zip(planes, numbers, strict=True):
        expect_partition(plane, ours, connectivity)


@pytest.mark.parametrize("connectivity", [8, 4])
@pytest.mark.parametrize("size", SIZES)
def test_components_equal_opencv_from_empty_to_full_planes(size, connectivity):
    planes = draw(*size, count=5)
    numbers = LABELS[connectivity](tf.constant(planes)).numpy()
    for plane, ours in zip(planes, numbers, strict=True):
        expect_partition(plane, ours, connectivity)


@pytest.mark.parametrize("connectivity", [8, 4])
@pytest.mark.parametrize("name", references.NASTY)
def test_components_equal_opencv_on_nasty_planes(name, connectivity):
    plane = references.NASTY[name](62, 47)
    turned = np.ascontiguousarray(plane[::-1, ::-1])
    inverse = ~plane
    for each in (plane, turned, inverse, np.ascontiguousarray(plane.T)):
        numbers = LABELS[connectivity](tf.constant(each[None])).numpy()[0]
        expect_partition(each, numbers, connectivity)


def test_a_single_pixel_is_one_component_wherever_it_lies():
    planes = np.eye(35, dtype=bool).reshape(35, 5, 7)
    numbers = label(tf.constant(planes)).numpy()
    np.testing.assert_array_equal(numbers, planes)


def test_planes_do_not_touch_their_neighbours_in_the_batch():
    numbers = label(tf.ones([5, 6, 4], tf.bool)).numpy()
    np.testing.assert_array_equal(numbers, np.ones([5, 6, 4]))


def test_components_are_numbered_as_met_down_the_columns():
    plane = np.array([[0, 0, 1], [1, 0, 0], [0, 0, 0], [1, 0, 1]], bool)
    expected = [[0, 0, 3], [1, 0, 0], [0, 0, 0], [2, 0, 4]]
    np.testing.assert_array_equal(label(tf.constant(plane[None]))[0], expected)


@pytest.mark.parametrize("shape", [(0, 5, 7), (3, 0, 7), (3, 5, 0), (3, 5, 7)])
def test_planes_without_runs_stay_background(shape):
    for numbers in (label, components.label):
        np.testing.assert_array_equal(
            numbers(tf.zeros(shape, tf.bool)), np.zeros(shape)
        )


@pytest.mark.parametrize("size", SIZES)
def test_eager_graph_and_saved_model_agree(size, tmp_path):
    planes = tf.constant(draw(*size))
    module = tf.Module()
    module.label = label
    tf.saved_model.save(module, tmp_path)
    numbers = components.label(planes)
    np.testing.assert_array_equal(label(planes), numbers)
    np.testing.assert_array_equal(tf.saved_model.load(tmp_path).label(planes), numbers)


def test_components_are_found_inside_a_dataset():
    planes = draw(12, 17, count=8)
    batches = tf.data.Dataset.from_tensor_slices(planes).batch(3)
    numbers = np.concatenate(list(batches.map(components.label).as_numpy_iterator()))
    np.testing.assert_array_equal(numbers, label(tf.constant(planes)))


def test_the_static_shape_survives():
    graph = label.get_concrete_function()
    assert graph.structured_outputs.shape.rank == 3
    fixed = tf.function(components.label).get_concrete_function(
        tf.TensorSpec([None, 35, 52], tf.bool)
    )
    assert fixed.structured_outputs.shape.as_list() == [None, 35, 52]


def turns(plane):
    return [np.rot90(plane, quarter) for quarter in range(4)]


@pytest.mark.parametrize("name", [*references.NASTY, "noise"])
def test_passes_go_with_the_logarithm_of_the_runs(name):
    shapes = dict(references.NASTY, noise=lambda *size: draw(*size, count=3)[1])
    for plane in turns(shapes[name](901, 701)):
        columns = components.pack(tf.constant(plane.copy())[None, ..., None])
        found = components.runs(columns)
        _, passes = components._label_runs(found, 8)
        assert passes.numpy() <= 3 * math.log2(len(found.start)) + 4


@pytest.mark.parametrize("labels", [1, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_unpacking_the_drawn_runs_restores_the_masks(size, labels):
    masks = draw(*size, count=5 * labels).reshape(labels, 5, *size)
    masks = tf.transpose(masks, [1, 2, 3, 0])
    columns = components.pack(masks)
    drawn = components.draw(components.runs(columns), tf.shape(columns))
    np.testing.assert_array_equal(drawn, columns)
    np.testing.assert_array_equal(components.unpack(drawn, size), masks)


def test_runs_come_by_plane_then_column_then_row():
    masks = np.zeros((2, 3, 4, 2), bool)
    masks[0, [0, 2], 3, 1] = True
    masks[1, 1:, 2, 0] = True
    masks[1, :, 0, 0] = True
    found = components.runs(components.pack(tf.constant(masks)))
    np.testing.assert_array_equal(
        np.stack(found, axis=1),
        [[1, 3, 0, 1], [1, 3, 2, 3], [2, 0, 0, 3], [2, 2, 1, 3]],
    )


def test_areas_count_the_pixels_of_each_component():
    plane = references.components(draw(40, 50, count=5)[2])
    found = components.runs(components.pack(tf.constant(plane > 0)[None, ..., None]))
    areas = components.areas(found, components.label_runs(found))
    numbers = plane[found.start, found.column]
    np.testing.assert_array_equal(areas, np.bincount(plane.ravel())[numbers])


@pytest.mark.parametrize("planes", [np.zeros((5, 6), bool), np.zeros((1, 5, 6))])
def test_other_than_boolean_planes_are_refused(planes):
    with pytest.raises(InputError, match=r"must be bool\[N, H, W\]. Received: "):
        components.label(planes)


@pytest.mark.parametrize("connectivity", [6, "8", None])
def test_connectivity_is_4_or_8(connectivity):
    with pytest.raises(InputError, match="must be 4 or 8. Received: "):
        components.label(np.zeros((1, 2, 2), bool), connectivity=connectivity)
