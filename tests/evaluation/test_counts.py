import numpy as np
import pytest
from helpers.references import maps, presence

from clouds.evaluation import counts


@pytest.fixture(scope="module")
def drawn():
    """Names, scores, probabilities, plain and post masks, truth of seven images."""
    probabilities, truth = maps(7, labels=4, seed=1)
    plain = probabilities > 0.5
    post = plain & (maps(7, labels=4, seed=2)[0] > 0.3)
    names = [f"{k}.jpg" for k in range(7)]
    return names, presence(probabilities), probabilities, plain, post, truth


def tallied(drawn, *sizes):
    counted, first = counts.Tally(), 0
    for size in sizes:
        counted.add(*(part[first : first + size] for part in drawn))
        first += size
    return counted


def test_the_areas_are_sums_over_pixels(drawn):
    names, score, _, plain, post, truth = drawn
    images = tallied(drawn, 7).images
    assert images.names == names
    np.testing.assert_array_equal(images.score, score)
    for found, masks in (
        (images.truth, truth),
        (images.plain, plain),
        (images.plain_shared, plain & (truth > 0)),
        (images.post, post),
        (images.post_shared, post & (truth > 0)),
    ):
        np.testing.assert_array_equal(found, masks.sum(axis=(1, 2)))


def test_sets_count_the_pixels_that_have_them(drawn):
    *_, post, truth = drawn
    expected = np.zeros((16, 16), int)
    for place in np.ndindex(truth.shape[:3]):
        codes = [sum(masks[place][k] << k for k in range(4)) for masks in (truth, post)]
        expected[tuple(codes)] += 1
    assert tallied(drawn, 7).sets == {
        place: count for place, count in np.ndenumerate(expected) if count
    }
    assert np.count_nonzero(expected) > 100


def test_bins_hold_the_pixels_between_their_edges(drawn):
    _, _, probabilities, _, _, truth = drawn
    found = tallied(drawn, 7).bins
    for label, k in np.ndindex(4, counts.BINS):
        here = probabilities[..., label]
        within = (here >= np.float32(k / counts.BINS)) & (here < (k + 1) / counts.BINS)
        assert found.count[label, k] == within.sum()
        np.testing.assert_allclose(found.total[label, k], here[within].sum(dtype="f8"))
        assert found.present[label, k] == truth[..., label][within].sum()


def test_a_certain_pixel_is_in_the_last_bin():
    ones = np.ones((1, 1, 1, 4), np.float32)
    found = counts.bins(ones, ones, 10)
    assert (found.count == [0] * 9 + [1]).all() and (found.present == found.count).all()


@pytest.mark.parametrize("sizes", [(3, 4), (1, 1, 5)])
def test_batches_do_not_matter(drawn, sizes):
    whole, parts = tallied(drawn, 7), tallied(drawn, *sizes)
    assert parts.images.names == whole.images.names
    for ours, theirs in zip(parts.images[1:], whole.images[1:], strict=True):
        np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(parts.sets, whole.sets)
    np.testing.assert_allclose(parts.bins.total, whole.bins.total)


def test_without_images_there_are_no_numbers():
    images = counts.Tally().images
    assert images.names == [] and images.truth.shape == images.score.shape == (0, 4)
