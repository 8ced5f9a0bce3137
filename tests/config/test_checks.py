import pytest

from clouds.config.checks import transposed


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
def test_a_size_given_as_width_x_height_is_warned_of(size, other, meant):
    warning = transposed(size, other, "images")
    assert bool(warning) == bool(meant)
    assert not meant or f"Did you mean {meant}?" in warning
