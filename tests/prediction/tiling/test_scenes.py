import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from clouds.data.images import image_files
from clouds.prediction.tiling import scenes
from clouds.prediction.tiling.scenes import SceneError
from clouds.schema import Bands

SIZE = (150, 230)
TURNED = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x03\0\0\0\0\0\0\0"
"""Exif data: half a turn."""
PIXELS = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)


def read(path, *at, memory=64):
    scratch = path.parent / "scratch"
    with scenes.opened(str(path), scratch, memory) as scene:
        assert scene.size == SIZE
        pixels = scene.read(*at) if at else scene.read(0, 0, *SIZE)
    assert not scratch.exists()
    return pixels, scene.how


def saved(path, mode="RGB", **options):
    image = Image.fromarray(PIXELS).convert(mode)
    if mode in ("RGBA", "LA"):
        alpha = np.tile(np.arange(SIZE[1]), (SIZE[0], 1)).astype(np.uint8)
        image.putalpha(Image.fromarray(alpha))
    image.save(path, **options)
    return path


def whole(path):
    """The pixels that an image gives without tiles."""
    contents = image_files.read(tf.constant(str(path)))
    if contents.numpy().startswith(b"\xff\xd8"):
        return tf.io.decode_jpeg(contents, 3, dct_method="INTEGER_ACCURATE").numpy()
    return scenes.graph_formats.decode(contents).numpy()


@pytest.mark.parametrize(
    ("name", "mode", "options", "how"),
    [
        ("a.jpg", "RGB", {"quality": 90}, "decoded once, in strips"),
        ("a.jpg", "RGB", {"progressive": True}, "decoded once, in strips"),
        ("a.jpeg", "L", {}, "decoded once, in strips"),
        ("a.jpg", "CMYK", {}, "decoded once, in strips"),
        ("a.jpg", "RGB", {"exif": b"Exif\0\0" + TURNED}, "decoded whole"),
        ("a.png", "RGB", {}, "decoded whole"),
        ("a.png", "RGBA", {}, "decoded whole"),
        ("a.png", "LA", {}, "decoded whole"),
        ("a.png", "P", {}, "decoded whole"),
        ("a.tif", "RGB", {}, "decoded once, in strips"),
        ("a.tif", "RGB", {"compression": "tiff_lzw"}, "decoded once, in strips"),
        ("a.tif", "L", {}, "decoded once, in strips"),
        ("a.tif", "RGBA", {}, "decoded once, in strips"),
        ("a.tif", "P", {}, "decoded whole"),
        ("a.tif", "CMYK", {}, "decoded whole"),
        ("a.tif", "RGB", {"tiffinfo": {274: 3}}, "decoded whole"),
        ("a.tif", "L", {"tiffinfo": {262: 0}}, "decoded whole"),
        ("a.bmp", "RGB", {}, "decoded whole"),
        ("a.webp", "RGB", {"lossless": True}, "decoded whole"),
    ],
)
def test_windows_are_those_of_the_image_without_tiles(
    tmp_path, monkeypatch, name, mode, options, how
):
    pytest.importorskip("rasterio", reason="`bin/setup geo` installs it")
    monkeypatch.setattr(scenes, "_LEAST_ROWS", 37)
    monkeypatch.setattr(scenes, "_MEGABYTE", 1 << 14)
    path = saved(tmp_path / name, mode, **options)
    expected = whole(path)
    pixels, told = read(path)
    assert told == how
    assert (pixels == expected).all()
    part, _ = read(path, 40, 50, 60, 70)
    assert (part == expected[40:100, 50:120]).all()


