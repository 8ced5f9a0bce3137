import numpy as np
import pytest

from clouds.data import splits
from clouds.errors import InputError

present = np.random.default_rng(0).random((1003, 4)) < [0.5, 0.4, 0.5, 0.7]
label_sets = present @ [1, 2, 4, 8]


def test_a_fifth_of_the_images_is_held_out():
    assert splits.holdout(present, 0.2).sum() == round(0.2 * 1003)


def test_each_set_of_labels_is_held_out_in_the_same_share():
    held = splits.holdout(present, 0.2)
    for label_set in range(16):
        of_set = label_sets == label_set
        assert abs(held[of_set].sum() - 0.2 * of_set.sum()) <= 1


def test_folds_share_out_each_set_of_labels():
    folds = splits.folds(present, 5)
    for label_set in range(16):
        counts = np.bincount(folds[label_sets == label_set], minlength=5)
        assert np.ptp(counts) <= 1
    assert np.ptp(np.bincount(folds)) <= 1


def test_the_same_seed_gives_the_same_split_and_another_seed_another():
    split = splits.holdout(present, 0.2, seed=3)
    assert (split == splits.holdout(present, 0.2, seed=3)).all()
    assert (split != splits.holdout(present, 0.2, seed=4)).any()


def test_two_images_are_one_and_one():
    assert splits.holdout(present[:2], 0.01).sum() == 1
    assert splits.holdout(present[:2], 0.99).sum() == 1


@pytest.mark.parametrize("fraction", [0, 1, -0.1, 2])
def test_a_fraction_out_of_range_is_refused(fraction):
    with pytest.raises(InputError, match="fraction"):
        splits.holdout(present, fraction)


def test_one_image_cannot_be_split():
    with pytest.raises(InputError, match="2 images"):
        splits.holdout(present[:1], 0.2)


@pytest.mark.parametrize("count", [1, 1004])
def test_a_number_of_folds_out_of_range_is_refused(count):
    with pytest.raises(InputError, match="folds"):
        splits.folds(present, count)
