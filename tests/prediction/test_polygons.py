import cv2
import numpy as np
import pytest
from helpers.references import painted
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from clouds.config import checks
from clouds.prediction import polygons

masks = st.tuples(st.integers(1, 9), st.integers(1, 9)).flatmap(
    lambda shape: arrays(bool, shape)
)


def area(ring):
    x, y = np.array(ring).T
    return ((x[:-1] * y[1:] - x[1:] * y[:-1]).sum()) / 2


@given(masks)
def test_painting_the_polygons_restores_the_mask(mask):
    np.testing.assert_array_equal(painted(polygons.trace(mask), mask.shape), mask)


@given(masks)
def test_rings_are_closed_and_simple_and_turn_corners_only(mask):
    traced = polygons.trace(mask)
    count, _ = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)
    assert len(traced) == count - 1
    total = 0
    for outline, *holes in traced:
        assert area(outline) > 0
        assert all(area(hole) < 0 for hole in holes)
        for ring in (outline, *holes):
            assert (ring[0] == ring[-1]).all()
            assert len(np.unique(ring, axis=0)) == len(ring) - 1
            total += area(ring)
            steps = np.diff(np.vstack([ring, ring[1:2]]), axis=0)
            assert (steps[:-1] * steps[1:] == 0).all()
    assert total == mask.sum()


def test_a_large_mask_is_restored():
    noise = np.random.default_rng(0).normal(size=(35, 52)).astype(np.float32)
    mask = cv2.resize(noise, (525, 350), interpolation=cv2.INTER_CUBIC) > 0.1
    traced = polygons.trace(mask)
    assert any(len(polygon) > 1 for polygon in traced)
    np.testing.assert_array_equal(painted(traced, mask.shape), mask)


def test_a_hole_is_a_ring_of_its_own():
    mask = np.ones((3, 4), bool)
    mask[1, 1] = False
    ((outline, hole),) = polygons.trace(mask)
    assert sorted(outline[:-1].tolist()) == [[0, 0], [0, 3], [4, 0], [4, 3]]
    assert sorted(hole[:-1].tolist()) == [[1, 1], [1, 2], [2, 1], [2, 2]]


def test_the_corners_of_a_mask_are_those_of_the_box():
    ((ring,),) = polygons.trace_in_degrees(np.ones((2, 3), bool), (-61, 5, -50, 15))
    assert sorted(ring[:-1].tolist()) == [[-61, 5], [-61, 15], [-50, 5], [-50, 15]]
    assert area(ring) == pytest.approx(110)
    mask = np.zeros((2, 4), bool)
    mask[0, 0] = True
    ((ring,),) = polygons.trace_in_degrees(mask, (0, 0, 4, 2))
    assert sorted(ring[:-1].tolist()) == [[0, 1], [0, 2], [1, 1], [1, 2]]


@pytest.mark.parametrize("west", [170.0, 171.0])
def test_polygons_are_cut_at_the_antimeridian(west):
    mask = np.ones((2, 10), bool)
    mask[0, 5] = False
    traced = polygons.trace_in_degrees(mask, (west, 0, -170, 2))
    assert len(traced) == 2
    left, right = (np.concatenate(polygon) for polygon in traced)
    assert (left[:, 0].min(), left[:, 0].max()) == (west, 180)
    assert (right[:, 0].min(), right[:, 0].max()) == (-180, -170)
    covered = sum(area(ring) for polygon in traced for ring in polygon)
    assert covered == pytest.approx((190 - west) * 2 * 19 / 20, abs=1e-5)


def test_a_box_around_the_globe_is_cut_there_too():
    mask = np.zeros((2, 36), bool)
    mask[:, [0, 15, 16, 35]] = True
    traced = polygons.trace_in_degrees(mask, (20, 0, 20, 2))
    bounds = sorted((ring[:, 0].min(), ring[:, 0].max()) for (ring,) in traced)
    assert bounds == [(-180, -170), (10, 20), (20, 30), (170, 180)]


@pytest.mark.parametrize(
    ("box", "same"),
    [
        ((180, 0, -159, 2), (-180, 0, -159, 2)),
        ((160, 0, -180, 2), (160, 0, 180, 2)),
        ((180, 0, -180, 2), (-180, 0, 180, 2)),
    ],
)
def test_both_longitudes_of_the_antimeridian_are_one_meridian(box, same):
    checks.check_box(box)
    mask = np.eye(4, dtype=bool)
    for one, other in zip(
        polygons.trace_in_degrees(mask, box),
        polygons.trace_in_degrees(mask, same),
        strict=True,
    ):
        np.testing.assert_array_equal(np.concatenate(one), np.concatenate(other))


def test_an_empty_mask_has_no_polygons():
    assert polygons.trace(np.zeros((4, 4), bool)) == []
    assert polygons.trace_in_degrees(np.zeros((4, 4), bool), (0, 0, 1, 1)) == []
