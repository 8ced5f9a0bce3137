import math

import pytest

from clouds.text import counted, decimal, turned


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 images"), (1, "1 image"), (2, "2 images"), (5546, "5,546 images")],
)
def test_things_are_counted_in_the_singular_and_the_plural(number, text):
    assert counted(number, "image") == text


@pytest.mark.parametrize(
    ("value", "sign", "text"),
    [
        (0.12345, "", "0.123"),
        (0.12345, "+", "+0.123"),
        (-0.00042, "+", "-0.0004"),
        (0.00004, "+", "+0.00004"),
        (-1e-17, "+", "0.000"),
        (0.0, "+", "0.000"),
        (math.nan, "", "nan"),
    ],
)
def test_a_number_is_no_zero_unless_it_is_one(value, sign, text):
    assert decimal(value, 3, sign) == text


@pytest.mark.parametrize(
    ("size", "other", "meant"),
    [
        ((480, 320), (1400, 2100), "320x480"),
        ((320, 480), (2100, 1400), "480x320"),
        ((320, 480), (1400, 2100), None),
        ((256, 256), (1400, 2100), None),
        ((480, 320), (1400, 1400), None),
    ],
)
def test_a_size_given_as_width_and_height_is_told(size, other, meant):
    told = turned(size, other, "images")
    assert bool(told) == bool(meant)
    assert not meant or f"Did you mean {meant}?" in told
