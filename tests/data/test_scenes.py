import cv2
import numpy as np
import pytest

from clouds import schema
from clouds.data import scenes
from clouds.errors import InputError

SMALL = (128, 192)
WINDOW = 28


@pytest.fixture(scope="module")
def many():
    return [scenes.scene(seed, SMALL) for seed in range(120)]


def visible_edges(mask, hidden):
    """Counts the columns and the rows at which a mask changes out of the gap."""
    counts = []
    for bits, gap in ((mask, hidden), (mask.T, hidden.T)):
        changes = bits[:, 1:] != bits[:, :-1]
        seen = ~gap[:, 1:] & ~gap[:, :-1]
        counts.append(int((changes & seen).any(axis=0).sum()))
    return counts


def windows(image, masks):
    """Lists (class, window) of places under one label only, or under none (4)."""
    grey = image.astype(np.float32).mean(axis=-1)
    classes = np.where(masks.sum(-1) == 1, masks.argmax(-1), 9)
    classes[(masks.sum(-1) == 0) & image.any(-1)] = len(schema.CLOUDS.labels)
    for top in range(0, grey.shape[0] - WINDOW + 1, WINDOW // 2):
        for left in range(0, grey.shape[1] - WINDOW + 1, WINDOW // 2):
            place = slice(top, top + WINDOW), slice(left, left + WINDOW)
            if classes[place].max() == classes[place].min() < 9:
                yield classes[place][0, 0], grey[place]


def statistics(window):
    blurred = [cv2.GaussianBlur(window, (0, 0), sigma) for sigma in (1, 2, 4)]
    bands = [a - b for a, b in zip([window, *blurred], blurred, strict=False)]
    down, right = np.gradient(blurred[1])
    tops = [np.percentile(window, 95) - np.median(window), (window > 150).mean()]
    spread = [blurred[2].std(), blurred[1].mean(axis=1).std(), down.std(), right.std()]
    return np.log1p([*(band.std() for band in bands), *tops, *spread])


def test_the_same_seed_draws_the_same_scene():
    for one, other in zip(scenes.scene(5), scenes.scene(5), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_number_of_threads_does_not_change_the_scene():
    threads = cv2.getNumThreads()
    several, _ = scenes.scene(6)
    cv2.setNumThreads(1)
    try:
        single, _ = scenes.scene(6)
    finally:
        cv2.setNumThreads(threads)
    np.testing.assert_array_equal(several, single)


def test_another_seed_draws_another_scene():
    assert (scenes.scene(5, SMALL)[0] != scenes.scene(6, SMALL)[0]).mean() > 0.5


@pytest.mark.parametrize("size", [(350, 525), (32, 48), (96, 64), (40, 200), [64, 64]])
def test_a_scene_has_the_size_that_was_asked_for(size):
    image, masks = scenes.scene(1, size)
    assert image.shape == (*size, 3)
    assert image.dtype == np.uint8
    assert masks.shape == (*size, len(schema.CLOUDS.labels))
    assert masks.dtype == bool


def test_a_seed_shows_the_same_layout_at_every_size():
    for seed in range(4):
        image, masks = scenes.scene(seed, (350, 525))
        larger, larger_masks = scenes.scene(seed, (700, 1050))
        assert (masks != larger_masks[::2, ::2]).mean() < 0.01
        shrunk = cv2.resize(larger, (525, 350), interpolation=cv2.INTER_AREA)
        pair = [cv2.GaussianBlur(x, (0, 0), 3).ravel() for x in (image, shrunk)]
        assert np.corrcoef(*pair)[0, 1] > 0.95


def test_the_sea_is_dark_and_blue_and_the_clouds_are_bright(many):
    pixels = np.concatenate([image[image.any(axis=-1)] for image, _ in many])
    red, _, blue = np.percentile(pixels, 25, axis=0)
    assert 5 < red < blue < 80
    assert 120 < np.percentile(pixels, 99) < 255


def test_the_gap_is_black_unlabelled_and_in_many_scenes_but_not_in_all(many):
    shares = []
    for image, masks in many:
        hidden = ~image.any(axis=-1)
        assert not masks[hidden].any()
        assert image[~hidden].all()
        shares.append(hidden.mean())
    shares = np.array(shares)
    assert 0.35 < (shares > 0).mean() < 0.8
    assert 0.03 < shares[shares > 0].mean() < 0.15
    assert shares.max() < 0.2


def test_a_mask_is_a_union_of_few_rectangles_with_the_gap_cut_out(many):
    for image, masks in many:
        hidden = ~image.any(axis=-1)
        for mask in np.moveaxis(masks, -1, 0):
            assert max(visible_edges(mask, hidden)) <= 6


def test_the_check_for_rectangles_tells_a_disc_from_a_rectangle():
    disc = cv2.circle(np.zeros(SMALL, np.uint8), (90, 60), 40, 1, -1) > 0
    assert min(visible_edges(disc, np.zeros(SMALL, bool))) > 6
    box = np.zeros(SMALL, bool)
    box[20:60, 30:90] = True
    assert visible_edges(box, np.zeros(SMALL, bool)) == [2, 2]


def test_labels_are_as_frequent_and_as_large_as_in_the_competition(many):
    shares = np.array([masks.mean(axis=(0, 1)) for _, masks in many])
    counts = (shares > 0).sum(axis=1)
    assert 0.45 < (shares > 0).mean() < 0.62
    assert ((shares > 0).mean(axis=0) > 0.35).all()
    assert (counts == 0).mean() < 0.1
    assert ((counts >= 1) & (counts <= 3)).mean() > 0.8
    assert shares[shares > 0].min() > 0.06
    assert shares.max() < 0.47


def test_no_part_of_a_mask_is_below_the_usual_minimum_size(many):
    for _, masks in many:
        for mask in np.moveaxis(masks, -1, 0).astype(np.uint8):
            _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
            assert (stats[1:, cv2.CC_STAT_AREA] / mask.size > 10000 / 350 / 525).all()


def test_textures_are_told_apart_by_a_few_statistics_of_a_small_window(many):
    def gathered(part):
        found = [pair for scene in part for pair in windows(*scene)]
        return np.array([k for k, _ in found]), np.array(
            [statistics(window) for _, window in found]
        )

    known, features = gathered(many[:80])
    truth, unseen = gathered(many[80:])
    means = np.array([features[known == k].mean(axis=0) for k in range(5)])
    within = np.cov((features - means[known]).T)
    steps = unseen[:, None] - means
    distances = np.einsum("nki,ij,nkj->nk", steps, np.linalg.inv(within), steps)
    hits = distances.argmin(axis=1) == truth
    recalls = np.array([hits[truth == k].mean() for k in range(5)])
    assert (np.bincount(truth) > 20).all()
    assert recalls.mean() > 0.8
    assert recalls.min() > 0.6


@pytest.mark.parametrize("size", [(31, 48), (350, 8), (0, 0), (-350, 525)])
def test_a_size_too_small_is_refused_with_what_to_do(size):
    with pytest.raises(InputError, match=r"at least 32 pixels\. Received: .*Draw a"):
        scenes.scene(0, size)


@pytest.mark.parametrize("size", [350, (350,), (350, 525, 3), (350.0, 525), "ab", None])
def test_a_size_that_is_no_pair_of_integers_is_refused(size):
    with pytest.raises(InputError, match="two integers, height and width"):
        scenes.scene(0, size)


@pytest.mark.parametrize("seed", [-1, 0.5, "0", None])
def test_a_seed_that_is_no_count_is_refused(seed):
    with pytest.raises(InputError, match="integer from 0 up"):
        scenes.scene(seed)
