"""The steps of the post-process, each by itself."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import references

from clouds.errors import InputError
from clouds.postprocess import components, ops

SHAPE = tf.constant([3, 4])


@pytest.mark.parametrize("count", [0, 1, 4, 5, 9])
def test_groups_of_images_give_the_same_result_as_all(count):
    images = references.blobs()[np.arange(count) % 3]

    def sums(images, numbers):
        assert images.shape[0] is None or images.shape[0] <= 4
        total = tf.reduce_sum(images, (1, 2, 3))
        return total, numbers + 1

    numbers = tf.range(count)
    found = ops.map_groups(sums, [images, numbers], [tf.float32, tf.int32])
    np.testing.assert_allclose(found[0], images.sum((1, 2, 3)), rtol=1e-5)
    np.testing.assert_array_equal(found[1], numbers + 1)


def test_planes_side_by_side_are_resized_as_one_by_one():
    images = references.blobs()
    resized_together = ops.resize_side_by_side(images, (35, 52)).numpy()
    resized = tf.image.resize(images, (35, 52)).numpy()
    expected = np.concatenate(resized, axis=-1)[None]
    np.testing.assert_allclose(resized_together, expected, atol=1e-6)
    assert ops.resize_side_by_side(images[:0], (35, 52)).shape == (0, 35, 52, 4)


@pytest.mark.parametrize("numbers", [0.5, (0.3, 0.5, 0.55, 0.9)])
@pytest.mark.parametrize("side_by_side", [False, True])
def test_pixels_above_the_threshold_of_their_label_are_packed(numbers, side_by_side):
    images = references.blobs()
    planes = np.concatenate(images, axis=-1)[None] if side_by_side else images
    limits = tf.constant(numbers, tf.float64)
    columns = ops.threshold(tf.constant(planes), limits, SHAPE)
    masks = components.unpack(columns, images.shape[1:3])
    assert 0 < np.mean(masks) < 1
    np.testing.assert_array_equal(masks, images > np.float32(numbers))


def test_only_runs_of_the_given_columns_are_kept():
    planes = np.zeros((1, 3, 16, 1), np.float32)
    planes[0, 1, :9] = 0.7
    planes[0, 1, 0] = 0.9
    limits = [tf.constant(number, tf.float64) for number in (0.5, 3, 0.8)]
    columns = ops.threshold(tf.constant(planes), limits[0], [1, 1])
    mask = np.ones((1, 3, 16, 1), bool)
    mask[:, :, 4] = False
    columns &= components.pack(mask)
    kept = ops.keep(planes, columns, limits, "component")
    assert kept.column.numpy().tolist() == [0, 1, 2, 3]
    kept = ops.keep(planes, columns, limits, "image")
    assert kept.column.numpy().tolist() == [0, 1, 2, 3, 5, 6, 7, 8]


def test_a_pixel_is_observed_if_a_channel_exceeds_2():
    images = np.full((1, 2, 4, 3), 2, np.uint8)
    images[0, 0, 1, 2] = images[0, 1, 3, 0] = 3
    observed = ops.observed(images, (2, 4))[0, ..., 0].numpy()
    np.testing.assert_array_equal(np.argwhere(observed), [[0, 1], [1, 3]])


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 1])
def test_few_and_many_runs_are_encoded_as_pixel_by_pixel(share):
    masks = np.random.default_rng(0).random((3, 41, 30, 4)) < share
    found = components.runs(components.pack(masks))
    text = ops.to_text(found, SHAPE, masks.shape[1:3]).numpy().astype(str)
    expected = references.by_plane(references.encode, masks)
    np.testing.assert_array_equal(text, expected)


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (np.zeros((5, 6, 4)), r"float64, shape \(5, 6, 4\), in clean. Give one"),
        (np.zeros((1, 5, 6, 4), bool), "bool, .*, in clean. Give one"),
        (np.full((1, 1, 1, 2), np.nan), "NaN in 2 places, .*, in clean. Look"),
    ],
)
def test_arrays_that_are_not_probabilities_are_rejected(probabilities, message):
    with pytest.raises(InputError, match=message):
        ops.check_probabilities(probabilities, "clean")


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float32, tf.float64])
def test_probabilities_are_float32_or_float64(dtype):
    checked = ops.check_probabilities(tf.zeros([1, 5, 6, 4], dtype), "clean")
    assert checked.dtype == (tf.float64 if dtype == tf.float64 else tf.float32)


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_other_bands_are_missing_where_all_are_0(dtype):
    images = np.zeros((1, 2, 2, 2), dtype)
    images[0, 0, 0] = 0, 1
    images[0, 1, 1] = 1, 0
    observed = ops.observed(images, (2, 2))[0, ..., 0]
    np.testing.assert_array_equal(observed, [[True, False], [False, True]])
