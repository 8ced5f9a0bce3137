import numpy as np
import pytest
import tensorflow as tf
import tifffile
from helpers import tiny_export

from clouds.client import images
from clouds.client.retry import Rejected, Retry
from clouds.schema import RGB, Bands
from clouds.serving.model_store import Model

PAIR = Bands.numbered(2, "uint16")
RETRY = Retry(0, 60)


@pytest.mark.parametrize("bands", [RGB, PAIR, Bands.numbered(5, "float32")])
def test_bands_are_found_in_the_metadata_of_a_model(bands, tmp_path):
    tiny_export.write(tmp_path, bands=bands)
    assert images.bands_of(Model(str(tmp_path), "clouds").version.metadata) == bands


def test_files_of_bands_become_pngs_or_values(tmp_path):
    pytest.importorskip("rasterio", reason="`bin/setup geo` installs it")
    values = np.random.default_rng(0).random((8, 9, 5)).astype("float32")
    pair = (values[..., :2] * 60000).astype("uint16")
    for name, image in (("pair.tif", pair), ("five.tif", values)):
        options = {"photometric": "minisblack", "planarconfig": "contig"}
        tifffile.imwrite(tmp_path / name, image, **options)
    png = images.read(str(tmp_path / "pair.tif"), RETRY, PAIR)
    np.testing.assert_array_equal(tf.io.decode_png(png, 0, tf.uint16), pair)
    assert images.row(png).keys() == {"b64"}
    found = images.read(str(tmp_path / "five.tif"), RETRY, Bands.numbered(5, "float32"))
    np.testing.assert_array_equal(images.row(found), values)
    refused = images.read(str(tmp_path / "five.tif"), RETRY, PAIR)
    assert isinstance(refused, Rejected)
    assert "has 5 bands of float32, and must have 2 bands of uint16" in str(refused)


def test_pictures_show_files_of_any_bands_or_nothing(tmp_path):
    (tmp_path / "a.jpg").write_bytes(tiny_export.encoded())
    image = np.arange(8 * 9 * 2).reshape(8, 9, 2).astype(np.uint16)
    (tmp_path / "a.png").write_bytes(tf.io.encode_png(image).numpy())
    for name, bands in (("a.jpg", RGB), ("a.png", PAIR)):
        picture = images.picture(str(tmp_path / name), (16, 18), bands)
        assert picture.shape == (16, 18, 3) and picture.std() > 30
    assert not images.picture(str(tmp_path / "a.jpg"), (16, 18), PAIR).any()
