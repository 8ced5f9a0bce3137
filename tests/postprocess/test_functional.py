"""The post-process against its slow twins, eager and in every kind of graph."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import references
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from clouds.errors import InputError
from clouds.postprocess import functional

PROBABILITIES = tf.TensorSpec([None, None, None, None])
THRESHOLDS = (0.3, 0.5, 0.55, 0.9)
MIN_SIZES = (0, 3, 10, 40)


def expect_text(text, masks):
    expected = references.by_plane(references.encode, masks)
    np.testing.assert_array_equal(text.numpy().astype(str), expected)


@pytest.mark.parametrize("seed", range(4))
def test_clean_equals_the_loop_over_components(seed):
    probabilities = references.blobs(seed=seed)
    thresholds = np.float32(THRESHOLDS)
    expected = references.by_plane(
        references.clean, probabilities, thresholds, MIN_SIZES
    )
    masks = functional.clean(probabilities, THRESHOLDS, MIN_SIZES)
    assert 0 < expected.mean() < 1
    np.testing.assert_array_equal(masks, expected)


TOPS = (0.9, 0.9, 0.92, 0.95)


@pytest.mark.parametrize("scope", ["component", "image"])
@pytest.mark.parametrize("seed", range(4))
def test_the_triplet_rule_equals_the_loop_over_components(scope, seed):
    probabilities = references.blobs(batch=9, seed=seed)

    def clean(plane, threshold, min_size, top):
        return references.clean_triplet(plane, threshold, min_size, top, scope)

    limits = np.float32(THRESHOLDS), MIN_SIZES, np.float32(TOPS)
    expected = references.by_plane(clean, probabilities, *limits)
    masks = functional.clean(
        probabilities, THRESHOLDS, MIN_SIZES, tops=TOPS, scope=scope
    )
    without = functional.clean(probabilities, THRESHOLDS, MIN_SIZES)
    assert 0 < expected.mean() < np.mean(without)
    np.testing.assert_array_equal(masks, expected)


def test_a_peak_threshold_below_the_threshold_has_no_effect():
    probabilities = references.blobs()
    np.testing.assert_array_equal(
        functional.clean(probabilities, 0.5, 3, tops=0.2),
        functional.clean(probabilities, 0.5, 3),
    )


def test_probabilities_are_zero_where_the_image_is_black():
    images = np.full((3, 23, 31, 3), 90, np.uint8)
    images[:, :, 10:14] = 2
    images[0, 5, 11] = 2, 3, 2
    kept = functional.without_gap(np.ones((3, 23, 31, 4), np.float32), images)
    expected = np.ones((3, 23, 31, 4))
    expected[:, :, 10:14] = 0
    expected[0, 5, 11] = 1
    np.testing.assert_array_equal(kept, expected)


def test_the_gap_is_found_on_images_of_another_size():
    images = np.full((1, 46, 62, 3), 90, np.uint8)
    images[:, :, 20:28] = 0
    kept = functional.without_gap(np.ones((1, 23, 31, 1), np.float32), images)
    assert np.flatnonzero(kept[0, 0, :, 0] == 0).tolist() == [10, 11, 12, 13]


@pytest.mark.parametrize("values", ["smooth", "ties", "zeros", "ones"])
def test_presence_is_the_mean_of_the_highest_probabilities(values):
    generator = np.random.default_rng(0)
    probabilities = {
        "smooth": generator.beta(0.3, 2, (2, 70, 105, 4)),
        "ties": generator.choice([0.1, 0.3, 0.7], (2, 70, 105, 4), p=[0.9, 0.08, 0.02]),
        "zeros": np.zeros((2, 70, 105, 4)),
        "ones": np.ones((2, 70, 105, 4)),
    }[values].astype(np.float32)
    for part in (probabilities, probabilities[:1, :1, :1]):
        found, expected = functional.presence(part), references.presence(part)
        np.testing.assert_allclose(found, expected, atol=2e-4)


def test_a_component_of_exactly_the_minimum_area_is_dropped():
    probabilities = np.zeros((1, 6, 8, 1), np.float32)
    probabilities[0, 0, :3] = probabilities[0, 3:5, :2] = 0.9
    masks = functional.clean(probabilities, 0.5, 3)[0, ..., 0].numpy()
    np.testing.assert_array_equal(np.argwhere(masks), [[3, 0], [3, 1], [4, 0], [4, 1]])


def test_a_probability_of_exactly_the_threshold_is_background():
    threshold = np.float32(0.3)
    values = np.nextafter(threshold, np.float32([0, 0.3, 1]), dtype=np.float32)
    masks = functional.clean(values.reshape(1, 1, 3, 1), 0.3, 0)
    np.testing.assert_array_equal(masks.numpy().ravel(), [False, False, True])


def test_pixels_that_touch_at_corners_are_one_component():
    probabilities = np.eye(9, dtype=np.float32)[None, ..., None]
    assert functional.clean(probabilities, 0.5, 8).numpy().sum() == 9


@pytest.mark.parametrize("kind", [list, np.array, tf.constant, np.float32])
def test_limits_may_be_lists_arrays_or_tensors(kind):
    probabilities = references.blobs()
    expected = functional.clean(probabilities, THRESHOLDS, MIN_SIZES)
    masks = functional.clean(probabilities, kind(THRESHOLDS), kind(MIN_SIZES))
    np.testing.assert_array_equal(masks, expected)


def test_one_number_applies_to_all_labels():
    probabilities = references.blobs()
    np.testing.assert_array_equal(
        functional.clean(probabilities, 0.5, 10),
        functional.clean(probabilities, [0.5] * 4, [10] * 4),
    )


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.float64])
def test_every_float_is_accepted(dtype):
    probabilities = tf.cast(references.blobs(), dtype)
    expected = functional.clean(tf.cast(probabilities, tf.float32), 0.5, 5)
    np.testing.assert_array_equal(functional.clean(probabilities, 0.5, 5), expected)


def test_float64_probabilities_are_compared_as_they_are():
    probabilities = np.full((1, 1, 1, 1), np.nextafter(0.3, 1))
    assert functional.clean(probabilities, 0.3, 0).numpy().all()


@given(
    hnp.arrays(
        bool,
        st.tuples(st.just(2), st.integers(1, 9), st.integers(1, 9), st.integers(1, 3)),
    )
)
@settings(max_examples=100, deadline=None, derandomize=True)
def test_text_equals_the_pixel_by_pixel_encoder(masks):
    expect_text(to_rle(tf.constant(masks)), masks)


@tf.function(input_signature=[tf.TensorSpec([None, None, None, None], tf.bool)])
def to_rle(masks):
    return functional.to_rle(masks)


def test_runs_continue_from_the_end_of_a_column_to_the_next():
    masks = np.zeros((2, 4, 5, 1), bool)
    masks[0, 2:, 1] = masks[0, :, 2] = masks[0, 0, 3] = True
    masks[0, 3, 4] = masks[1, 0, 0] = True
    text = functional.to_rle(masks).numpy().tolist()
    assert text == [[b"7 7 20 1"], [b"1 1"]]


def test_an_empty_mask_has_empty_text_and_a_full_one_a_single_run():
    assert functional.to_rle(np.zeros((1, 5, 6, 2), bool)).numpy().tolist() == [
        [b""] * 2
    ]
    assert functional.to_rle(np.ones((1, 350, 525, 1), bool)).numpy() == b"1 183750"


@pytest.mark.parametrize(
    "shape", [(0, 5, 6, 4), (2, 0, 6, 4), (2, 5, 0, 4), (2, 5, 6, 0)]
)
def test_empty_input_gives_empty_output(shape):
    probabilities = np.zeros(shape, np.float32)
    assert functional.clean(probabilities, 0.5, 1).shape == shape
    text = functional.to_rle(np.zeros(shape, bool))
    assert text.numpy().tolist() == [[b""] * shape[3]] * shape[0]


def test_resizing_takes_pixels_at_their_centres():
    resized = functional.resize(np.float32([[[[0], [1]]]]), (1, 4))
    np.testing.assert_allclose(resized.numpy().ravel(), [0, 0.25, 0.75, 1])


class Serving(tf.Module):
    @tf.function(input_signature=[PROBABILITIES])
    def clean(self, probabilities):
        return functional.clean(probabilities, THRESHOLDS, MIN_SIZES)

    @tf.function(input_signature=[PROBABILITIES])
    def text(self, probabilities):
        return functional.to_rle(self.clean(functional.resize(probabilities, (35, 52))))


def test_eager_graph_and_saved_model_agree(tmp_path):
    serving = Serving()
    tf.saved_model.save(serving, tmp_path)
    loaded = tf.saved_model.load(tmp_path)
    for height, width in [(23, 31), (16, 40)]:
        batch = tf.constant(references.blobs(height=height, width=width))
        masks = functional.clean(batch, THRESHOLDS, MIN_SIZES)
        resized = functional.resize(batch, (35, 52))
        text = functional.to_rle(functional.clean(resized, THRESHOLDS, MIN_SIZES))
        for module in (serving, loaded):
            np.testing.assert_array_equal(module.clean(batch), masks)
            np.testing.assert_array_equal(module.text(batch), text)
    empty = tf.zeros([0, 20, 30, 4])
    assert loaded.text(empty).shape == (0, 4)
    assert loaded.clean(empty).shape == empty.shape


def test_masks_are_encoded_inside_a_dataset():
    batch = references.blobs(batch=5)
    dataset = tf.data.Dataset.from_tensor_slices(batch).batch(2)

    def encode(images):
        return functional.to_rle(functional.clean(images, 0.5, 10))

    texts = dataset.map(encode)
    np.testing.assert_array_equal(
        np.concatenate(list(texts.as_numpy_iterator())), encode(batch)
    )


def test_static_shapes_are_kept():
    graph = Serving.clean.get_concrete_function(
        Serving(), tf.TensorSpec([None, 350, 525, 4])
    )
    assert graph.structured_outputs.shape.rank == 4
    traced = tf.function(functional.to_rle)
    graph = traced.get_concrete_function(tf.TensorSpec([8, 350, 525, 4], tf.bool))
    assert graph.structured_outputs.shape.as_list() == [8, 4]


def test_nan_is_background_in_a_graph():
    batch = tf.fill([1, 5, 6, 4], float("nan"))
    assert not Serving().clean(batch).numpy().any()


BATCH = np.full((2, 5, 6, 4), 0.5, np.float32)
BROKEN = BATCH.copy()
BROKEN[1, 2, 3, 0] = np.nan


@pytest.mark.parametrize(
    ("probabilities", "thresholds", "min_sizes", "message"),
    [
        (
            BATCH[0],
            0.5,
            1,
            r"float\[B, H, W, C\]. Received: float32, shape \(5, 6, 4\)",
        ),
        (BATCH > 0, 0.5, 1, r"float\[B, H, W, C\]. Received: bool"),
        (BROKEN, 0.5, 1, r"NaN in 1 places, first at .* = \[1, 2, 3, 0\]"),
        (BATCH * 255, 0.5, 1, r"must be in 0..1. Received: 127.5 to 127.5, in post"),
        (-BATCH, 0.5, 1, r"Probabilities must be in 0..1. Received: -0.5 to -0.5"),
        (BATCH, 1.5, 1, r"Thresholds must be in 0..1. Received: 1.5"),
        (BATCH, [0.5, 0.5, -0.1, 0.5], 1, r"Received: \[0.5, 0.5, -0.1, 0.5\]"),
        (BATCH, float("nan"), 1, "Thresholds must be in 0..1. Received: nan"),
        (BATCH, [0.5] * 3, 1, r"Thresholds must be one number or 4.* shape \(3,\)"),
        (BATCH, [[0.5] * 4], 1, r"Thresholds must be one number or 4.* \(1, 4\)"),
        (BATCH, 0.5, -1, r"Minimum areas must be in 0..inf. Received: -1.0"),
        (BATCH, 0.5, [1, 2], "Minimum areas must be one number or 4"),
    ],
)
def test_mistakes_are_named(probabilities, thresholds, min_sizes, message):
    with pytest.raises(InputError, match=message):
        functional.clean(probabilities, thresholds, min_sizes)


@pytest.mark.parametrize("function", [functional.resize, functional.presence])
def test_every_function_of_probabilities_names_mistakes_in_their_range(function):
    size = [(3, 4)] if function is functional.resize else []
    with pytest.raises(InputError, match=f"0..1.* in postprocess.{function.__name__}"):
        function(BATCH * 255, *size)


def test_probabilities_may_exceed_one_by_their_rounding():
    above = np.full((1, 1, 1, 1), np.nextafter(1, 2, dtype=np.float32))
    assert functional.clean(above, 0.5, 0).numpy().all()


@pytest.mark.parametrize("masks", [np.zeros((5, 6), bool), np.zeros((1, 5, 6, 1))])
def test_only_boolean_masks_are_encoded(masks):
    with pytest.raises(InputError, match=r"must be bool\[B, H, W, C\]. Received: "):
        functional.to_rle(masks)


@pytest.mark.parametrize(
    ("shape", "threshold", "message"),
    [([5, 6, 4], 0.5, r"float32, shape \(5, 6, 4\)"), ([1, 5, 6, 4], 2, "ceived: 2.0")],
)
def test_a_graph_rejects_shapes_and_constants_while_tracing(shape, threshold, message):
    # AutoGraph would hand on the message in an error of its own.
    @tf.function(autograph=False)
    def clean():
        return functional.clean(tf.zeros(shape), threshold, 1)

    with pytest.raises(InputError, match=message):
        clean()
