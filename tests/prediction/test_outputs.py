import copy
import json

import cv2
import numpy as np
import pytest
from helpers.references import painted
from pycocotools.coco import COCO

from clouds import rle, schema
from clouds.config.prediction import Prediction
from clouds.prediction import outputs, writers
from clouds.prediction.journal import Entry

SIZE = schema.SUBMISSION_SIZE


def blobs(seed):
    noise = np.random.default_rng(seed).normal(size=(9, 13, 4)).astype(np.float32)
    masks = cv2.resize(noise, SIZE[::-1], interpolation=cv2.INTER_CUBIC) > 0.5
    masks[..., seed % 4] = False
    return masks


def entry(image, seed):
    masks = blobs(seed)
    texts = [rle.encode(masks[..., label]) for label in range(4)]
    scores = [0.5 + seed / 10 if text else 0.0 for text in texts]
    return Entry(image=image, plain=texts[::-1], cleaned=texts, scores=scores)


ENTRIES = [entry("a.jpg", 0), entry("b, c.png", 1), entry("d.jpg", 2)]


def settings(out, **fields):
    return Prediction(run=("r",), images="i", out=str(out), **fields)


def write(out, entries=ENTRIES, orders=None, **fields):
    outputs.write(out, settings(out, **fields), iter(entries), orders or {})
    return out


def test_rows_come_in_the_order_of_the_entries_and_of_their_labels(tmp_path):
    write(tmp_path, ENTRIES[::2], {"d.jpg": [3, 1, 0, 2]})
    for name, field in (
        ("submission.csv", "plain"),
        ("submission_post.csv", "cleaned"),
    ):
        expected = ["Image_Label,EncodedPixels"]
        for one, order in ((ENTRIES[0], range(4)), (ENTRIES[2], (3, 1, 0, 2))):
            texts = getattr(one, field)
            expected += [
                f"{one.image}_{schema.CLOUDS.labels[k]},{texts[k]}" for k in order
            ]
        assert (tmp_path / name).read_text().splitlines() == expected


