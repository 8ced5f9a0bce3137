import itertools

import numpy as np
import pytest

from clouds.prediction.tiling import geometry

CASES = [
    # pixels, tile pixels, tile cells, overlap, wraps
    (3000, 1400, 350, 0.5, False),
    (36000, 2100, 525, 0.5, True),
    (36000, 2100, 525, 0.0, True),
    (1400, 1400, 350, 0.5, False),
    (1402, 1400, 350, 0.5, False),
    (900, 1400, 350, 0.5, False),
    (1000, 333, 70, 0.25, False),
    (1000, 333, 70, 0.9, True),
    (101, 10, 40, 0.5, False),
]


@pytest.fixture(params=CASES, ids=str)
def case(request):
    *numbers, wraps = request.param
    return geometry.place(*numbers, wraps=wraps), request.param


def test_the_weights_of_every_cell_add_up_to_one(case):
    axis, _ = case
    total = np.zeros(axis.cells)
    for number in range(len(axis)):
        np.add.at(total, axis.covered(number), axis.weights[number])
    assert total == pytest.approx(np.ones(axis.cells), abs=1e-12)
    assert axis.weights.min() > 0


def test_neighbours_overlap_at_least_as_asked_and_are_at_equal_distances(case):
    axis, (_, _, tile_cells, overlap, wraps) = case
    steps = np.diff(axis.starts).tolist()
    if wraps:
        steps.append(axis.starts[0] + axis.cells - axis.starts[-1])
    assert all(step <= tile_cells * (1 - overlap) + 1 for step in steps)
    assert max(steps, default=0) - min(steps, default=0) <= 1
    if not wraps:
        assert axis.starts[0] == 0
        assert axis.starts[-1] + min(tile_cells, axis.cells) == axis.cells


def test_windows_lie_within_the_scene_and_over_their_cells(case):
    axis, (pixels, *_, wraps) = case
    cell = axis.pixels / axis.cells
    for number, start in enumerate(axis.starts):
        first = axis.window(number)
        if not wraps:
            assert 0 <= first <= axis.last
        if axis.padding:
            continue
        # Half a pixel of rounding, and a quarter of a cell where the mosaic is
        # stretched by part of a cell to end with the scene.
        off = abs(first + axis.tile_pixels / 2 - (start + axis.tile_cells / 2) * cell)
        assert off <= 0.5 + cell / 4
    if pixels * axis.tile_cells % axis.tile_pixels == 0:
        assert axis.cells * axis.tile_pixels == pixels * axis.tile_cells


def test_a_belt_has_the_grid_and_the_tiles_of_its_description():
    rows = geometry.place(3000, 1400, 350, 0.5, wraps=False)
    columns = geometry.place(36000, 2100, 525, 0.5, wraps=True)
    assert (rows.cells, columns.cells) == (750, 9000)
    assert rows.starts == (0, 133, 267, 400)
    assert [rows.window(k) for k in range(4)] == [0, 532, 1068, 1600]
    assert len(columns) == 35
    assert columns.window(34) + columns.tile_pixels > 36000


def test_a_single_tile_keeps_its_values_exactly():
    axis = geometry.place(1400, 1400, 350, 0.5, wraps=False)
    assert len(axis) == 1
    assert (axis.weights == 1).all()


def test_a_scene_of_about_one_tile_is_one_tile():
    for pixels in (1398, 1400, 1401):
        axis = geometry.place(pixels, 1400, 350, 0.5, wraps=False)
        assert (axis.cells, axis.padding, axis.tile_pixels) == (350, 0, pixels)


def test_a_short_scene_is_padded_and_keeps_the_size_of_its_cells():
    axis = geometry.place(900, 1400, 350, 0.5, wraps=False)
    assert (axis.cells, axis.padding, axis.starts) == (225, 500, (0,))
    assert len(axis.covered(0)) == 225
    assert axis.weights == pytest.approx(1)


def test_values_of_tiles_are_blended_as_a_slow_twin_blends_them(case):
    axis, _ = case
    values = np.random.default_rng(0).random((len(axis), 3))
    expected = np.zeros((axis.cells, 3))
    length = min(axis.tile_cells, axis.cells)
    for number, k in itertools.product(range(len(axis)), range(length)):
        cell = (axis.starts[number] + k) % axis.cells
        expected[cell] += axis.weights[number, k] * values[number]
    assert axis.spread(values) == pytest.approx(expected)
