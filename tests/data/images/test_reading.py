"""Files as training got them, against a slow twin for other bands."""

import cv2
import numpy as np
import pytest
import tensorflow as tf

from clouds.data.images import preprocessing, reading
from clouds.errors import InputError
from clouds.schema import RGB, Bands

PAIR = Bands(("vis", "ir"), "uint16")


def test_other_bands_are_averaged_in_their_own_depth(tmp_path):
    image = np.random.default_rng(0).integers(0, 65536, (40, 60, 2)).astype(np.uint16)
    path = tmp_path / "a.png"
    path.write_bytes(tf.io.encode_png(image).numpy())
    read = reading.reader(PAIR, (10, 15), (20, 30))
    found = read(str(path))
    halves = image.reshape(20, 2, 30, 2, 2).astype(float).mean((1, 3)).round()
    quarters = halves.reshape(10, 2, 15, 2, 2).mean((1, 3))
    assert (found.dtype, reading.shape(str(path))) == (np.uint16, (40, 60))
    # Rounding of half a number goes either way.
    np.testing.assert_allclose(found, quarters, atol=1)


def test_colours_are_those_of_preprocessing(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    path = tmp_path / "a.jpg"
    assert cv2.imwrite(str(path), image)
    found = reading.reader(RGB, (10, 15), (20, 30))(str(path))
    expected, _ = preprocessing.decode_as_in_records(
        tf.constant(path.read_bytes()), (10, 15), (20, 30)
    )
    np.testing.assert_array_equal(found, expected)
    assert reading.shape(str(path)) == (40, 60)


@pytest.mark.parametrize("bands", [RGB, PAIR])
def test_an_unreadable_file_is_named(bands, tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"nothing")
    read = reading.reader(bands, (10, 15))
    with pytest.raises(InputError, match=r"a\.png .*cannot be (read|decoded)"):
        read(str(path))
    with pytest.raises(InputError, match=r"a\.png .*cannot be decoded"):
        reading.shape(str(path))
