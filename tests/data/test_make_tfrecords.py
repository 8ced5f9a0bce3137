import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
from helpers import forked
from helpers.commands import ROOT, make_tfrecords, refused

from clouds import rle, schema
from clouds.cli import main
from clouds.config.data import Records
from clouds.data import annotations, manifest, pipeline, split_files
from clouds.data import make_tfrecords as make_tfrecords_module
from clouds.data.masks.csv_rows import STANDARD
from clouds.errors import InputError
from clouds.runtime import files, pool


def contents(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def settings(sample, out, **changes):
    options = {"size": (64, 96), "workers": 1} | changes
    source = {"csv": str(sample / "train.csv"), "images": str(sample / "train_images")}
    return Records(**source | {"out": str(out)} | options)


def names(folder, split):
    read = manifest.read(str(folder))
    batches = pipeline.evaluation_batches(str(folder), read, split, 7)
    return [name.decode() for batch in batches for name in batch["name"].numpy()]


def test_every_image_is_on_one_side_of_the_split(sample, records):
    train, val = names(records, "train"), names(records, "val")
    assert len(val) == 4
    assert val == sorted(val)
    assert train != sorted(train)
    assert sorted(train + val) == sorted(
        annotations.read(str(sample / "train.csv")).images
    )


def test_the_output_does_not_depend_on_the_number_of_workers(
    sample, records, tmp_path, monkeypatch
):
    monkeypatch.setattr(make_tfrecords_module, "_IMAGES_PER_WORKER", 1)
    make_tfrecords_module.convert(settings(sample, tmp_path, workers=2))
    assert contents(tmp_path) == contents(records)


def test_masks_are_sampled_from_the_csv_whatever_the_images_size(sample, records):
    read = manifest.read(str(records))
    source = annotations.read(str(sample / "train.csv"))
    (batch,) = pipeline.evaluation_batches(str(records), read, "val", 4)
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
    make_tfrecords_module.convert(settings(sample, tmp_path, shards=3))
    made = manifest.read(str(tmp_path))
    assert [shard.examples for shard in made.of_split("train")] == [6, 5, 5]
    assert [shard.examples for shard in made.of_split("val")] == [4]


def test_an_interrupted_making_goes_on_with_the_missing_shards(
    sample, tmp_path, monkeypatch
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    make_tfrecords_module.convert(settings(sample, whole, shards=3))

    class Killed(BaseException):
        pass

    made, examples = [], make_tfrecords_module._examples

    def examples_until_killed(tasks):
        if len(made) == 8:
            raise Killed
        made.extend(tasks)
        return examples(tasks)

    monkeypatch.setattr(pool, "_CHUNK", 1)
    monkeypatch.setattr(make_tfrecords_module, "_examples", examples_until_killed)
    with pytest.raises(Killed):
        make_tfrecords_module.convert(settings(sample, parts, shards=3))
    with pytest.raises(InputError, match="are incomplete"):
        manifest.read(str(parts))
    monkeypatch.setattr(make_tfrecords_module, "_examples", examples)
    monkeypatch.setattr(make_tfrecords_module, "_IMAGES_PER_WORKER", 64)
    first = (parts / "train-00000-of-00003.tfrecord").stat().st_mtime_ns
    make_tfrecords_module.convert(settings(sample, parts, shards=3))
    assert (parts / "train-00000-of-00003.tfrecord").stat().st_mtime_ns == first
    assert contents(parts) == contents(whole)


def test_a_finished_folder_is_left_alone(records, sample):
    before = {path: path.stat().st_mtime_ns for path in records.iterdir()}
    assert main.main(make_tfrecords(sample, records)) == 0
    assert before == {path: path.stat().st_mtime_ns for path in records.iterdir()}


def spoil(sample, name, contents):
    (sample / "train_images" / name).write_bytes(contents)


FIRST = "0000000.jpg"


def edit(sample, old, new):
    path = sample / "train.csv"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


SPOILINGS = {
    "a missing csv": (lambda s: (s / "train.csv").unlink(), "does not exist"),
    "wrong columns": (lambda s: edit(s, "EncodedPixels", "Mask"), "columns"),
    "an unknown label": (lambda s: edit(s, "_Fish", "_Fisch"), "'Fisch'"),
    "a duplicate row": (
        lambda s: edit(s, f"{FIRST}_Flower", f"{FIRST}_Fish"),
        "duplicate of row",
    ),
    "an absent image": (
        lambda s: (s / "train_images" / FIRST).unlink(),
        "1 of 20 images in",
    ),
    "a truncated JPEG": (
        lambda s: spoil(s, FIRST, (s / "train_images" / FIRST).read_bytes()[:1500]),
        f"{FIRST} (1500 bytes)",
    ),
    "an image of zero bytes": (lambda s: spoil(s, FIRST, b""), f"{FIRST} (0 bytes)"),
    "a corrupt RLE": (lambda s: edit(s, ",", ",5 1 1 1"), "row 2"),
    "an empty folder": (
        lambda s: (shutil.rmtree(s / "train_images"), (s / "train_images").mkdir()),
        "holds no images",
    ),
    "no folder": (
        lambda s: shutil.rmtree(s / "train_images"),
        "a folder or zip of images",
    ),
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


def test_all_broken_images_are_named_in_one_run(copy_of_sample, tmp_path, capsys):
    broken = sorted(path.name for path in (copy_of_sample / "train_images").iterdir())
    broken = [broken[place] for place in (0, 7, 8, 19)]
    for name in broken:
        spoil(copy_of_sample, name, b"")
    arguments = make_tfrecords(copy_of_sample, tmp_path / "out", "--shards", "3")
    error = refused(capsys, arguments, "4 images cannot be converted: ")
    assert all(f"{name} (0 bytes)" in error for name in broken)
    assert not list((tmp_path / "out").iterdir())


def test_an_error_in_a_worker_is_the_same_error(
    copy_of_sample, tmp_path, capsys, monkeypatch
):
    forked.in_workers(monkeypatch)
    monkeypatch.setattr(make_tfrecords_module, "_IMAGES_PER_WORKER", 1)
    spoil(copy_of_sample, FIRST, b"")
    arguments = make_tfrecords(copy_of_sample, tmp_path / "out")
    arguments[arguments.index("--workers") + 1] = "2"
    refused(capsys, arguments, f"{FIRST} (0 bytes)")
    assert not list((tmp_path / "out").iterdir())


def test_odd_images_are_taken(copy_of_sample, tmp_path):
    images = copy_of_sample / "train_images"
    names = sorted(path.name for path in images.iterdir())
    pixels = cv2.imread(str(images / names[0]))
    png = cv2.imencode(".png", pixels)[1].tobytes()
    spoil(copy_of_sample, names[0], png)
    grey = cv2.imencode(".jpg", pixels[..., 0])[1].tobytes()
    spoil(copy_of_sample, names[1], grey)
    assert main.main(make_tfrecords(copy_of_sample, tmp_path / "out")) == 0


def test_a_folder_of_other_records_is_refused_and_stays(
    sample, records, capsys, tmp_path
):
    before = contents(records)
    arguments = make_tfrecords(sample, records, "--seed", "5", "--size", "32x32")
    refused(capsys, arguments, "holds records with another size, seed")
    assert contents(records) == before
    (tmp_path / "theirs.tfrecord").write_bytes(b"precious")
    refused(capsys, make_tfrecords(sample, tmp_path), "theirs.tfrecord")
    assert (tmp_path / "theirs.tfrecord").read_bytes() == b"precious"


def test_overwrite_replaces_other_records(sample, tmp_path):
    make_tfrecords_module.convert(settings(sample, tmp_path, shards=3))
    make_tfrecords_module.convert(settings(sample, tmp_path, overwrite=True))
    assert len(list(tmp_path.glob("train-*"))) == 1
    assert manifest.read(str(tmp_path)).examples("train") == 16


def test_a_folder_that_cannot_be_written_is_refused(sample, capsys, tmp_path):
    (tmp_path / "file").write_text("")
    arguments = make_tfrecords(sample, tmp_path / "file" / "out")
    refused(capsys, arguments, "cannot be written")


def test_records_in_folds_hold_each_image_once(sample, tmp_path):
    make_tfrecords_module.convert(settings(sample, tmp_path, folds=3))
    sides = [manifest.read(str(tmp_path), fold=fold) for fold in range(3)]
    held = []
    for side in sides:
        assert side.examples("val") + side.examples("train") == 20
        batches = pipeline.evaluation_batches(str(tmp_path), side, "val", 7)
        of_fold = {name for batch in batches for name in batch["name"].numpy()}
        batches = pipeline.evaluation_batches(str(tmp_path), side, "train", 7)
        assert not of_fold & {n for batch in batches for n in batch["name"].numpy()}
        held += of_fold
    assert len(held) == len(set(held)) == 20
    rows = (tmp_path / split_files.FILE).read_text().splitlines()
    assert rows[0] == "image,split"
    assert rows[1].startswith("0000000.jpg,fold")
    assert len(rows) == 21


@pytest.mark.parametrize("fold", [None, 3, -1])
def test_a_fold_that_is_not_there_is_refused(fold, sample, tmp_path):
    make_tfrecords_module.convert(settings(sample, tmp_path, folds=3))
    with pytest.raises(InputError, match="--fold must be from 0 to 2"):
        manifest.read(str(tmp_path), fold=fold)


def test_records_without_folds_have_none(records):
    with pytest.raises(InputError, match="cannot be used"):
        manifest.read(str(records), fold=0)


def test_the_split_is_written_for_others(sample, records):
    rows = dict(
        row.split(",") for row in (records / split_files.FILE).read_text().split()[1:]
    )
    assert sorted(rows) == annotations.read(str(sample / "train.csv")).images
    val = [image for image, split in rows.items() if split == "val"]
    assert val == names(records, "val")


def test_records_by_group_are_verified_and_resumed(sample, tmp_path, capsys):
    table = tmp_path / "groups.csv"
    rows = [f"{k:07x}.jpg,{k // 2}\n" for k in range(20)]
    table.write_text("image,pair\n" + "".join(rows))
    out = tmp_path / "records"
    flags = ["--group-by", "pair", "--groups", str(table)]
    command = [*make_tfrecords(sample, out), *flags]
    assert main.main(command) == 0
    stored = manifest.read(str(out))
    groups = split_files.read_groups(str(out), stored)
    assert groups == {f"{k:07x}.jpg": str(k // 2) for k in range(20)}
    held = names(out, "val")
    assert {groups[name] for name in held}.isdisjoint(
        groups[name] for name in names(out, "train")
    )
    assert main.main(command) == 0
    assert main.main(["make_tfrecords", "--verify", str(out)]) == 0
    table.write_text(table.read_text().replace(",9\n", ",8\n"))
    refused(capsys, command, "records with another split or groups")
    path = out / split_files.FILE
    path.write_text(path.read_text().replace(",9\n", ",8\n"))
    refused(capsys, ["make_tfrecords", "--verify", str(out)], "or was changed")


def test_a_split_file_that_divides_groups_is_warned_of(sample, tmp_path, capsys):
    split, table = tmp_path / "split.csv", tmp_path / "groups.csv"
    rows = [f"{k:07x}.jpg,{'val' if k < 5 else 'train'}\n" for k in range(20)]
    split.write_text("image,split\n" + "".join(rows))
    table.write_text(
        "image,pair\n" + "".join(f"{k:07x}.jpg,{k // 2}\n" for k in range(20))
    )
    flags = ["--split-file", split, "--group-by", "pair", "--groups", table]
    command = [*make_tfrecords(sample, tmp_path / "out"), *map(str, flags)]
    assert main.main(command) == 0
    assert names(tmp_path / "out", "val") == [f"{k:07x}.jpg" for k in range(5)]
    assert "1 of 10 groups are in several splits, first '2'" in capsys.readouterr().err


def zipped(sample, path, folder="train_images"):
    with zipfile.ZipFile(path, "w") as archive:
        for image in (sample / "train_images").iterdir():
            archive.write(image, f"{folder}/{image.name}")
        archive.writestr("test_images/other.jpg", b"")
    return path


@pytest.mark.parametrize("inside", ["", "/train_images"])
def test_images_in_a_zip_give_the_same_records(inside, sample, records, tmp_path):
    archive = zipped(sample, tmp_path / "clouds.zip")
    out = tmp_path / "out"
    make_tfrecords_module.convert(settings(sample, out, images=f"{archive}{inside}"))
    assert contents(out) == contents(records)


def test_exact_decoding_is_the_notebooks(sample, tmp_path):
    make_tfrecords_module.convert(
        settings(sample, tmp_path, decode="exact", size=(30, 40))
    )
    read = manifest.read(str(tmp_path))
    (batch,) = pipeline.evaluation_batches(str(tmp_path), read, "val", 4)
    for name, image in zip(batch["name"].numpy(), batch["image"].numpy(), strict=True):
        original = cv2.imread(str(sample / "train_images" / name.decode()))[..., ::-1]
        # JPEG at quality 95 lies between.
        assert np.abs(cv2.resize(original, (40, 30)) - image.astype(int)).mean() < 5


def test_verifying_whole_records_succeeds(records, capsys):
    assert main.main(["make_tfrecords", "--verify", str(records)]) == 0
    shown = capsys.readouterr().out
    assert "train 16, val 4; all shards were read and are intact" in shown


def without_checksum(folder, change):
    """Changes a manifest as if it was of an earlier version, without a checksum."""
    path = folder / manifest.FILE
    fields = json.loads(path.read_text())
    del fields["checksum"]
    path.write_text(change(json.dumps(fields)))


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (
            '"examples": 16',
            '"examples": 15',
            "has 16 records, and the manifest says 15",
        ),
        ('"examples": 4', '"examples": 5', "has 4 records, and the manifest"),
        ("train-00000", "trqin-00000", "wrong: the name of trqin-00000"),
    ],
)
def test_verifying_counts_the_records(records, tmp_path, capsys, old, new, fault):
    copy = Path(shutil.copytree(records, tmp_path / "copy"))
    without_checksum(copy, lambda text: text.replace(old, new))
    refused(capsys, ["make_tfrecords", "--verify", str(copy)], fault)


def test_verifying_compares_the_splits(records, tmp_path, capsys):
    copy = Path(shutil.copytree(records, tmp_path / "copy"))
    path = copy / split_files.FILE
    path.write_text(path.read_text().replace(",val", ",train", 1))
    refused(capsys, ["make_tfrecords", "--verify", str(copy)], "split.csv does not")
    path.unlink()
    assert main.main(["make_tfrecords", "--verify", str(copy)]) == 0


def test_what_was_made_before_is_told(sample, tmp_path, capsys):
    flags = make_tfrecords(sample, tmp_path, "--size", "48x32", "--shards", "2")
    assert main.main(flags) == 0
    first = capsys.readouterr()
    assert "Made before" not in first.out
    assert "warning: --size should be height x width. Received: 48x32" in first.err
    assert main.main(flags) == 0
    left = "Already complete: 3 of 3 shards; --overwrite makes them again."
    assert left in capsys.readouterr().out
    made = manifest.read(str(tmp_path))
    cut = (*made.shards[:2], made.shards[2]._replace(sha256=None, size=None))
    manifest.save(str(tmp_path), made._replace(shards=cut))
    assert main.main(flags) == 0
    assert "Already complete: 2 of 3 shards.\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoiling", "fault"),
    [
        (lambda b: b[:9999] + bytes([b[9999] ^ 1]) + b[10000:], "damaged after record"),
        (lambda b: b[:-100], "damaged after record 15"),
        (lambda b: b + b, "has 32 of 16 records"),
        (None, "is missing"),
    ],
)
def test_verifying_names_the_shard_and_what_is_wrong(
    spoiling, fault, records, tmp_path, capsys
):
    copy = Path(shutil.copytree(records, tmp_path / "copy"))
    shard = copy / "train-00000-of-00001.tfrecord"
    if spoiling:
        shard.write_bytes(spoiling(shard.read_bytes()))
    else:
        shard.unlink()
    capsys.readouterr()
    assert main.main(["make_tfrecords", "--verify", str(copy)]) == 2
    shown = capsys.readouterr()
    assert f"{shard.name} " in shown.out
    assert fault in shown.out
    assert "has 1 fault" in shown.err


def test_a_grid_that_the_runs_speak_against_is_warned_of(
    copy_of_sample, tmp_path, capsys
):
    flags = make_tfrecords(copy_of_sample, tmp_path / "right")
    assert main.main(flags) == 0
    assert "warning" not in capsys.readouterr().err
    source = annotations.read(str(copy_of_sample / "train.csv"))
    small = [
        f"{name}_{label},{rle.encode(rle.decode(text, schema.GRID)[::2, ::2])}\n"
        for name, texts in zip(source.images, source.texts, strict=True)
        for label, text in zip(schema.CLOUDS.labels, texts, strict=True)
    ]
    header = ",".join(STANDARD.columns) + "\n"
    (copy_of_sample / "train.csv").write_text(header + "".join(small))
    flags = make_tfrecords(copy_of_sample, tmp_path / "wrong")
    assert main.main(flags) == 0
    warned = "train.csv: most runs start about"
    assert warned in capsys.readouterr().err
    flags = make_tfrecords(copy_of_sample, tmp_path / "mended", "--grid", "700x1050")
    assert main.main(flags) == 0
    assert "warning" not in capsys.readouterr().err


def test_flags_must_name_what_to_convert_or_to_verify(capsys):
    refused(capsys, ["make_tfrecords", "--csv", "x"], "must be given, or --verify")


def test_a_second_run_into_the_same_folder_is_refused(sample, tmp_path, capsys):
    with files.sole_writer(str(tmp_path), "--out"):
        refused(capsys, make_tfrecords(sample, tmp_path), "another process is writing")
    assert not list(tmp_path.iterdir())
    assert main.main(make_tfrecords(sample, tmp_path)) == 0


def test_records_go_to_any_file_system_of_tensorflow(sample, records):
    make_tfrecords_module.convert(settings(sample, "ram://records"))
    read = manifest.read("ram://records")
    assert read == manifest.read(str(records))
    batches = [
        len(images) for images, _ in pipeline.val_batches("ram://records", read, 3)
    ]
    assert batches == [3, 1]


def test_a_full_disk_keeps_what_is_finished(sample, tmp_path, monkeypatch, capsys):
    examples, made = make_tfrecords_module._examples, []

    def examples_until_full(tasks):
        made.extend(tasks)
        if len(made) == 8:
            raise tf.errors.ResourceExhaustedError(None, None, "No space left")
        return examples(tasks)

    monkeypatch.setattr(pool, "_CHUNK", 1)
    monkeypatch.setattr(make_tfrecords_module, "_examples", examples_until_full)
    arguments = make_tfrecords(sample, tmp_path, "--shards", "3")
    refused(capsys, arguments, "No space left")
    monkeypatch.setattr(make_tfrecords_module, "_examples", examples)
    assert (tmp_path / "train-00000-of-00003.tfrecord").exists()
    assert main.main(arguments) == 0
    assert main.main(["make_tfrecords", "--verify", str(tmp_path)]) == 0


def test_killed_at_five_random_moments_the_records_are_those_of_an_undisturbed_run(
    sample, tmp_path
):
    whole, out = tmp_path / "whole", tmp_path / "out"
    make_tfrecords_module.convert(settings(sample, whole, shards=8))
    flags = make_tfrecords(sample, out, "--shards", "8")
    random = np.random.default_rng(0)
    for _ in range(5):
        before = contents(out) if out.exists() else {}
        making = forked.Command(*flags)
        while making.runs() and (
            not out.exists() or set(before) >= {path.name for path in out.iterdir()}
        ):
            time.sleep(0.002)
        time.sleep(random.uniform(0, 0.05))
        making.kill()
    assert main.main(flags) == 0
    assert contents(out) == contents(whole)


INTERRUPTED = """
import sys, time
from pathlib import Path

from clouds.cli import main
from clouds.runtime import startup


def examples(tasks):
    Path(sys.argv[1], "converting").touch()
    time.sleep(600)


if __name__ == "__main__":
    convert = startup.load("clouds.data.make_tfrecords")
    pool = startup.load("clouds.runtime.pool")
    convert._IMAGES_PER_WORKER, pool._CHUNK = 1, 1
    convert._examples = examples
    sys.exit(main.main(sys.argv[2:]))
Path(sys.argv[1], "born").touch()
time.sleep(1)
"""


@pytest.mark.parametrize(("moment", "times"), [("born", 1), ("converting", 2)])
def test_interrupts_as_a_terminal_sends_them_end_a_making_that_then_goes_on(
    moment, times, sample, tmp_path
):
    out = tmp_path / "out"
    flags = make_tfrecords(sample, out, "--workers", "2")
    (tmp_path / "making.py").write_text(INTERRUPTED)
    making = subprocess.Popen(
        [sys.executable, tmp_path / "making.py", tmp_path, *flags],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        while making.poll() is None and not (tmp_path / moment).exists():
            time.sleep(0.01)
        for _ in range(times):
            os.killpg(making.pid, signal.SIGINT)
            time.sleep(0.01)
        _, shown = making.communicate(timeout=300)
    finally:
        making.kill()
        making.stderr.close()
        making.wait()
    assert making.returncode == 130, shown
    last = "make_tfrecords: interrupted. Run the same command again to resume.\n"
    assert shown in (last, ""), shown
    assert main.main(flags[:-2]) == 0
    assert main.main(["make_tfrecords", "--verify", str(out)]) == 0


def test_verifying_records_whose_making_was_cut_off_says_so(records, tmp_path, capsys):
    copy = Path(shutil.copytree(records, tmp_path / "copy"))
    read = manifest.read(str(records))
    cut_off = tuple(shard._replace(sha256=None, size=None) for shard in read.shards)
    manifest.save(str(copy), read._replace(shards=cut_off))
    message = "are incomplete. Run the same bin/make_tfrecords again"
    refused(capsys, ["make_tfrecords", "--verify", str(copy)], message)


def test_test_images_become_records_without_masks_in_the_order_of_the_csv(
    sample, tmp_path
):
    csv = sample / "sample_submission.csv"
    source = ["--csv", str(csv), "--images", str(sample / "test_images")]
    assert main.main([*unlabelled(tmp_path), *source]) == 0
    read = manifest.read(str(tmp_path), labelled=False)
    batches = pipeline.test_batches(str(tmp_path), read, 2)
    names = [name.decode() for b in batches for name in b["name"].numpy()]
    assert names == annotations.read(str(csv)).images
    assert [sorted(batch) for batch in batches] == [["image", "name"]] * 2
    assert main.main(["make_tfrecords", "--verify", str(tmp_path)]) == 0


def test_a_folder_alone_becomes_records_without_masks(sample, tmp_path, capsys):
    source = ["--images", str(sample / "test_images")]
    assert main.main([*unlabelled(tmp_path), *source]) == 0
    assert "images: test 3" in capsys.readouterr().out
    other = ["--images", str(sample / "train_images")]
    assert main.main([*unlabelled(tmp_path), *other]) == 2
    assert "holds records with another csv" in capsys.readouterr().err


def test_training_refuses_records_without_masks(sample, tmp_path, capsys):
    source = ["--images", str(sample / "test_images")]
    assert main.main([*unlabelled(tmp_path), *source]) == 0
    run = str(tmp_path / "run")
    assert main.main(["train", "--records", str(tmp_path), "--run", run]) == 2
    assert "have no masks" in capsys.readouterr().err


def unlabelled(out):
    return ["make_tfrecords", "--unlabelled", "--out", str(out), "--size", "64x96"]


@pytest.mark.parametrize("name", ["a.jpg", "train-00000-of-00004.tfrecord"])
def test_a_folder_of_other_things_is_refused_unless_it_shall_be_overwritten(
    sample, tmp_path, capsys, name
):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / name).write_bytes(b"mine")
    assert main.main(make_tfrecords(sample, tmp_path)) == 2
    assert f"holds {name}, but no manifest of records. Give" in capsys.readouterr().err
    assert (tmp_path / name).read_bytes() == b"mine"
    assert main.main(make_tfrecords(sample, tmp_path, "--overwrite")) == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_bands_of_16_bits_are_stored_as_painted(band_sample, band_records, capsys):
    stored = manifest.read(str(band_records))
    assert stored.bands == schema.Bands(("vis", "ir"), "uint16")
    assert stored.grid == (64, 96)
    batches = pipeline.evaluation_batches(str(band_records), stored, "val", 4)
    for batch in batches.as_numpy_iterator():
        for name, image in zip(batch["name"], batch["image"], strict=True):
            path = band_sample / "train_images" / name.decode()
            expected = tf.io.decode_png(path.read_bytes(), 0, tf.uint16)
            np.testing.assert_array_equal(image, expected)
    assert main.main(["make_tfrecords", "--verify", str(band_records)]) == 0
    assert "all shards were read and are intact" in capsys.readouterr().out


def test_records_of_other_bands_do_not_resume(band_sample, band_records, capsys):
    arguments = make_tfrecords(band_sample, band_records, "--bands", "native")
    message = "holds records with another set of bands (their names or type)"
    refused(capsys, arguments, message)


def test_a_conversion_that_loses_depth_says_so(band_sample, tmp_path, capsys):
    assert main.main(make_tfrecords(band_sample, tmp_path)) == 0
    warning = capsys.readouterr().err
    assert "000.png has more than 8 bits per value, and becomes 8-bit RGB" in warning
    assert manifest.read(str(tmp_path)).bands == schema.RGB
    assert "bands" not in json.loads((tmp_path / "manifest.json").read_text())


def test_colours_of_8_bits_cannot_be_kept_as_jpegs(sample, tmp_path, capsys):
    arguments = make_tfrecords(sample, tmp_path, "--bands", "native")
    refused(capsys, arguments, "it is a JPEG; images of other bands than RGB must")


def test_names_of_bands_fit_the_files(band_sample, tmp_path, capsys):
    arguments = make_tfrecords(band_sample, tmp_path, "--band-names", "vis,ir")
    refused(capsys, arguments, "--band-names must be used with --bands native")
    arguments += ["--bands", "native"]
    arguments[arguments.index("vis,ir")] = "vis"
    refused(capsys, arguments, "must be the names of the 2 bands of")


def test_places_are_kept_beside_the_same_records(
    copy_of_sample, records, tmp_path, capsys
):
    images = sorted((copy_of_sample / "train_images").iterdir())
    table, out = tmp_path / "places.csv", tmp_path / "records"
    header = "image,time,west,south,east,north"
    table.write_text(f"{header}\n{images[0].name},2015-02-05,170,10,-169,24\n")
    images[1].with_suffix(".jgw").write_text("0.1\n0\n0\n-0.1\n0.05\n9.55\n")
    images[2].with_suffix(".jgw").write_text("1\n0\n0\n")
    flags = ["--places", str(table)]
    assert main.main(make_tfrecords(copy_of_sample, out, *flags)) == 0
    printed = capsys.readouterr()
    assert f"18 of 20 images have no place, first: {images[2].with_suffix('.jgw')}" in (
        printed.err
    )
    assert "places.csv: 2 places" in printed.out
    stored = manifest.read(str(out))
    lines = Path(manifest.places(str(out), stored)).read_text().splitlines()
    assert lines == [
        f"{header},satellite",
        f"{images[0].name},2015-02-05,170.0,10.0,-169.0,24.0,",
        f"{images[1].name},,0.0,0.0,14.4,9.6,",
    ]
    for shard in stored.shards:
        same = (records / shard.name).read_bytes()
        assert (out / shard.name).read_bytes() == same
    assert not (records / manifest.PLACES).exists()
    assert main.main(make_tfrecords(copy_of_sample, out, *flags)) == 0
    assert "Already complete: 2 of 2 shards" in capsys.readouterr().out
    images[2].with_suffix(".jgw").unlink()
    table.write_text(f"{header}\n{images[0].name},2015-02-06,170,10,-169,24\n")
    assert main.main(make_tfrecords(copy_of_sample, out, *flags)) == 2
    assert "holds records with another csv of places." in capsys.readouterr().err
    table.write_text(f"{header}\nother.jpg,,170,10,-169,24\n")
    images[1].with_suffix(".jgw").unlink()
    none = make_tfrecords(copy_of_sample, tmp_path / "none", *flags)
    assert main.main(none) == 2
    assert "has a place of none of 20 images: " in capsys.readouterr().err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / manifest.PLACES).write_text("image\n")
    fresh = make_tfrecords(copy_of_sample, tmp_path / "other", "--overwrite")
    assert main.main(fresh) == 0
    assert not (tmp_path / "other" / manifest.PLACES).exists()
    (out / manifest.PLACES).write_text("image\n")
    verify = ["make_tfrecords", "--verify", str(out)]
    refused(capsys, verify, "is missing or was changed, and has the places")
