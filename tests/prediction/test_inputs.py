import concurrent.futures
import dataclasses
import shutil
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from helpers.commands import make_tfrecords

from clouds import schema
from clouds.cli import main
from clouds.config.prediction import Prediction
from clouds.config.training import Training
from clouds.data import manifest
from clouds.errors import InputError
from clouds.prediction import inputs

TRAINED = Training(records="r", run="x", size=(64, 96))


def every(name):
    return True


def of_files(images, **fields):
    fields = {"batch_size": 2, **fields}
    settings = Prediction(run=("r",), images=str(images), out="o", **fields)
    return inputs.FileImages(settings, TRAINED)


def of_records(records):
    settings = Prediction(run=("r",), records=records, out="o", batch_size=2)
    return inputs.RecordImages(settings, TRAINED)


def test_batches_hold_all_images_in_order(images):
    source = of_files(images)
    batches = list(source.batches(every))
    assert [len(batch.names) for batch in batches] == [2, 2, 2, 1]
    assert source.names == sorted(path.name for path in images.iterdir())
    assert sum((batch.names for batch in batches), []) == source.names
    assert source.total == 7
    for batch in batches:
        assert batch.faults == {}
        assert (batch.images.shape[1:], batch.images.dtype) == ((64, 96, 3), np.uint8)
    assert np.ptp(batches[0].images) > 50


def test_images_come_in_another_size_on_demand(images):
    (batch, *_) = of_files(images).batches(every, (90, 120))
    assert batch.images.shape == (2, 90, 120, 3)


def test_the_first_images_shape_is_that_of_its_file(images):
    assert of_files(images).shape() == (96, 144)
    min(images.iterdir()).write_bytes(b"torn")
    assert of_files(images).shape() is None


def test_which_images_come_together_does_not_depend_on_what_is_wanted(images):
    source = of_files(images)
    _, b, c, d, _, _, g = source.names
    wanted = {b, c, d, g}
    batches = [batch.names for batch in source.batches(wanted.__contains__)]
    assert batches == [[b], [c, d], [g]]


def test_no_more_than_two_batches_are_decoded_ahead(images, monkeypatch):
    begun = []

    class Counting(concurrent.futures.ThreadPoolExecutor):
        def map(self, function, names):
            begun.extend(names)
            return super().map(function, names)

    monkeypatch.setattr(concurrent.futures, "ThreadPoolExecutor", Counting)
    for number, batch in enumerate(of_files(images).batches(every), 1):
        assert len(begun) == min(7, 2 * (number + 2))
        assert set(batch.names) <= set(begun)


def test_an_image_that_cannot_be_decoded_is_reported_and_its_batch_comes(images):
    source = of_files(images)
    broken, good, empty, *_ = source.names
    (images / broken).write_bytes((images / broken).read_bytes()[:700])
    (images / empty).write_bytes(b"")
    first, second, *_ = source.batches(every)
    assert (first.names, len(first.images)) == ([good], 1)
    assert list(first.faults) == [broken]
    assert f"{images}/{broken} (700 bytes) cannot" in first.faults[broken]
    assert list(second.faults) == [empty]


def test_a_batch_may_be_of_faults_alone(images):
    source = of_files(images, batch_size=1)
    (images / source.names[0]).unlink()
    batch = next(source.batches(every))
    assert (batch.names, len(batch.images)) == ([], 0)
    assert "cannot be read" in batch.faults[source.names[0]]


def test_folder_zip_pattern_and_list_give_the_same(images, tmp_path):
    names = sorted(path.name for path in images.iterdir())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in names:
            archive.write(images / name, f"test/{name}")
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(f"images/{name}" for name in names))
    expected = list(of_files(images).batches(every))
    for place in (tmp_path / "a.zip/test", f"{tmp_path}/*/*.jpg", listed):
        batches = list(of_files(place).batches(every))
        assert [batch.names for batch in batches] == [one.names for one in expected]
        for batch, one in zip(batches, expected, strict=True):
            np.testing.assert_array_equal(batch.images, one.images)


def test_damage_within_a_zip_is_reported(images, tmp_path):
    archive = tmp_path / "images.zip"
    names = sorted(path.name for path in images.iterdir())
    with zipfile.ZipFile(archive, "w") as written:
        for name in names:
            written.write(images / name, f"test/{name}")
    contents = bytearray(archive.read_bytes())
    broken = (images / names[1]).read_bytes()[1000:1200]
    place = contents.index(broken)
    contents[place : place + 200] = bytes(200)
    archive.write_bytes(contents)
    batches = list(of_files(archive).batches(every))
    (fault,) = [batch.faults for batch in batches if batch.faults]
    assert list(fault) == [names[1]]
    assert f"{archive}/test/{names[1]}" in fault[names[1]]
    assert sum(len(batch.names) for batch in batches) == 6


