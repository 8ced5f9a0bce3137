import shutil
import types
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from clouds.data import manifest, pipeline
from clouds.errors import InputError


@pytest.fixture
def source(records):
    return str(records), manifest.read(str(records))


def take(batches, count):
    return [tuple(part.numpy() for part in batch) for batch in batches.take(count)]


def test_training_batches_are_full_and_endless(source):
    batches = take(pipeline.train_batches(*source, 5), 10)
    assert {images.shape for images, _ in batches} == {(5, 64, 96, 3)}
    assert {masks.shape for _, masks in batches} == {(5, 64, 96, 4)}
    assert all(part.dtype == np.uint8 for batch in batches for part in batch)


def test_an_epoch_shows_each_image_once_in_a_new_order(source):
    batches = take(pipeline.train_batches(*source, 16), 2)
    first, second = ([image.tobytes() for image in images] for images, _ in batches)
    assert len(set(first)) == 16
    assert set(first) == set(second)
    assert first != second


def test_the_seed_fixes_the_order(source):
    one, same, other = (
        take(pipeline.train_batches(*source, 4, seed=seed), 8) for seed in (1, 1, 2)
    )
    equal = [(a[0] == b[0]).all() for a, b in zip(one, same, strict=True)]
    assert all(equal)
    assert any((a[0] != b[0]).any() for a, b in zip(one, other, strict=True))


def test_the_last_partial_batch_is_not_lost(source):
    sizes = [len(images) for images, _ in pipeline.val_batches(*source, 3)]
    assert sizes == [3, 1]
    assert pipeline.val_batches(*source, 3).cardinality() == 2


def test_images_come_smaller_when_asked(source):
    ((images, masks),) = take(pipeline.val_batches(*source, 4, size=(32, 64)), 1)
    assert images.shape == (4, 32, 64, 3)
    assert masks.shape == (4, 32, 64, 4)


def test_truth_alone_equals_truth_beside_images(source):
    for batch, truth in zip(
        pipeline.evaluation_batches(*source, "val", 3),
        pipeline.truth_batches(*source, "val", 3),
        strict=True,
    ):
        assert tf.reduce_all(batch["truth"] == truth)


def test_named_images_come_whole_and_in_the_records_order(source):
    whole = [
        batch
        for batch in pipeline.evaluation_batches(
            *source, "train", 1
        ).as_numpy_iterator()
    ]
    chosen = whole[2:12:4]
    names = [batch["name"][0].decode() for batch in chosen[::-1]]
    (found,) = pipeline.named_batches(*source, "train", names, 9).as_numpy_iterator()
    for key, values in found.items():
        expected = np.concatenate([batch[key] for batch in chosen])
        np.testing.assert_array_equal(values, expected)
    assert list(pipeline.named_batches(*source, "train", ["none.jpg"], 9)) == []


def test_a_batch_larger_than_the_split_is_refused(source):
    with pytest.raises(InputError, match="17, with 16 images"):
        pipeline.train_batches(*source, 17)


def images_of(batches, count):
    return sorted(image.tobytes() for part, _ in take(batches, count) for image in part)


@pytest.mark.parametrize("cache", ["memory", "disk"])
def test_a_cache_shows_the_same_images_in_a_new_order(cache, source, tmp_path):
    if cache == "disk":
        cache = str(tmp_path)
    batches = pipeline.train_batches(*source, 16, cache=cache)
    first, second = take(batches, 2)
    assert images_of(pipeline.train_batches(*source, 16), 1) == sorted(
        image.tobytes() for image in first[0]
    )
    assert sorted(i.tobytes() for i in first[0]) == sorted(
        i.tobytes() for i in second[0]
    )
    assert (first[0] != second[0]).any()


def test_a_cache_that_does_not_fit_is_refused(source, monkeypatch):
    memory = types.SimpleNamespace(available=10_000)
    monkeypatch.setattr(pipeline.psutil, "virtual_memory", lambda: memory)
    with pytest.raises(InputError, match=r"memory has 0.0 GB free, and 0.0 GB"):
        pipeline.train_batches(*source, 16, cache="memory")


def test_hosts_share_out_the_images(source):
    parts = [
        images_of(pipeline.train_batches(*source, 4, host=host, hosts=2), 2)
        for host in range(2)
    ]
    whole = images_of(pipeline.train_batches(*source, 16), 1)
    assert sorted(parts[0] + parts[1]) == whole
    with pytest.raises(InputError, match="with 8 images in .* for each of 2 hosts"):
        pipeline.train_batches(*source, 9, hosts=2)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_damaged_shard_is_named_when_it_is_read(split, records, tmp_path):
    copy = Path(shutil.copytree(records, tmp_path / "copy"))
    (shard,) = copy.glob(f"{split}-*")
    contents = bytearray(shard.read_bytes())
    contents[len(contents) // 2] ^= 1
    shard.write_bytes(contents)
    read = manifest.read(str(copy))
    with (
        pytest.raises(InputError, match=f"{split}-00000-of-00001.tfrecord is damaged"),
        pipeline.naming_damaged_shards(str(copy), read),
    ):
        take(pipeline.evaluation_batches(str(copy), read, split, 4).map(tuple_of), 9)


def tuple_of(batch):
    return (batch["image"],)


def test_an_error_that_is_not_the_records_stays_what_it_is(source):
    with (
        pytest.raises(tf.errors.AbortedError),
        pipeline.naming_damaged_shards(*source),
    ):
        raise tf.errors.AbortedError(None, None, "other")


@pytest.mark.parametrize("cache", [None, "memory"])
@pytest.mark.parametrize("first", [1, 4, 7])
def test_batches_from_a_later_one_on_are_those_of_the_whole(cache, first, source):
    options = {"seed": 3, "cache": cache}
    whole = take(pipeline.train_batches(*source, 5, **options), 9)[first:]
    tf.random.set_seed(5)
    later = take(pipeline.train_batches(*source, 5, first=first, **options), 9 - first)
    for one, other in zip(whole, later, strict=True):
        assert (one[0] == other[0]).all()
        assert (one[1] == other[1]).all()


@pytest.mark.parametrize("cache", [None, "memory"])
def test_the_names_of_a_batch_are_those_of_its_images(cache, source):
    found = {}
    for batch in pipeline.evaluation_batches(*source, "train", 4):
        for name, image in zip(batch["name"].numpy(), batch["image"], strict=True):
            found[image.numpy().tobytes()] = name.decode()
    batches = take(pipeline.train_batches(*source, 5, seed=1, cache=cache), 4)
    for number, (images, _) in enumerate(batches):
        names = pipeline.train_names(*source, 5, number, seed=1, cache=cache)
        assert names == [found[image.tobytes()] for image in images]


def test_the_seed_zero_of_the_process_is_as_good_as_any(source):
    batches = take(pipeline.train_batches(*source, 4), 2)
    tf.random.set_seed(0)
    again = take(pipeline.train_batches(*source, 4), 2)
    assert (batches[1][0] == again[1][0]).all()