def test_nothing_is_written_that_was_not_asked_for(tmp_path):
    write(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(outputs.SUBMISSIONS)


def test_masks_are_pictures_of_black_and_white(tmp_path):
    write(tmp_path, masks=True)
    assert len(list((tmp_path / "masks").iterdir())) == 12
    for one in ENTRIES:
        for k, label in enumerate(schema.CLOUDS.labels):
            path = tmp_path / "masks" / f"{one.image}_{label}.png"
            read = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(
                read, one.masks((350, 525))[..., k] * np.uint8(255)
            )


def features(out, **fields):
    write(out, geojson=True, **fields)
    collection = json.loads((out / "masks.geojson").read_text())
    assert collection["type"] == "FeatureCollection"
    return collection


def polygons_of(feature):
    geometry = feature["geometry"]
    found = geometry["coordinates"]
    assert geometry["type"] in ("Polygon", "MultiPolygon")
    return [found] if geometry["type"] == "Polygon" else found


def test_polygons_in_pixels_paint_the_masks(tmp_path):
    collection = features(tmp_path)
    assert "350x525" in collection["coordinate_system"]
    found = {
        (feature["properties"]["image"], feature["properties"]["label"]): feature
        for feature in collection["features"]
    }
    # One label of each image has an empty mask, and so no feature.
    assert len(found) == len(collection["features"]) == 9
    kinds = {feature["geometry"]["type"] for feature in collection["features"]}
    assert "MultiPolygon" in kinds
    for one in ENTRIES:
        for k, label in enumerate(schema.CLOUDS.labels):
            mask = one.masks((350, 525))[..., k]
            if not mask.any():
                continue
            feature = found[one.image, label]
            assert feature["properties"]["area_px"] == mask.sum()
            assert feature["properties"]["score"] == one.scores[k]
            np.testing.assert_array_equal(painted(polygons_of(feature), SIZE), mask)


def test_polygons_in_degrees_are_those_in_pixels_within_the_box(tmp_path):
    west, south, east, north = box = (-61.0, 5.0, -50.0, 15.0)
    for name in ("pixels", "degrees"):
        (tmp_path / name).mkdir()
    in_pixels = features(tmp_path / "pixels")["features"]
    collection = features(tmp_path / "degrees", bbox=box)
    assert collection["bbox"] == list(box)
    assert "WGS 84" in collection["coordinate_system"]
    for one, other in zip(collection["features"], in_pixels, strict=True):
        degrees = np.vstack([np.vstack(rings) for rings in polygons_of(one)])
        pixels = np.vstack(
            [np.vstack([ring[::-1] for ring in rings]) for rings in polygons_of(other)]
        )
        scale = np.array([(east - west) / SIZE[1], (south - north) / SIZE[0]])
        np.testing.assert_allclose(degrees, [west, north] + pixels * scale, atol=1e-6)


def test_the_peers_reader_finds_the_masks_in_cocos_file(tmp_path, capsys):
    write(tmp_path, coco=True)
    read = COCO(str(tmp_path / "coco.json"))
    # Both need fields that COCO files of detections often lack.
    read.info()
    read.loadRes(copy.deepcopy(read.dataset["annotations"]))
    assert [image["file_name"] for image in read.dataset["images"]] == [
        one.image for one in ENTRIES
    ]
    names = {
        category["id"]: category["name"] for category in read.dataset["categories"]
    }
    assert tuple(names.values()) == schema.CLOUDS.labels
    seen = np.zeros((3, 4), bool)
    for annotation in read.dataset["annotations"]:
        image, label = annotation["image_id"] - 1, annotation["category_id"] - 1
        mask = ENTRIES[image].masks((350, 525))[..., label]
        np.testing.assert_array_equal(read.annToMask(annotation), mask)
        rows, columns = np.nonzero(mask)
        x, y, width, height = annotation["bbox"]
        assert (x, x + width) == (columns.min(), columns.max() + 1)
        assert (y, y + height) == (rows.min(), rows.max() + 1)
        assert annotation["area"] == mask.sum()
        assert annotation["score"] == ENTRIES[image].scores[label]
        seen[image, label] = True
    np.testing.assert_array_equal(
        seen, [[bool(text) for text in one.cleaned] for one in ENTRIES]
    )


PROBABILITIES = np.random.default_rng(3).random((6, 9, 4)).astype(np.float32)


def test_a_writing_that_fails_leaves_what_was_there(tmp_path):
    write(tmp_path, geojson=True, coco=True)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def failing():
        yield ENTRIES[2]
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write(tmp_path, failing(), geojson=True, coco=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_clearing_removes_what_was_written_and_nothing_else(tmp_path):
    chosen = {"masks": True, "geojson": True, "coco": True, "probabilities": "npz"}
    write(tmp_path, **chosen)
    writers.probabilities(tmp_path, "a.jpg", PROBABILITIES, "npz")
    outputs.write_faults(tmp_path, {"e.jpg": "broken"})
    for name in ("overlays.png", "overlays_2.png"):
        (tmp_path / name).write_bytes(b"")
    for other in ("config.json", "masks/notes.txt"):
        (tmp_path / other).write_text("mine")
    outputs.clear(tmp_path, chosen)
    left = {str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()}
    assert left == {"config.json", "masks/notes.txt"}
    assert not (tmp_path / "probabilities").exists()


def test_masks_of_a_prediction_without_any_are_left_alone(tmp_path):
    write(tmp_path, masks=True)
    outputs.clear(tmp_path, {"masks": False})
    assert len(list((tmp_path / "masks").iterdir())) == 12


def test_more_images_than_a_picture_holds_are_drawn_in_several(tmp_path, monkeypatch):
    monkeypatch.setattr(outputs, "_IMAGES_PER_PICTURE", 5)
    images = np.full((6, *SIZE, 3), 90, np.uint8)
    assert outputs.draw(tmp_path, zip(images, [ENTRIES[0]] * 6, strict=True)) == 6
    assert {p.name for p in tmp_path.iterdir()} == {"overlays.png", "overlays_2.png"}
    first, second = (
        cv2.imread(str(tmp_path / name)) for name in ("overlays.png", "overlays_2.png")
    )
    assert first.shape[0] > 1.5 * second.shape[0]
    assert second.std() > 10
    text = outputs.summary(tmp_path, settings(tmp_path, masks=True), 6)
    assert text.endswith(f"{tmp_path}/overlays.png to overlays_2.png shows the first 6")
    assert f"{tmp_path}/submission_post.csv and {tmp_path}/masks/;" in text


def test_no_images_are_drawn_in_no_picture(tmp_path):
    assert outputs.draw(tmp_path, []) == 0
    assert not list(tmp_path.iterdir())


def test_faults_are_listed_as_long_as_there_are_any(tmp_path):
    outputs.write_faults(tmp_path, {"a.jpg": "broken", "b.jpg": "empty"})
    listed = (tmp_path / "unreadable.txt").read_text()
    assert listed == "a.jpg: broken\nb.jpg: empty\n"
    outputs.write_faults(tmp_path, {})
    assert not list(tmp_path.iterdir())


def test_masks_of_other_labels_are_removed(tmp_path):
    (tmp_path / "masks").mkdir()
    for name in ("a.jpg_ship.png", "mine_Fish.png"):
        (tmp_path / "masks" / name).touch()
    spec = {"labels": ["ship"], "grid": [8, 9]}
    outputs.clear(tmp_path, {"masks": True, "spec": spec})
    assert [path.name for path in (tmp_path / "masks").iterdir()] == ["mine_Fish.png"]
