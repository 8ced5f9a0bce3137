"""Data of other labels and forms, from the csv to served masks, pixel by pixel."""

import csv
import json

import numpy as np
import pytest
import tensorflow as tf
import tifffile
from helpers import painters, small

from clouds.cli import main
from clouds.data import manifest, pipeline
from clouds.evaluation import results
from clouds.runs import run_folder
from clouds.serving import model_store, protocol


@pytest.fixture(autouse=True)
def tiny(monkeypatch, few_pictures):
    monkeypatch.setattr("clouds.models.unet.build", small.build)


def command(*words):
    assert main.main(list(map(str, words))) == 0


def write_images(folder, painted, suffix):
    """Writes images: the names, and the masks by name."""
    folder.mkdir()
    masks = {}
    for number, (image, planes) in enumerate(painted):
        masks[f"{number:03d}{suffix}"] = planes
        painters.write_png(folder / f"{number:03d}{suffix}", image)
    return masks


def check_records(folder, masks, labels, pixels=None):
    """Compares the records' masks for evaluation, and images, with the painted ones."""
    stored = manifest.read(str(folder))
    assert stored.labels == labels
    seen = 0
    for split in ("train", "val"):
        batches = pipeline.evaluation_batches(str(folder), stored, split, 4)
        for batch in batches.as_numpy_iterator():
            for name, truth in zip(batch["name"], batch["truth"], strict=True):
                np.testing.assert_array_equal(truth, masks[name.decode()])
                seen += 1
            for name, image in zip(batch["name"], batch["image"], strict=True):
                if pixels:
                    np.testing.assert_array_equal(image, pixels[name.decode()])
    assert seen == len(masks)


def train_to_export(tmp_path, records, images, *flags, training=()):
    """Trains, tunes, predicts and exports: the folders of the prediction and model."""
    run, found, model = (tmp_path / name for name in ("run", "found", "model"))
    options = ["--epochs", 8, "--batch-size", 4, "--learning-rate", 0.05]
    options += ["--batch-norm-momentum", 0.5, "--precision", "float32", "--tune"]
    options += ["--grid-distortion", 0, "--elastic", 0, "--stop-patience", 20]
    command("train", "--records", records, "--run", run, *options, *training)
    source = ["--run", run, "--images", images, "--out", found]
    command("predict", *source, "--masks", "--coco", "--geojson", *flags)
    command("export", "--run", run, "--out", model)
    return run, found, model


def check_masks(found, model, images, labels, grid, rows_of, pixels=None):
    """Compares the csv, the PNGs, COCO and the served masks of each image."""
    with (found / "submission_post.csv").open() as file:
        texts = rows_of(csv.DictReader(file))
    version = model_store.Model(str(model), "clouds").version
    assert (version.spec.labels, version.spec.grid) == (labels, grid)
    serve = version.signatures[protocol.DEFAULT]
    coco = json.loads((found / "coco.json").read_text())
    assert [each["name"] for each in coco["categories"]] == list(labels)
    drawn = 0
    for path in sorted(images.iterdir()):
        contents = np.array(path.read_bytes(), object)
        if serve.takes_files:
            (row,) = serve([{model_store.FILES: contents}])
        if pixels:
            by_number = version.signatures["images"]([{"images": pixels[path.name]}])
            row = by_number[0] if not serve.takes_files else row
            for name, value in by_number[0].items():
                np.testing.assert_array_equal(value, row[name])
        assert row["label"].astype(str).tolist() == list(labels)
        assert row["grid"].tolist() == list(grid)
        for label, text in zip(labels, row["rle"].astype(str), strict=True):
            assert texts[path.name, label] == text
            mask = painters.decode(text, grid)
            png = tf.io.decode_png(
                tf.io.read_file(str(found / "masks" / f"{path.name}_{label}.png"))
            )
            np.testing.assert_array_equal(png[..., 0].numpy() > 0, mask)
            drawn += mask.any()
    assert drawn > 3
    return texts


