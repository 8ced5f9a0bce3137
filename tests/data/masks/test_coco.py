import json

import numpy as np
import pytest

from clouds.data.masks import coco
from clouds.errors import InputError

SIZE = (40, 60)


def write(tmp_path, *segmentations, **changes):
    fields = {
        "images": [{"id": 7, "file_name": "x/a.jpg", "height": 40, "width": 60}],
        "categories": [{"id": 3, "name": "ship"}],
        "annotations": [
            {"image_id": 7, "category_id": 3, "segmentation": each}
            for each in segmentations
        ],
        **changes,
    }
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(fields))
    return str(path)


def masks(path):
    return [mask for _, _, mask, _ in coco.read(path).draw()]


def test_both_kinds_of_runs_are_what_pycocotools_decodes(tmp_path):
    mask_coder = pytest.importorskip("pycocotools.mask")
    random = np.random.default_rng(0)
    for density in (0, 0.01, 0.5, 1):
        mask = np.asfortranarray(random.random(SIZE) < density, np.uint8)
        compressed = mask_coder.encode(mask)
        text = compressed["counts"].decode()
        counts = coco.decompress(text)
        path = write(
            tmp_path,
            {"size": SIZE, "counts": text},
            {"size": SIZE, "counts": counts},
        )
        for found in masks(path):
            np.testing.assert_array_equal(found, mask > 0)


def test_a_polygon_has_the_pixels_whose_centres_are_inside(tmp_path):
    square = [10, 5, 20, 5, 20, 15, 10, 15]
    triangle = [30.2, 2.1, 55.7, 30.3, 33.9, 37.4]
    (mask,) = masks(write(tmp_path, [square, triangle]))
    expected = np.zeros(SIZE, bool)
    expected[5:15, 10:20] = True
    corners = np.reshape(triangle, (3, 2))
    for y, x in np.ndindex(SIZE):
        edges = np.roll(corners, -1, axis=0) - corners
        to = np.array([x + 0.5, y + 0.5]) - corners
        sides = edges[:, 0] * to[:, 1] - edges[:, 1] * to[:, 0]
        expected[y, x] |= (sides > 0).all() or (sides < 0).all()
    np.testing.assert_array_equal(mask, expected)


def test_images_labels_and_sizes_are_those_of_the_file(tmp_path):
    found = coco.read(write(tmp_path))
    assert found.labels == ["ship"] and found.images == ["a.jpg"]
    assert found.sizes == {"a.jpg": SIZE}


@pytest.mark.parametrize(
    ("segmentation", "problem"),
    [
        ([[1, 2, 3, 4]], "less than 3 points"),
        ([[1, 2, 3, 4, 99, 9]], "beyond the image"),
        ({"size": SIZE, "counts": [3, 4]}, "counts of 7 pixels"),
        ({"size": [60, 40], "counts": [2400]}, r"a size of \[60, 40\]"),
        ({"size": SIZE, "counts": "~"}, "a count with '~'"),
        (5, "not iterable"),
    ],
)
def test_a_malformed_segmentation_is_named(tmp_path, segmentation, problem):
    path = write(tmp_path, segmentation)
    with pytest.raises(InputError, match=f"annotation 1 .ship in a.jpg.*{problem}"):
        masks(path)


def test_other_json_is_refused(tmp_path):
    with pytest.raises(InputError, match="must be COCO annotations"):
        coco.read(write(tmp_path, images=[{"id": 1}]))
