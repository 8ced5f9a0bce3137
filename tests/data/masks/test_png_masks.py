import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from clouds.data.masks import png_masks
from clouds.errors import InputError

MASK = np.arange(12).reshape(3, 4) % 5 == 0
WHITE = MASK * np.uint8(255)


def write(folder, *names, pixels=WHITE, labels=None):
    for name in names:
        assert cv2.imwrite(str(folder / name), pixels)
    return find(folder, labels)


def find(folder, labels=None):
    names = [path.name for path in folder.iterdir()]
    return png_masks.find(str(folder), names, ["a.jpg", "a_1.jpg", "b.png"], labels)


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


VALUES = np.arange(12, dtype=np.uint8).reshape(3, 4) % 4
SHIPS = ("ship", "buoy", "1")


def drawn(masks):
    return {(image, label): mask for image, label, mask, _ in masks.draw()}


def crc(data):
    return struct.pack(">I", zlib.crc32(data))


def palette(values, bits=8):
    image = Image.fromarray(values).convert("L")
    image = image.convert("P")
    image.putdata(values.ravel().tolist())
    image.putpalette([30, 20, 10, 200, 0, 0, 0, 200, 0, 0, 0, 200])
    image.save(file := io.BytesIO(), "png", bits=bits)
    return file.getvalue()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_the_values_of_one_palette_png_are_the_labels_in_order(bits, tmp_path):
    (tmp_path / "a.png").write_bytes(palette(VALUES, bits))
    found = find(tmp_path, SHIPS)
    assert (found.labels, found.images) == (list(SHIPS), ["a.jpg"])
    masks = drawn(found)
    assert set(masks) == {("a.jpg", label) for label in SHIPS}
    for k, label in enumerate(SHIPS, 1):
        np.testing.assert_array_equal(masks["a.jpg", label], k == VALUES)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_so_are_those_of_a_grey_one(dtype, tmp_path):
    masks = drawn(write(tmp_path, "b.png", pixels=VALUES.astype(dtype), labels=SHIPS))
    assert set(masks) == {("b.png", label) for label in SHIPS}
    np.testing.assert_array_equal(masks["b.png", "buoy"], VALUES == 2)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_values_of_few_bits_are_not_scaled(bits, tmp_path):
    values = VALUES % 2**bits
    width, rows = 8 // bits, []
    for row in values.tolist():
        row += [0] * (-len(row) % width)
        groups = [row[k : k + width] for k in range(0, len(row), width)]
        packed = (
            sum(v << (8 - bits * (k + 1)) for k, v in enumerate(g)) for g in groups
        )
        rows.append(bytes([0, *packed]))
    header = struct.pack(">IIBBBBB", 4, 3, bits, 0, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(b"".join(rows)), b"IEND": b""}
    contents = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body))
        + n
        + body
        + struct.pack(">I", zlib.crc32(n + body))
        for n, body in chunks.items()
    )
    (tmp_path / "a.png").write_bytes(contents)
    masks = drawn(find(tmp_path, SHIPS))
    for k, label in enumerate(SHIPS[: min(3, 2**bits - 1)], 1):
        np.testing.assert_array_equal(masks["a.jpg", label], values == k)


def test_names_of_labels_tell_a_mask_from_an_image_of_that_name(tmp_path):
    names = ("ship", "buoy", "fish")
    write(tmp_path, "a.png", "a_1.png", pixels=VALUES, labels=names)
    found = write(tmp_path, "a_ship.png", labels=names)
    assert [(image, label) for _, image, label in found.files] == [
        ("a.jpg", None),
        ("a_1.jpg", None),
        ("a.jpg", "ship"),
    ]
    (tmp_path / "a.png").unlink()
    found = find(tmp_path)
    assert [label for *_, label in found.files] == ["1", "ship"]


def test_a_png_of_all_labels_needs_their_names_and_their_values(tmp_path):
    with pytest.raises(InputError, match=r"a\.png must be .* 1, 2, … with --labels"):
        write(tmp_path, "a.png", pixels=VALUES)
    found = write(tmp_path, "a.png", pixels=VALUES + 252, labels=SHIPS)
    with pytest.raises(
        InputError, match=r"a\.png has the value 255, and there are 3 l"
    ):
        list(found.draw())
    found = write(tmp_path, "a.png", pixels=np.dstack([VALUES] * 3), labels=SHIPS)
    with pytest.raises(InputError, match="must be a palette or grey PNG.*RGB"):
        list(found.draw())
    (tmp_path / "a.png").write_bytes(b"torn")
    with pytest.raises(InputError, match="not a complete PNG"):
        list(find(tmp_path, SHIPS).draw())
