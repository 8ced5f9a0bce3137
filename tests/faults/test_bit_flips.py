"""The short form of the faults; the long one is `python tests/faults/bit_flips.py`."""

import pytest
from faults import bit_flips

from clouds.models import unet


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    build = unet.build
    bit_flips.make(folder)
    yield folder
    unet.build = build


@pytest.mark.parametrize("title", bit_flips.KINDS)
def test_a_flipped_bit_is_named_or_without_effect(workspace, title):
    found = bit_flips.tried(bit_flips.KINDS[title], workspace, flips=12)
    assert not found["silent"] and not found["traceback"], found
    assert sum(found.values()) == 12
