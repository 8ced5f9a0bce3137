import numpy as np
import pytest

from clouds.plots.false_colour import to_rgb
from clouds.schema import RGB, Bands

PAIR = Bands(("vis", "ir"), "uint16")


def test_colours_of_8_bits_are_not_changed():
    image = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    assert to_rgb(image, RGB) is image


def test_bands_are_stretched_each_by_itself():
    values = np.arange(1, 101, dtype=np.uint16)
    image = np.stack([values * 10, values * 600], axis=-1).reshape(10, 10, 2)
    picture = to_rgb(image, PAIR)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture[..., 0], picture[..., 1])
    np.testing.assert_array_equal(picture[..., 1], picture[..., 2])
    assert (picture.min(), picture.max()) == (0, 255)


def test_missing_pixels_stay_black_and_do_not_count():
    image = np.full((10, 10, 2), 30000, np.uint16)
    image[:5] += np.arange(50, dtype=np.uint16).reshape(5, 10, 1)
    image[5:8] = 0
    picture = to_rgb(image, PAIR)
    assert not picture[5:8].any()
    assert picture[4].min() > 200


@pytest.mark.parametrize("fill", [0, 7])
def test_an_image_of_one_value_has_a_picture(fill):
    assert to_rgb(np.full((4, 6, 2), fill, np.uint16), PAIR).shape == (4, 6, 3)


def test_bands_are_chosen_by_name():
    image = np.zeros((10, 10, 4), np.float32)
    image[..., 3] = np.arange(100).reshape(10, 10)
    bands = Bands(("a", "b", "c", "d"), "float32")
    assert not to_rgb(image, bands).any()
    grey = to_rgb(image, bands, ("d",))
    assert (grey[..., :1] == grey).all()
    assert grey[9, 9, 0] == 255
    assert not to_rgb(image, bands, ("a", "d", "b"))[..., [0, 2]].any()
