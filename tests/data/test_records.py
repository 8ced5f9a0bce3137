import tempfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from clouds import rle, schema
from clouds.data import manifest, records, scenes
from clouds.errors import InputError
from clouds.schema import Bands

SIZE, TRUTH = (32, 48), (35, 52)
image, scene_masks = scenes.scene(1, (64, 96))
masks = np.random.default_rng(0).random((4, *SIZE)) < 0.5
truth = np.random.default_rng(1).random((4, *TRUTH)) < 0.5
description = manifest.Manifest(
    size=SIZE, grid=(64, 96), truth_size=TRUTH,
    labels=schema.CLOUDS.labels, decode="reduced", seed=0,
    val_fraction=0.2, folds=0, source={}, shards=(),
)  # fmt: skip


def example(contents, size=SIZE):
    packed = (packed_bits(planes) for planes in (masks, truth))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.jpg")
        file.write_bytes(contents)
        return records.examples([("a.jpg", str(file))], [tuple(packed)], size=size)[0]


def packed_bits(planes):
    return np.packbits(planes, axis=0, bitorder="little")[0]


def jpeg(pixels=image):
    return cv2.imencode(".jpg", pixels[..., ::-1])[1].tobytes()


def test_parsing_restores_what_was_packed():
    parsed = records.parse(example(jpeg()), description)
    assert parsed["name"].numpy() == b"a.jpg"
    assert parsed["image"].shape == (*SIZE, 3)
    assert parsed["masks"].dtype == tf.uint8
    assert (np.moveaxis(parsed["masks"].numpy(), -1, 0) == masks).all()
    assert (np.moveaxis(parsed["truth"].numpy(), -1, 0) == truth).all()


@pytest.mark.parametrize("count", [1, 2, 5, 8, 9, 16, 17, 32])
def test_any_number_of_labels_survives_packing(count):
    planes = np.random.default_rng(0).random((count, *SIZE)) < 0.5
    runs = [rle.parse(rle.encode(plane), SIZE) for plane in planes]
    packed = rle.resample(runs, SIZE, [SIZE, SIZE])
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "a.jpg")
        file.write_bytes(jpeg())
        (record,) = records.examples([("a.jpg", str(file))], [packed], size=SIZE)
    labels = tuple(map(str, range(count)))
    described = description._replace(labels=labels, truth_size=SIZE)
    parsed = records.parse(record, described)
    for field in ("masks", "truth"):
        assert (np.moveaxis(parsed[field].numpy(), -1, 0) == planes).all()


def test_a_jpeg_of_the_records_size_is_kept_byte_for_byte():
    small = jpeg(cv2.resize(image, SIZE[::-1]))
    fields = tf.train.Example.FromString(example(small)).features.feature
    assert fields["image"].bytes_list.value[0] == small


def test_a_png_of_the_records_size_becomes_a_jpeg_close_to_it():
    small = cv2.resize(image, SIZE[::-1])
    png = cv2.imencode(".png", small[..., ::-1])[1].tobytes()
    fields = tf.train.Example.FromString(example(png)).features.feature
    assert tf.io.is_jpeg(fields["image"].bytes_list.value[0])
    assert list(fields["original_size"].int64_list.value) == list(SIZE)
    error = records.parse(example(png), description)["image"].numpy() - small.astype(
        int
    )
    assert np.abs(error).mean() < 6


def test_colours_of_neighbouring_pixels_are_not_mixed(tmp_path):
    stripes = np.zeros((32, 48, 3), np.uint8)
    stripes[:, ::2, 0], stripes[:, 1::2, 2] = 200, 200
    path = tmp_path / "stripes.png"
    cv2.imwrite(str(path), stripes[..., ::-1])
    (record,) = records.examples(
        [("stripes.png", str(path))], [(None, None)], size=(32, 48)
    )
    image = tf.train.Example.FromString(record).features.feature["image"]
    stored = tf.io.decode_jpeg(image.bytes_list.value[0]).numpy()
    assert np.abs(stored - stripes.astype(int)).mean() < 5


