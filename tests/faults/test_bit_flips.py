"""The short form of the faults; the long one is `python tests/faults/bit_flips.py`."""

import pytest
from faults import bit_flips


@pytest.fixture(scope="module")
def workspace(smooth_network, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    bit_flips.make(folder)
    return folder


@pytest.mark.parametrize("title", bit_flips.KINDS)
def test_a_flipped_bit_is_named_or_without_effect(workspace, title):
    found = bit_flips.tried(bit_flips.KINDS[title], workspace, flips=12)
    assert not found["silent"] and not found["traceback"], found
    assert sum(found.values()) == 12
