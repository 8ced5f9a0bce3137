import numpy as np
import pytest
from references import maps

from clouds import tally
from clouds.errors import InputError


@pytest.fixture(scope="module")
def drawn():
    """Names, probabilities, plain and post masks, truth of seven images."""
    probabilities, truth = maps(7, labels=4, seed=1)
    plain = probabilities > 0.5
    post = plain & (maps(7, labels=4, seed=2)[0] > 0.3)
    return [f"{k}.jpg" for k in range(7)], probabilities, plain, post, truth


def tallied(drawn, *sizes):
    counted, first = tally.Tally(), 0
    for size in sizes:
        counted.add(*(part[first : first + size] for part in drawn))
        first += size
    return counted


def test_the_areas_are_sums_over_pixels(drawn):
    names, _, plain, post, truth = drawn
    images = tallied(drawn, 7).images
    assert images.names == names
    for found, masks in (
        (images.truth, truth),
        (images.plain, plain),
        (images.plain_shared, plain & (truth > 0)),
        (images.post, post),
        (images.post_shared, post & (truth > 0)),
    ):
        np.testing.assert_array_equal(found, masks.sum(axis=(1, 2)))


def test_sets_count_the_pixels_that_have_them(drawn):
    _, _, _, post, truth = drawn
    expected = np.zeros((16, 16), int)
    for place in np.ndindex(truth.shape[:3]):
        codes = [sum(masks[place][k] << k for k in range(4)) for masks in (truth, post)]
        expected[tuple(codes)] += 1
    np.testing.assert_array_equal(tallied(drawn, 7).sets, expected)
    assert np.count_nonzero(expected) > 100


def test_bins_hold_the_pixels_between_their_edges(drawn):
    _, probabilities, _, _, truth = drawn
    found = tallied(drawn, 7).bins
    for label, k in np.ndindex(4, tally.BINS):
        here = probabilities[..., label]
        within = (here >= np.float32(k / tally.BINS)) & (here < (k + 1) / tally.BINS)
        assert found.count[label, k] == within.sum()
        np.testing.assert_allclose(found.total[label, k], here[within].sum(dtype="f8"))
        assert found.present[label, k] == truth[..., label][within].sum()


def test_a_certain_pixel_is_in_the_last_bin():
    ones = np.ones((1, 1, 1, 4), np.float32)
    found = tally.bins(ones, ones, 10)
    assert (found.count == [0] * 9 + [1]).all() and (found.present == found.count).all()


@pytest.mark.parametrize("sizes", [(3, 4), (1, 1, 5)])
def test_batches_do_not_matter(drawn, sizes):
    whole, parts = tallied(drawn, 7), tallied(drawn, *sizes)
    assert parts.images.names == whole.images.names
    for ours, theirs in zip(parts.images[1:], whole.images[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(parts.sets, whole.sets)
    np.testing.assert_allclose(parts.bins.total, whole.bins.total)


def test_presence_is_the_mean_of_the_highest_pixels():
    probabilities, _ = maps(3, 35, 21, labels=4)
    top = round(17500 / (350 * 525) * 35 * 21)
    assert top == 70
    planes = np.sort(probabilities.reshape(3, -1, 4), axis=1)
    expected = planes[:, -top:].mean(axis=1)
    np.testing.assert_allclose(tally.presence(probabilities), expected, rtol=1e-6)
    one = probabilities[:, :1, :1]
    np.testing.assert_array_equal(tally.presence(one), one[:, 0, 0])


def test_no_images_have_no_numbers():
    images = tally.Tally().images
    assert images.names == [] and images.truth.shape == images.score.shape == (0, 4)


@pytest.mark.parametrize(
    "value, received", [(np.nan, "nan"), (-0.1, "-0.1"), (1.5, "1.5"), (np.inf, "inf")]
)
def test_what_is_no_probability_is_refused(drawn, value, received):
    names, probabilities, *masks = drawn
    broken = probabilities.copy()
    broken[2, 3, 4, 1] = value
    with pytest.raises(InputError, match=rf"from 0 to 1. Received: {received}.*2.jpg"):
        tally.Tally().add(names, broken, *masks)


def test_arrays_of_other_shapes_are_refused(drawn):
    names, *arrays = drawn
    calls = [
        (names, *(array[0] for array in arrays)),
        (names, *(array[..., :3] for array in arrays)),
        (names[1:], *arrays),
        (names, *arrays[:-1], arrays[-1][:, 1:]),
    ]
    for call in calls:
        with pytest.raises(InputError, match="of one shape.*Received: "):
            tally.Tally().add(*call)