def test_images_and_masks_are_resized_on_request():
    parsed = records.parse(example(jpeg()), description, (16, 24))
    assert parsed["image"].shape == (16, 24, 3)
    assert parsed["masks"].shape == (16, 24, 4)
    blocks = masks.reshape(4, 16, 2, 24, 2).mean((2, 4))
    assert (np.moveaxis(parsed["masks"].numpy(), -1, 0) == (blocks >= 0.5)).all()
    assert parsed["truth"].shape == (*TRUTH, 4)


def test_the_same_input_gives_the_same_bytes():
    assert example(jpeg()) == example(jpeg())


@pytest.mark.parametrize("contents", [b"", b"GIF", jpeg()[:-400]])
def test_a_file_that_is_no_whole_image_is_refused_by_name(contents):
    error = example(contents)
    assert isinstance(error, InputError)
    assert f"a.jpg ({len(contents)} bytes)" in str(error)


def test_many_faults_are_counted_and_the_first_listed():
    results = [b"good", *(InputError(f"{k}.jpg is bad.") for k in range(25)), b"good"]
    readable = records.readable(results)
    assert next(readable) == b"good"
    with pytest.raises(InputError, match="25 images .* 0.jpg is.* 19.*And 5 more") as e:
        next(readable)
    assert "20.jpg" not in str(e.value)


@pytest.mark.parametrize("size", [(16, 24), (20, 31), (8, 12)])
def test_smaller_masks_have_no_constant_shift(size, tmp_path):
    black = tf.io.encode_jpeg(np.zeros((32, 48, 3), np.uint8)).numpy()
    (tmp_path / "a.jpg").write_bytes(black)
    made = manifest.Manifest(
        (32, 48), (32, 48), (32, 48), schema.CLOUDS.labels, "reduced", 0, 0, 0, {}, ()
    )
    generator, shifts = np.random.default_rng(0), []

    def centroid(plane):
        height, width = plane.shape
        rows, columns = np.nonzero(np.asarray(plane))
        return np.array([(rows + 0.5).mean() / height, (columns + 0.5).mean() / width])

    for _ in range(40):
        mask = np.zeros((32, 48), np.uint8)
        top, left = generator.integers(0, 16, 2)
        mask[top : top + generator.integers(8, 16)] = 1
        mask[:, : left + 4] = mask[:, left + generator.integers(12, 25) :] = 0
        (example,) = records.examples(
            [("a.jpg", str(tmp_path / "a.jpg"))], [(mask, mask)], size=(32, 48)
        )
        resized = records.parse(tf.constant(example), made, size)["masks"][..., 0]
        shifts.append((centroid(resized) - centroid(mask)) * size)
    assert np.abs(np.mean(shifts, 0)).max() < 0.06


@pytest.mark.parametrize("bands", [1, 2, 4])
def test_other_bands_are_stored_without_loss_and_smaller(bands, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 999, (*SIZE, bands)).astype("uint16")
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(pixels).numpy())
    named, spec = [("a.png", str(tmp_path / "a.png"))], Bands(tuple("abcd"[:bands]))
    spec = spec._replace(dtype="uint16")
    planes = [tuple(packed_bits(each) for each in (masks, truth))]
    (record,) = records.examples(named, planes, size=SIZE, bands=spec)
    described = description._replace(bands=spec)
    parsed = records.parse(tf.constant(record), described)
    assert parsed["image"].dtype == tf.uint16
    np.testing.assert_array_equal(parsed["image"], pixels)
    assert records.parse(record, described, (16, 24))["image"].shape == (16, 24, bands)
    stored = tf.train.Example.FromString(record).features.feature["image"]
    assert len(stored.bytes_list.value[0]) < pixels.nbytes


def test_an_image_of_other_bands_is_an_error_that_names_it(tmp_path):
    paths = [tmp_path / "a.png", tmp_path / "b.png"]
    for path, count in zip(paths, (2, 1), strict=True):
        pixels = np.ones((*SIZE, count), np.uint16)
        path.write_bytes(tf.io.encode_png(pixels).numpy())
    named = [(path.name, str(path)) for path in paths]
    pair = Bands(("vis", "ir"), "uint16")
    results = records.examples(named, [(None, None)] * 2, size=SIZE, bands=pair)
    assert isinstance(results[0], bytes)
    assert "b.png has 1 band of uint16, and must have 2 bands" in str(results[1])
