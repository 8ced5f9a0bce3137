import numpy as np
import pytest

from clouds.climatology import cells
from clouds.climatology.cells import Cells, Grid


def grid(west, south, east, north, rows, columns):
    return Grid(
        np.linspace(north, south, rows + 1), np.linspace(west, east, columns + 1)
    )


def covered_slowly(where, one, mask):
    """Adds up the overlap of each cell with each pixel, on a fine grid of points."""
    found = np.zeros((where.rows, where.columns))
    for row in range(where.rows):
        for column in range(where.columns):
            south, north = where.latitude[row : row + 2]
            west, east = where.longitude[column : column + 2]
            sines = np.linspace(
                np.sin(np.deg2rad(south)), np.sin(np.deg2rad(north)), 401
            )
            latitudes = np.rad2deg(np.arcsin((sines[1:] + sines[:-1]) / 2))
            longitudes = west + (east - west) * (np.arange(400) + 0.5) / 400
            y = np.searchsorted(-one.latitude, -latitudes) - 1
            for turn in (-360, 0, 360):
                x = np.searchsorted(one.longitude, longitudes + turn) - 1
                inside_y = (y >= 0) & (y < mask.shape[0])
                inside_x = (x >= 0) & (x < mask.shape[1])
                part = mask[np.ix_(y[inside_y], x[inside_x])]
                found[row, column] += part.sum() / 400**2
    return found


@pytest.mark.parametrize(
    "box", [(-61, 10, -40, 24), (171.3, -7.7, 188.1, 4.2), (-180, -15, 180, 15)]
)
def test_covered_fractions_are_those_of_a_dense_set_of_points(box):
    one = grid(*box, 20, 30)
    mask = np.random.default_rng(0).random((20, 30)) > 0.5
    where = cells.covering([one], 10)
    rows, columns = cells.weights(where, one)
    assert np.allclose(
        rows @ mask @ columns, covered_slowly(where, one, mask), atol=0.01
    )


def test_the_direction_of_latitude_does_not_matter():
    one = grid(-61, 10, -40, 24, 7, 9)
    mask = np.random.default_rng(0).random((7, 9)) > 0.5
    where = cells.covering([one], 2.5)
    rows, columns = cells.weights(where, one)
    upward = one._replace(latitude=one.latitude[::-1])
    rows_upward, _ = cells.weights(where, upward)
    assert np.allclose(rows @ mask @ columns, rows_upward @ mask[::-1] @ columns)
    assert cells.covering([upward], 2.5) == where


def test_cells_are_those_of_the_global_grid_that_the_maps_touch():
    where = cells.covering([grid(-61, 10, -40, 24, 4, 4)], 2.5)
    assert where.latitude[[0, -1]].tolist() == [10, 25]
    assert where.longitude[[0, -1]].tolist() == [-62.5, -40]


def test_cells_continue_across_the_antimeridian():
    both = [grid(170, 0, 180, 10, 4, 4), grid(-180, 0, -175, 10, 4, 4)]
    where = cells.covering(both, 5)
    assert where.longitude.tolist() == [170, 175, 180, 185]
    rows, columns = cells.weights(where, both[1])
    assert (rows @ np.ones((4, 4)) @ columns)[0].round(6).tolist() == [0, 0, 1]


def test_the_whole_globe_starts_at_180_west():
    where = cells.covering([grid(-180, -90, 180, 90, 18, 36)], 30)
    assert where == Cells(30, 0, 6, 0, 12)
    assert where.areas.sum() * np.deg2rad(30) * np.sin(np.deg2rad(30)) == pytest.approx(
        4 * np.pi
    )
