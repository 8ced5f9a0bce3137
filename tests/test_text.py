import math

import pytest

from clouds.text import counted, decimal


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0 images"), (1, "1 image"), (2, "2 images"), (5546, "5,546 images")],
)
def test_a_count_uses_singular_or_plural(number, text):
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
def test_a_small_number_is_not_shown_as_zero(value, sign, text):
    assert decimal(value, 3, sign) == text