@pytest.mark.parametrize("interleave", ["pixel", "band"])
def test_a_tiled_geotiff_is_read_window_by_window(tmp_path, interleave):
    rasterio = pytest.importorskip("rasterio", reason="`bin/setup geo` installs it")
    transform = rasterio.Affine(0.1, 0, -61, 0, -0.1, 24)
    options = {"tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    options |= {"crs": "EPSG:4326", "transform": transform, "interleave": interleave}
    size = {"height": SIZE[0], "width": SIZE[1], "count": 3, "dtype": "uint8"}
    with rasterio.open(tmp_path / "a.tif", "w", **size, **options) as file:
        file.write(np.moveaxis(PIXELS, -1, 0))
    pixels, how = read(tmp_path / "a.tif", 7, 50, 90, 100)
    assert how == "window by window"
    assert (pixels == PIXELS[7:97, 50:150]).all()


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_without_rasterio_files_are_decoded_whole(tmp_path, monkeypatch, name):
    monkeypatch.setattr(scenes.importlib.util, "find_spec", lambda name: None)
    pixels, how = read(saved(tmp_path / name))
    assert how == "decoded whole"
    assert (pixels == PIXELS).all()


def test_windows_over_the_ends_go_on_at_the_other_end_or_are_black(tmp_path):
    path = saved(tmp_path / "a.png")
    with scenes.opened(str(path), tmp_path / "scratch", 64) as scene:
        for left in (-20, 210):
            pixels = scenes.window(scene, 100, left, (30, 50))
            columns = np.arange(left, left + 50) % SIZE[1]
            assert (pixels == PIXELS[100:130, columns]).all()
        below = scenes.window(scene, 100, 0, (80, 300))
        assert (below[:50, :230] == PIXELS[100:]).all()
        assert not below[50:].any()
        assert not below[:, 230:].any()
        small = scenes.thumbnail(scene, (15, 23))
        assert (small == PIXELS[5::10, 5::10]).all()


def test_a_file_that_must_be_decoded_whole_needs_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(scenes, "_MEGABYTE", 1 << 10)
    path = saved(tmp_path / "a.bmp")
    with pytest.raises(SceneError, match=r"a\.bmp has 230x150 pixels.*tile-memory 102"):
        read(path, memory=101)
    assert (read(path, memory=102)[0] == PIXELS).all()


def test_more_pixels_than_are_decoded_whole_have_advice(tmp_path, monkeypatch):
    monkeypatch.setattr(scenes.preprocessing, "MOST_PIXELS", 1000)
    with pytest.raises(SceneError, match=r"At most 1,000 pixels are. Convert it to"):
        read(saved(tmp_path / "a.png"))
    # Strips have no limit.
    assert read(saved(tmp_path / "a.jpg"))[1] == "decoded once, in strips"


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.bmp"])
def test_damaged_files_are_named(tmp_path, name):
    path = tmp_path / name
    cv2.imwrite(str(path), PIXELS)
    contents = path.read_bytes()
    for damaged in (contents[:30], contents[: len(contents) // 2], b"", b"text"):
        path.write_bytes(damaged)
        with pytest.raises(SceneError, match=str(path)):
            read(path)
        assert not (tmp_path / "scratch").exists()
    path.unlink()
    with pytest.raises(SceneError, match=r"cannot be read \(No such file"):
        read(path)


BANDS = Bands(("c02", "c13", "c09"), "uint16")


def write_native(path, pixels, **options):
    rasterio = pytest.importorskip("rasterio", reason="`bin/setup geo` installs it")
    height, width, count = pixels.shape
    size = {"height": height, "width": width, "count": count, "dtype": pixels.dtype}
    transform = rasterio.Affine(0.1, 0, -61, 0, -0.1, 24)
    options |= {"driver": "GTiff", "crs": "EPSG:4326", "transform": transform}
    with rasterio.open(path, "w", **size, **options) as file:
        file.write(np.moveaxis(pixels, -1, 0))


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ({"tiled": True, "blockxsize": 64, "blockysize": 64}, "window by window"),
        ({}, "decoded once, in strips"),
    ],
)
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_other_bands_are_read_in_windows_as_they_are(tmp_path, options, how, dtype):
    bands = BANDS._replace(dtype=dtype)
    pixels = (PIXELS.astype(dtype) * 200)[..., ::-1]
    write_native(tmp_path / "a.tif", pixels, **options)
    with scenes.opened(str(tmp_path / "a.tif"), tmp_path / "s", 64, bands) as scene:
        assert scene.how == how
        part = scene.read(7, 50, 90, 100)
        assert part.dtype == dtype
        assert (part == pixels[7:97, 50:150]).all()
        beyond = scenes.window(scene, 100, 200, (80, 40))
        assert (beyond[:50, 30:] == pixels[100:, :10]).all()
        assert not beyond[50:].any()


def test_a_png_of_other_bands_is_decoded_whole(tmp_path):
    pixels = PIXELS.astype(np.uint16) * 200
    cv2.imwrite(str(tmp_path / "a.png"), pixels[..., ::-1])
    with scenes.opened(str(tmp_path / "a.png"), tmp_path / "s", 64, BANDS) as scene:
        assert scene.how == "decoded whole"
        assert (scene.read(0, 0, *SIZE) == pixels).all()


def test_values_and_bands_that_do_not_fit_are_named(tmp_path):
    path = tmp_path / "a.tif"
    pixels = PIXELS.astype(np.float32)
    write_native(path, pixels)
    with (
        pytest.raises(SceneError, match=r"a\.tif has 3 bands of float32, and must"),
        scenes.opened(str(path), tmp_path / "s", 64, BANDS),
    ):
        pass
    bands = BANDS._replace(dtype="float32")
    pixels[140, 7] = np.nan
    write_native(path, pixels, tiled=True, blockxsize=64, blockysize=64)
    with scenes.opened(str(path), tmp_path / "s", 64, bands) as scene:
        scene.read(0, 0, 100, 100)
        with pytest.raises(SceneError, match=r"a\.tif cannot be used: 3 of its .* NaN"):
            scene.read(100, 0, 50, 100)
    pixels[140, 7] = -9
    write_native(path, pixels, nodata=-9)
    with (
        pytest.raises(SceneError, match="3 of its .* values are missing, by its noda"),
        scenes.opened(str(path), tmp_path / "s", 64, bands),
    ):
        pass
