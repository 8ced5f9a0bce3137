import shutil

import cv2
import numpy as np
import pytest
from conftest import make_tfrecords

from clouds import cli, config, convert, data, manifest, table
from clouds.errors import InputError


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def settings(sample, out, **changes):
    options = {"size": (64, 96), "workers": 1} | changes
    source = {"csv": str(sample / "train.csv"), "images": str(sample / "train_images")}
    return config.Records(**source | {"out": str(out)} | options)


def names(folder, split):
    read = manifest.read(str(folder))
    batches = data.evaluation_batches(str(folder), read, split, 7)
    return [name.decode() for batch in batches for name in batch["name"].numpy()]


def test_every_image_is_on_one_side_of_the_split(sample, records):
    train, val = names(records, "train"), names(records, "val")
    assert len(val) == 4
    assert val == sorted(val)
    assert train != sorted(train)
    assert sorted(train + val) == sorted(table.read(str(sample / "train.csv")).images)


def test_the_output_does_not_depend_on_the_number_of_workers(
    sample, records, tmp_path, monkeypatch
):
    monkeypatch.setattr(convert, "_IMAGES_A_WORKER", 1)
    convert.convert(settings(sample, tmp_path, workers=2))
    assert contents(tmp_path) == contents(records)


def test_masks_are_sampled_from_the_csv_whatever_the_images_size(sample, records):
    read = manifest.read(str(records))
    source = table.read(str(sample / "train.csv"))
    (batch,) = data.evaluation_batches(str(records), read, "val", 4)
    for name, masks in zip(batch["name"].numpy(), batch["masks"].numpy(), strict=True):
        for label, runs in enumerate(
            source.runs(source.images.index(name.decode()), (1400, 2100))
        ):
            full = np.zeros(1400 * 2100, np.uint8)
            for start, length in runs:
                full[start - 1 : start - 1 + length] = 1
            expected = cv2.resize(
                full.reshape(2100, 1400).T,
                (96, 64),
                interpolation=cv2.INTER_NEAREST_EXACT,
            )
            assert (masks[..., label] == expected).all()


def test_shards_share_out_the_train_images(sample, tmp_path):
    made = convert.convert(settings(sample, tmp_path, shards=3))
    assert [shard.examples for shard in made.of_split("train")] == [6, 5, 5]
    assert manifest.read(str(tmp_path)) == made