def write_sample(path, names, labels=schema.CLOUDS.labels):
    rows = [f"{name}_{label},1 1\n" for name in names for label in labels]
    path.write_text("Image_Label,EncodedPixels\n" + "".join(rows))
    return str(path)


def test_a_sample_submission_tells_images_and_orders(images, tmp_path):
    names = sorted(path.name for path in images.iterdir())
    asked = [names[5], names[2], names[3]]
    sample = write_sample(tmp_path / "s.csv", asked, schema.CLOUDS.labels[::-1])
    source = of_files(images, sample_submission=sample)
    assert source.names == asked
    assert source.orders == dict.fromkeys(asked, [3, 2, 1, 0])
    assert [b.names for b in source.batches(every)] == [asked[:2], asked[2:]]


def test_an_image_that_only_the_sample_names_is_refused(images, tmp_path):
    sample = write_sample(tmp_path / "s.csv", ["absent.jpg"])
    with pytest.raises(InputError, match=r"1 of 1 images in .* first 'absent.jpg'"):
        of_files(images, sample_submission=sample)


def test_rows_of_one_image_apart_are_refused(images, tmp_path):
    names = sorted(path.name for path in images.iterdir())
    rows = [f"{name}_{label},\n" for label in schema.CLOUDS.labels for name in names]
    (tmp_path / "s.csv").write_text("Image_Label,EncodedPixels\n" + "".join(rows))
    with pytest.raises(InputError, match="must be consecutive"):
        of_files(images, sample_submission=str(tmp_path / "s.csv"))


def test_the_checksum_tells_other_images_and_other_orders(images, tmp_path):
    names = sorted(path.name for path in images.iterdir())
    csv = tmp_path / "s.csv"
    checksums = {of_files(images).checksum}
    for asked, labels in (
        (names, schema.CLOUDS.labels),
        (names[::-1], schema.CLOUDS.labels),
        (names, schema.CLOUDS.labels[::-1]),
    ):
        sample = write_sample(csv, asked, labels)
        checksums.add(of_files(images, sample_submission=sample).checksum)
    assert of_files(images).checksum in checksums
    (images / names[0]).unlink()
    checksums.add(of_files(images).checksum)
    assert len(checksums) == 5


def test_records_give_their_images(images, tmp_path):
    folder = str(tmp_path / "records")
    make = ["make_tfrecords", "--unlabelled", "--images", str(images)]
    make += ["--out", folder, "--size", "64x96", "--workers", "1"]
    assert main.main(make) == 0
    source = of_records(folder)
    assert (source.names, source.total) == (None, 7)
    batches = list(source.batches(every))
    names = [name for batch in batches for name in batch.names]
    assert sorted(names) == sorted(path.name for path in images.iterdir())
    wanted = {names[0], names[3]}
    some = list(source.batches(wanted.__contains__))
    assert [batch.names for batch in some] == [[names[0]], [names[3]]]
    np.testing.assert_array_equal(some[1].images[0], batches[1].images[1])


def test_records_with_masks_are_refused(sample, tmp_path):
    assert main.main(make_tfrecords(sample, tmp_path)) == 0
    with pytest.raises(InputError, match="needs records with no masks"):
        of_records(str(tmp_path))


PAIR = dataclasses.replace(TRAINED, band_names=("vis", "ir"), dtype="uint16")


def test_images_of_other_bands_come_as_they_are(band_sample):
    folder = band_sample / "train_images"
    settings = Prediction(run=("r",), images=str(folder), out="o", batch_size=2)
    batch = next(inputs.FileImages(settings, PAIR).batches(every))
    assert batch.images.dtype == np.uint16
    for name, image in zip(batch.names, batch.images, strict=True):
        expected = tf.io.decode_png((folder / name).read_bytes(), 0, tf.uint16)
        np.testing.assert_array_equal(image, expected)


def test_files_and_records_of_other_bands_than_the_runs_are_named(
    images, band_records, tmp_path
):
    settings = Prediction(run=("r",), images=str(images), out="o", batch_size=9)
    (batch,) = inputs.FileImages(settings, PAIR).batches(every)
    assert not batch.names
    name, fault = next(iter(batch.faults.items()))
    assert name in fault and "it is a JPEG; images of other bands" in fault
    copy = shutil.copytree(band_records, tmp_path / "records")
    stored = manifest.load(str(copy))
    shards = [shard._replace(split="test") for shard in stored.shards[:1]]
    name = "test-00000-of-00001.tfrecord"
    (copy / stored.shards[0].name).rename(copy / name)
    shards = (shards[0]._replace(name=name),)
    manifest.save(str(copy), stored._replace(shards=shards))
    with pytest.raises(InputError, match="images of 2 bands of uint16 .*needs 3 bands"):
        of_records(str(copy))
