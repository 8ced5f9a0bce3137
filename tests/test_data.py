import numpy as np
import pytest
import tensorflow as tf

from clouds import data, manifest
from clouds.errors import InputError


@pytest.fixture
def source(records):
    return str(records), manifest.read(str(records))


def take(batches, count):
    return [tuple(part.numpy() for part in batch) for batch in batches.take(count)]


def test_training_batches_are_full_and_endless(source):
    batches = take(data.train_batches(*source, 5), 10)
    assert {images.shape for images, _ in batches} == {(5, 64, 96, 3)}
    assert {masks.shape for _, masks in batches} == {(5, 64, 96, 4)}
    assert all(part.dtype == np.uint8 for batch in batches for part in batch)


def test_an_epoch_shows_each_image_once_in_a_new_order(source):
    batches = take(data.train_batches(*source, 16), 2)
    first, second = ([image.tobytes() for image in images] for images, _ in batches)
    assert len(set(first)) == 16
    assert set(first) == set(second)
    assert first != second


def test_the_seed_fixes_the_order(source):
    one, same, other = (
        take(data.train_batches(*source, 4, seed=seed), 8) for seed in (1, 1, 2)
    )
    equal = [(a[0] == b[0]).all() for a, b in zip(one, same, strict=True)]
    assert all(equal)
    assert any((a[0] != b[0]).any() for a, b in zip(one, other, strict=True))


def test_the_last_partial_batch_is_not_lost(source):
    sizes = [len(images) for images, _ in data.val_batches(*source, 3)]
    assert sizes == [3, 1]
    assert data.val_batches(*source, 3).cardinality() == 2


def test_images_come_smaller_when_asked(source):
    ((images, masks),) = take(data.val_batches(*source, 4, size=(32, 64)), 1)
    assert images.shape == (4, 32, 64, 3)
    assert masks.shape == (4, 32, 64, 4)


def test_truth_alone_equals_truth_beside_images(source):
    for batch, truth in zip(
        data.evaluation_batches(*source, "val", 3),
        data.truth_batches(*source, "val", 3),
        strict=True,
    ):
        assert tf.reduce_all(batch["truth"] == truth)


def test_a_batch_larger_than_the_split_is_refused(source):
    with pytest.raises(InputError, match="17, with 16 images"):
        data.train_batches(*source, 17)