def tuned_dice(run):
    return run_folder.rule_facts(str(run))["dice"]["tuned"]["mean"]["value"]


def test_steel_sheets_with_classes_in_a_column_become_served_masks(tmp_path):
    size = (256, 1600)
    images = tmp_path / "images"
    masks = write_images(images, painters.paint(12, size, 4), ".jpg")
    with (tmp_path / "train.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["", "ImageId", "ClassId", "EncodedPixels"])
        for name, planes in masks.items():
            for k in np.flatnonzero(planes.any((0, 1))).tolist():
                # The upper and the lower half, as of two objects.
                for half in (slice(0, 128), slice(128, 256)):
                    part = np.zeros_like(planes[..., k])
                    part[half] = planes[half, :, k]
                    if part.any():
                        rows.writerow([0, name, k + 1, painters.runs(part)])
    labels = ("1", "2", "3", "4")
    records = tmp_path / "records"
    source = ["--csv", tmp_path / "train.csv", "--images", images, "--out", records]
    command("make_tfrecords", *source, "--size", "64x400", "--unlisted", "empty")
    check_records(records, masks, labels)
    sample = tmp_path / "sample_submission.csv"
    lines = [f"{name},1 1,{k}" for name in sorted(masks) for k in (1, 2, 3, 4)]
    sample.write_text("\n".join(["ImageId,EncodedPixels,ClassId", *lines]) + "\n")
    flags = ["--sample-submission", sample]
    run, found, model = train_to_export(tmp_path, records, images, *flags)
    header = (found / "submission_post.csv").read_text().partition("\n")[0]
    assert header == "ImageId,EncodedPixels,ClassId"
    command("submit-check", found / "submission_post.csv", *flags, "--grid", "256x1600")

    def rows_of(table):
        return {(row["ImageId"], row["ClassId"]): row["EncodedPixels"] for row in table}

    check_masks(found, model, images, labels, size, rows_of)
    assert tuned_dice(run) > 0.5


def test_ships_of_one_label_and_several_rows_become_served_masks(tmp_path, capsys):
    size = (96, 96)
    images = tmp_path / "images"
    masks = write_images(images, painters.paint(16, size, 1), ".png")
    lines = []
    for name, planes in masks.items():
        mask = planes[..., 0]
        halves = [mask.copy(), mask.copy()]
        halves[0][:, 40:], halves[1][:, :40] = False, False
        texts = [painters.runs(half, order="C", base=0) for half in halves]
        lines += [f"{name},{text}" for text in texts if text] or [f"{name},-1"]
    (tmp_path / "train.csv").write_text("\n".join(["ImageId,EncodedPixels", *lines]))
    records = tmp_path / "records"
    source = ["--csv", tmp_path / "train.csv", "--images", images, "--out", records]
    options = ["--size", "96x96", "--labels", "ship", "--rle-order", "row"]
    command("make_tfrecords", *source, *options, "--rle-base", 0)
    check_records(records, masks, ("ship",))
    flags = ["--submission-format", "image"]
    run, found, model = train_to_export(tmp_path, records, images, *flags)

    def rows_of(table):
        return {(row["ImageId"], "ship"): row["EncodedPixels"] for row in table}

    check_masks(found, model, images, ("ship",), size, rows_of)
    assert tuned_dice(run) > 0.5
    again = ["predict", "--run", run, "--images", images, "--out", found, *flags]
    again = [*map(str, again), "--masks", "--coco", "--geojson"]
    assert main.main(again) == 0
    assert "already predicted, 16 images" in capsys.readouterr().out
    assert main.main([*again, "--clean-on", "network"]) == 2
    assert 'grid "submission", not "network"' in capsys.readouterr().err
    command("evaluate", "--records", records, "--run", run)
    assert results.read(str(run)).labels == ["ship"]
    command("report", "--run", run)


def test_seven_labels_with_two_bands_of_16_bits_become_served_masks(tmp_path):
    size, labels = (64, 96), tuple("abcdefg")
    images = tmp_path / "images"
    painted = list(painters.paint_bands(16, size, 7, 2))
    masks = write_images(images, painted, ".png")
    pixels = {name: image for name, (image, _) in zip(masks, painted, strict=True)}
    folder = tmp_path / "masks"
    folder.mkdir()
    annotations = []
    for number, planes in enumerate(masks.values()):
        for k in np.flatnonzero(planes.any((0, 1))).tolist():
            mask = planes[..., k]
            painters.write_png(folder / f"{number:03d}_{labels[k]}.png", mask * 255)
            borders = np.flatnonzero(np.diff(mask.ravel("F"), prepend=0, append=0))
            counts = np.diff([0, *borders, mask.size]).tolist()
            annotation = {"image_id": number, "category_id": k + 1}
            annotation["segmentation"] = {"size": size, "counts": counts}
            annotations.append(annotation)
    shape = dict(zip(("height", "width"), size, strict=True))
    fields = {
        "images": [
            {"id": k, "file_name": name, **shape} for k, name in enumerate(masks)
        ],
        "categories": [{"id": k + 1, "name": label} for k, label in enumerate(labels)],
        "annotations": annotations,
    }
    (tmp_path / "coco.json").write_text(json.dumps(fields))
    for csv_file, out in (("masks", "records"), ("coco.json", "again")):
        source = ["--csv", tmp_path / csv_file, "--images", images]
        options = ["--size", "64x96", "--unlisted", "empty", "--out", tmp_path / out]
        options += ["--bands", "native", "--band-names", "vis,ir"]
        command("make_tfrecords", *source, *options)
        check_records(tmp_path / out, masks, labels, pixels)
    training = ["--preprocess", "statistics", "--show-bands", "vis,ir,ir"]
    run, found, model = train_to_export(
        tmp_path, tmp_path / "records", images, training=training
    )
    check_masks(found, model, images, labels, size, by_image_and_label, pixels)
    assert tuned_dice(run) > 0.5
    command("evaluate", "--records", tmp_path / "records", "--run", run)
    command("report", "--run", run)
    assert "2 bands of uint16 (vis, ir)" in (model / "1/model_card.md").read_text()


def test_values_of_five_bands_in_tiffs_become_served_masks(tmp_path, capsys):
    pytest.importorskip("rasterio", reason="`bin/setup geo` installs it")
    size, labels = (64, 96), ("a", "b")
    images, folder = tmp_path / "images", tmp_path / "masks"
    painted = list(painters.paint_bands(16, size, 2, 5, np.float32))
    pixels = {f"{k:03d}.tif": 200 + image / 40 for k, (image, _) in enumerate(painted)}
    masks = {f"{k:03d}.tif": planes for k, (_, planes) in enumerate(painted)}
    images.mkdir()
    folder.mkdir()
    for name, image in pixels.items():
        options = {"photometric": "minisblack", "planarconfig": "contig"}
        tifffile.imwrite(images / name, image, **options)
        values = (masks[name] * np.array([1, 2])).sum(-1).astype(np.uint8)
        painters.write_png(folder / f"{name[:3]}.png", values)
    source = ["--csv", folder, "--images", images, "--out", tmp_path / "records"]
    options = ["--size", "64x96", "--unlisted", "empty", "--labels", "a,b"]
    command("make_tfrecords", *source, *options, "--bands", "native")
    check_records(tmp_path / "records", masks, labels, pixels)
    options = ["--preprocess", "statistics"]
    run, found, model = train_to_export(
        tmp_path, tmp_path / "records", images, training=options
    )
    assert "no PNG holds 5 bands of float32" in capsys.readouterr().out
    check_masks(found, model, images, labels, size, by_image_and_label, pixels)
    assert tuned_dice(run) > 0.5


def by_image_and_label(table):
    """Returns the texts of a submission."""
    rows = ((row["Image_Label"].rpartition("_"), row["EncodedPixels"]) for row in table)
    return {(image, label): text for (image, _, label), text in rows}
