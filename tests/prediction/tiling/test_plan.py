import types

import pytest

from clouds.prediction.tiling import plan
from clouds.prediction.tiling.scenes import SceneError

GRID = (350, 525)


def tiling(size, box=None, **settings):
    names = ("tile_degrees", "tile_pixels")
    settings = types.SimpleNamespace(
        overlap=0.5, **{**dict.fromkeys(names), **settings}
    )
    return plan.tiling(settings, GRID, "a.png", size, box)


def test_a_tile_in_degrees_has_the_pixels_of_the_resolution_of_the_scene():
    belt = tiling((3000, 36000), (-180, -15, 180, 15), tile_degrees=(21, 14))
    assert (belt.rows.tile_pixels, belt.columns.tile_pixels) == (1400, 2100)
    assert (belt.rows.cells, belt.columns.cells) == (750, 9000)
    assert belt.columns.wraps
    assert not belt.rows.wraps
    coarse = tiling((600, 7200), (0, -15, 0, 15), tile_degrees=(21, 14))
    assert (coarse.rows.cells, coarse.columns.cells) == (750, 9000)
    assert coarse.columns.wraps


@pytest.mark.parametrize(
    "box", [None, (-180, -15, 179.9, 15), (170, -15, -170, 15), (-61, 10, -40, 24)]
)
def test_only_a_scene_around_the_globe_wraps(box):
    assert not tiling((3000, 36000), box, tile_pixels=(2100, 1400)).columns.wraps


def test_a_box_across_the_antimeridian_has_the_width_of_its_degrees():
    columns = tiling((1400, 4200), (159, 8, -159, 22), tile_degrees=(21, 14)).columns
    assert (columns.cells, columns.tile_pixels) == (1050, 2100)


def test_tiles_of_few_pixels_are_rejected():
    with pytest.raises(SceneError, match="tiles of 21x14 .width x height.; both must"):
        tiling((30, 360), (-180, -15, 180, 15), tile_degrees=(21, 14))
