"""Components at many levels, against OpenCV."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import references
from helpers.references import maps

from clouds.errors import InputError
from clouds.evaluation.tuning import level_sets
from clouds.postprocess import functional

LEVELS = np.linspace(0.1, 0.9, 5)[:, None] + [0.0, 0.03]


def measured(probabilities, truth, levels=LEVELS):
    return level_sets.join([level_sets.measure(probabilities, truth, levels)])


def expect_found(probabilities, truth, levels):
    found = measured(probabilities, truth, levels)
    ours = sorted(zip(*(part.tolist() for part in found[:-1]), strict=True))
    theirs = sorted(row[:-1] for row in references.found(probabilities, truth, levels))
    assert ours == theirs
    np.testing.assert_array_equal(found.truth, truth.sum(axis=(1, 2)))


@pytest.mark.parametrize("blur", [0, 1, 4])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (8, 8), (16, 7), (33, 41)])
def test_measuring_equals_opencv(size, blur):
    expect_found(*maps(4, *size, blur=blur), LEVELS)


@pytest.mark.parametrize("name", references.NASTY)
def test_measuring_equals_opencv_on_nasty_planes(name):
    plane = references.NASTY[name](30, 27)
    probabilities = np.where(plane, *maps(2, 30, 27, blur=0)[0][..., 0])
    truth = np.rot90(plane, 2)
    expect_found(probabilities[None, ..., None], truth[None, ..., None], LEVELS[:, :1])


@pytest.mark.parametrize("count", [1, 2, 127])
def test_measuring_equals_opencv_for_few_levels_and_for_many(count):
    levels = np.linspace(0.2, 0.8, count)[:, None] + [-0.1, 0, 0.1]
    expect_found(*maps(2, labels=3), levels)


def test_a_pixel_at_a_level_does_not_exceed_it():
    levels = np.array([[0.3], [0.7]])
    probabilities = np.full((1, 3, 4, 1), 0.7, np.float32)
    found = measured(probabilities, np.ones_like(probabilities, np.uint8), levels)
    assert found.level.tolist() == found.reach.tolist() == [0]
    masks = functional.clean(probabilities, 0.7, 0)
    assert not masks.numpy().any()


def test_graph_and_eager_agree_whatever_the_batch():
    probabilities, truth = maps(7)
    whole = measured(probabilities, truth)
    batches = tf.data.Dataset.from_tensor_slices((probabilities, truth)).batch(3)
    joined = level_sets.join(batches.map(lambda p, y: level_sets.measure(p, y, LEVELS)))
    for ours, theirs in zip(joined, whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


def test_a_batch_of_no_images_has_no_components():
    probabilities, truth = maps(3)
    none = level_sets.measure(probabilities[:0], truth[:0], LEVELS)
    assert none.truth.shape == (0, 2) and not len(none.image)
    joined = level_sets.join([none, level_sets.measure(probabilities, truth, LEVELS)])
    np.testing.assert_array_equal(joined.image, measured(probabilities, truth).image)


def test_no_images_are_refused():
    none = level_sets.measure(*(part[:0] for part in maps(1)), LEVELS)
    for batches in ([], [none]):
        with pytest.raises(InputError, match="at least one image. Received: none"):
            level_sets.join(batches)


@pytest.mark.parametrize(
    "probabilities", [np.zeros((3, 4, 2), "f4"), np.zeros((1, 3, 4, 2), int)]
)
def test_other_than_float_maps_are_refused(probabilities):
    with pytest.raises(InputError, match=r"must be float\[B, H, W, C\]. Received: "):
        level_sets.measure(probabilities, probabilities > 0, LEVELS)


@pytest.mark.parametrize("shape", [(1, 3, 4), (1, 4, 3, 2), (2, 3, 4, 2)])
def test_a_truth_of_another_shape_is_refused(shape):
    with pytest.raises(
        InputError, match=r"The truth must be uint8 or bool.*Received: "
    ):
        level_sets.measure(np.zeros((1, 3, 4, 2), "f4"), np.zeros(shape, bool), LEVELS)


def test_nan_is_refused():
    probabilities, truth = maps(1)
    probabilities[0, 2, 3, 1] = np.nan
    with pytest.raises(InputError, match=r"NaN in 1 places, first at .*\[0, 2, 3, 1\]"):
        level_sets.measure(probabilities, truth, LEVELS)


def test_a_subset_of_the_levels_is_what_measuring_these_alone_finds():
    probabilities, truth = maps(6, seed=3)
    found = measured(probabilities, truth)
    for places in ([[0, 0], [1, 1], [4, 4]], [[1, 0], [3, 4]], [[2, 4]]):
        ours = level_sets.subset(found, np.array(places))
        theirs = measured(probabilities, truth, LEVELS[places, [0, 1]])
        rows = (sorted(zip(*part[:-1], strict=True)) for part in (ours, theirs))
        assert next(rows) == next(rows)
        assert [part.dtype for part in ours] == [part.dtype for part in theirs]


@pytest.mark.parametrize("label", [0, 1])
def test_one_label_is_what_measuring_it_alone_finds(label):
    probabilities, truth = maps(6, seed=3)
    one = slice(label, label + 1)
    ours = level_sets.of_label(measured(probabilities, truth), label)
    theirs = measured(probabilities[..., one], truth[..., one], LEVELS[:, one])
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)
        assert mine.dtype == other.dtype


@pytest.mark.parametrize(
    "levels, message",
    [
        (LEVELS[::-1], "must rise within 0..1"),
        (LEVELS[[0, 0, 1]], "must rise within 0..1"),
        (LEVELS - 0.1, "must rise within 0..1"),
        (LEVELS + 0.1, "must rise within 0..1"),
        (LEVELS * np.nan, "must rise within 0..1"),
        (LEVELS[:, 0], r"must be float\[T, 2\]"),
        (LEVELS[:, :1], r"must be float\[T, 2\]"),
        (LEVELS[:0], "T from 1 to 127"),
        (np.linspace(0.1, 0.9, 128)[:, None] + [0, 0], "T from 1 to 127"),
    ],
)
def test_invalid_levels_are_refused(levels, message):
    with pytest.raises(InputError, match=f"{message}.*Received: "):
        level_sets.measure(*maps(2), levels)
