import cv2
import numpy as np
import pytest

from clouds.data.masks import png_masks
from clouds.errors import InputError

MASK = np.arange(12).reshape(3, 4) % 5 == 0
WHITE = MASK * np.uint8(255)


def write(folder, *names, pixels=WHITE):
    for name in names:
        assert cv2.imwrite(str(folder / name), pixels)
    return png_masks.find(
        str(folder),
        [path.name for path in folder.iterdir()],
        ["a.jpg", "a_1.jpg", "b.png"],
    )


def test_files_are_matched_with_images_and_labels(tmp_path):
    found = write(tmp_path, "a_ship.png", "a_1_big_ship.png", "b.png_ship.png")
    assert found.labels == ["big_ship", "ship"]
    assert found.images == ["a.jpg", "a_1.jpg", "b.png"]
    drawn = {(image, label): mask for image, label, mask, _ in found.draw()}
    assert set(drawn) == {
        ("a.jpg", "ship"),
        ("a_1.jpg", "big_ship"),
        ("b.png", "ship"),
    }
    for mask in drawn.values():
        np.testing.assert_array_equal(mask, MASK)


def test_a_file_that_belongs_to_no_image_is_refused(tmp_path):
    with pytest.raises(InputError, match="1 files that belong to no image, first c_s"):
        write(tmp_path, "a_ship.png", "c_ship.png")


def test_a_mask_of_several_values_is_refused(tmp_path):
    grey = np.arange(12, dtype=np.uint8).reshape(3, 4)
    with pytest.raises(
        InputError, match="a_ship.png: a mask has one value .*11 values"
    ):
        list(write(tmp_path, "a_ship.png", pixels=grey).draw())
    colours = np.stack([grey > 5, grey > 8, grey > 5], -1) * np.uint8(255)
    with pytest.raises(InputError, match="2 values"):
        list(write(tmp_path, "a_ship.png", pixels=colours).draw())
