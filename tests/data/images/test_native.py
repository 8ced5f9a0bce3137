"""Bands of files, written by tifffile or TensorFlow, as they were painted."""

import io
import warnings
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf
import tifffile

from clouds.data.images import native
from clouds.errors import InputError
from clouds.schema import Bands

SIZE = 9, 14
PAIR = Bands(("vis", "ir"), "uint16")


def pixels(count, dtype="uint16", seed=0):
    random = np.random.default_rng(seed).random((*SIZE, count))
    return (random * (1e4 if dtype == "uint16" else 255)).astype(dtype)


def png(image):
    return tf.io.encode_png(image).numpy()


def tiff(image, **options):
    if image.shape[2] > 1:
        options.setdefault("planarconfig", "contig")
    if options.get("planarconfig") == "separate":
        image = np.moveaxis(image, -1, 0)
    options.setdefault("photometric", "minisblack")
    tifffile.imwrite(file := io.BytesIO(), image, **options)
    return file.getvalue()


def write(folder, contents, name="a.tif"):
    Path(folder, name).write_bytes(contents)
    return str(folder / name)


@pytest.fixture
def _rasterio():
    pytest.importorskip("rasterio", reason="`bin/setup geo` installs it")


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_bands_of_a_png_are_read_as_they_are(count, dtype):
    image = pixels(count, dtype)
    decoded = native.decode(png(image))
    assert decoded.dtype == dtype
    np.testing.assert_array_equal(decoded, image)


@pytest.mark.usefixtures("_rasterio")
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
def test_bands_of_a_tiff_are_read_as_they_are(count, dtype):
    image = pixels(count, dtype)
    layouts = [{}, {"compression": "zlib"}, {"tile": (16, 16)}]
    layouts += [{"planarconfig": "separate"}] if count > 1 else []
    for options in layouts:
        decoded = native.decode(tiff(image, **options))
        assert decoded.dtype == dtype
        np.testing.assert_array_equal(decoded, image)


@pytest.mark.usefixtures("_rasterio")
def test_a_fourth_band_of_alpha_is_a_band():
    image = pixels(4, "uint8")
    for kind in ("unassalpha", "assocalpha", "unspecified"):
        contents = tiff(image, photometric="rgb", extrasamples=[kind])
        np.testing.assert_array_equal(native.decode(contents), image)


@pytest.mark.usefixtures("_rasterio")
@pytest.mark.parametrize(("tag", "turned"), [(1, 0), (3, 2), (6, -1), (8, 1)])
def test_the_orientation_tag_is_followed(tag, turned):
    image = pixels(2)
    contents = tiff(image, extratags=[(274, "H", 1, tag, True)])
    np.testing.assert_array_equal(native.decode(contents), np.rot90(image, turned))


def palette():
    from PIL import Image

    image = Image.fromarray(pixels(1, "uint8")[..., 0]).convert("P")
    image.save(file := io.BytesIO(), "png")
    return file.getvalue()


REFUSED = {
    "it is a JPEG; images of other bands than RGB must be PNG or TIFF": lambda: (
        cv2.imencode(".jpg", pixels(3, "uint8"))[1].tobytes()
    ),
    "it is a file of another kind": lambda: b"nothing",
    "it is a PNG with a palette": palette,
    "it is a damaged PNG": lambda: png(pixels(2))[:-20],
}
REFUSED_TIFFS = {
    "its values are int16; save them as": lambda: tiff(pixels(2).astype("int16")),
    "its values are float64; save them as": lambda: tiff(pixels(2).astype("float64")),
    "it has 9 bands; save 8 at most": lambda: tiff(pixels(9)),
    "it has 3 pages; save one of them": lambda: tiff(
        np.moveaxis(pixels(3), -1, 0)[..., None], planarconfig=None
    ),
    "1 of its 252 values are NaN or infinite; fill them": lambda: tiff(
        np.where(np.arange(252).reshape(*SIZE, 2) == 7, np.nan, 1).astype("float32")
    ),
    "of its 252 values are missing, by its nodata value": lambda: tiff(
        pixels(2) // 4000, extratags=[(42113, "s", 0, "1", True)]
    ),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_would_be_guessed_at_is_refused(reason, tmp_path):
    path = write(tmp_path, REFUSED[reason]())
    with pytest.raises(InputError) as error:
        native.load(path)
    assert reason in str(error.value)
    assert path in str(error.value)


@pytest.mark.usefixtures("_rasterio")
@pytest.mark.parametrize("reason", REFUSED_TIFFS)
def test_a_tiff_that_would_be_guessed_at_is_refused(reason, tmp_path):
    path = write(tmp_path, REFUSED_TIFFS[reason]())
    with pytest.raises(InputError) as error:
        native.load(path)
    assert reason in str(error.value)


@pytest.mark.usefixtures("_rasterio")
def test_nodata_of_0_is_no_fault():
    image = pixels(2) // 4000
    contents = tiff(image, extratags=[(42113, "s", 0, "0", True)])
    np.testing.assert_array_equal(native.decode(contents), image)


@pytest.mark.usefixtures("_rasterio")
def test_a_tiff_that_is_cut_short_is_refused():
    contents = tiff(pixels(2), compression="zlib")
    for length in range(0, len(contents) - 1, 37):
        with pytest.raises(InputError):
            native.decode(contents[:length])


@pytest.mark.usefixtures("_rasterio")
def test_warnings_of_an_image_without_a_map_are_not_shown():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        native.decode(tiff(pixels(2)))


def test_a_file_of_other_bands_is_named(tmp_path):
    path = write(tmp_path, png(pixels(2)), "a.png")
    assert native.load(path, PAIR).shape == (*SIZE, 2)
    for image in (pixels(3), pixels(2, "uint8")):
        path = write(tmp_path, png(image), "b.png")
        with pytest.raises(
            InputError, match=r"b\.png has .* must have 2 bands of uint"
        ):
            native.load(path, PAIR)


def test_bands_are_named_by_number_or_as_given(tmp_path):
    path = write(tmp_path, png(pixels(2)), "a.png")
    assert native.bands_of(path) == Bands(("band1", "band2"), "uint16")
    assert native.bands_of(path, ("vis", "ir")) == PAIR
    with pytest.raises(InputError, match="the names of the 2 bands of .*a.png"):
        native.bands_of(path, ("vis", "ir", "swir"))
    path = write(tmp_path, png(pixels(3, "uint8")), "b.png")
    with pytest.raises(InputError, match="Leave both out"):
        native.bands_of(path, ("red", "green", "blue"))
    assert native.is_deep(str(tmp_path / "a.png"))
    assert not native.is_deep(path)
    assert not native.is_deep(str(tmp_path / "none.png"))


def test_a_tiff_without_rasterio_names_what_to_install(monkeypatch):
    contents = tiff(pixels(2))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="run bin/setup geo, or pip install rasterio"):
        native.decode(contents)