def test_an_interrupted_making_goes_on_with_the_missing_shards(
    sample, tmp_path, monkeypatch
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    convert.convert(settings(sample, whole, shards=3))

    class Killed(BaseException):
        pass

    made, example = [], convert._example

    def example_until_killed(task):
        if len(made) == 8:
            raise Killed
        made.append(task)
        return example(task)

    monkeypatch.setattr(convert, "_example", example_until_killed)
    with pytest.raises(Killed):
        convert.convert(settings(sample, parts, shards=3))
    with pytest.raises(InputError, match="cut off"):
        manifest.read(str(parts))
    monkeypatch.setattr(convert, "_example", example)
    monkeypatch.setattr(convert, "_IMAGES_A_WORKER", 64)
    first = (parts / "train-00000-of-00003.tfrecord").stat().st_mtime_ns
    convert.convert(settings(sample, parts, shards=3))
    assert (parts / "train-00000-of-00003.tfrecord").stat().st_mtime_ns == first
    assert contents(parts) == contents(whole)


def test_a_finished_folder_is_left_alone(records, sample):
    before = {path: path.stat().st_mtime_ns for path in records.iterdir()}
    assert cli.main(make_tfrecords(sample, records)) == 0
    assert before == {path: path.stat().st_mtime_ns for path in records.iterdir()}


def refused(capsys, arguments, message):
    capsys.readouterr()
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error, error
    assert error.count("\n") == 0
    assert "Traceback" not in error


def spoil(sample, name, contents):
    (sample / "train_images" / name).write_bytes(contents)


FIRST = "0000000.jpg"


def edit(sample, old, new):
    path = sample / "train.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


SPOILINGS = {
    "a missing csv": (lambda s: (s / "train.csv").unlink(), "must be a file"),
    "wrong columns": (lambda s: edit(s, "EncodedPixels", "Mask"), "columns"),
    "an unknown label": (lambda s: edit(s, "_Fish", "_Fisch"), "'Fisch'"),
    "a duplicate row": (lambda s: edit(s, f"{FIRST}_Flower", f"{FIRST}_Fish"), "twice"),
    "an absent image": (
        lambda s: (s / "train_images" / FIRST).unlink(),
        f"1 of 20, the first {FIRST} (row 2)",
    ),
    "a truncated JPEG": (
        lambda s: spoil(s, FIRST, (s / "train_images" / FIRST).read_bytes()[:1500]),
        f"{FIRST}, 1500 bytes",
    ),
    "an image of zero bytes": (lambda s: spoil(s, FIRST, b""), f"{FIRST}, 0 bytes"),
    "a corrupt RLE": (lambda s: edit(s, ",", ",5 1 1 1"), "row 2"),
    "an empty folder": (
        lambda s: (shutil.rmtree(s / "train_images"), (s / "train_images").mkdir()),
        "no file for 20 of 20",
    ),
    "no folder": (lambda s: shutil.rmtree(s / "train_images"), "must be a folder"),
}


@pytest.mark.parametrize("fault", SPOILINGS)
def test_bad_input_is_one_line_and_leaves_nothing(
    fault, copy_of_sample, tmp_path, capsys
):
    spoiling, message = SPOILINGS[fault]
    if fault == "a corrupt RLE":
        path = copy_of_sample / "train.csv"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join([lines[0], f"{FIRST}_Fish,5 1 1 1\n", *lines[2:]]))
    else:
        spoiling(copy_of_sample)
    out = tmp_path / "out"
    refused(capsys, make_tfrecords(copy_of_sample, out), message)
    assert not out.exists() or not list(out.iterdir())


def test_an_error_in_a_worker_is_the_same_error(
    copy_of_sample, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(convert, "_IMAGES_A_WORKER", 1)
    spoil(copy_of_sample, FIRST, b"")
    arguments = make_tfrecords(copy_of_sample, tmp_path / "out")
    arguments[arguments.index("--workers") + 1] = "2"
    refused(capsys, arguments, f"{FIRST}, 0 bytes")
    assert not list((tmp_path / "out").iterdir())


def test_odd_images_are_taken(copy_of_sample, tmp_path):
    images = copy_of_sample / "train_images"
    names = sorted(path.name for path in images.iterdir())
    pixels = cv2.imread(str(images / names[0]))
    png = cv2.imencode(".png", pixels)[1].tobytes()
    spoil(copy_of_sample, names[0], png)
    grey = cv2.imencode(".jpg", pixels[..., 0])[1].tobytes()
    spoil(copy_of_sample, names[1], grey)
    assert cli.main(make_tfrecords(copy_of_sample, tmp_path / "out")) == 0


def test_a_folder_of_other_records_is_refused_and_stays(
    sample, records, capsys, tmp_path
):
    before = contents(records)
    arguments = make_tfrecords(sample, records, "--seed", "5", "--size", "32x32")
    refused(capsys, arguments, "made with another size, seed")
    assert contents(records) == before
    (tmp_path / "theirs.tfrecord").write_bytes(b"precious")
    refused(capsys, make_tfrecords(sample, tmp_path), "theirs.tfrecord")
    assert (tmp_path / "theirs.tfrecord").read_bytes() == b"precious"


def test_overwrite_replaces_other_records(sample, tmp_path):
    convert.convert(settings(sample, tmp_path, shards=3))
    convert.convert(settings(sample, tmp_path, overwrite=True))
    assert len(list(tmp_path.glob("train-*"))) == 1
    assert manifest.read(str(tmp_path)).examples("train") == 16


def test_a_folder_that_cannot_be_written_is_refused(sample, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    arguments = make_tfrecords(sample, tmp_path / "file" / "out")
    refused(capsys, arguments, "can be written")
