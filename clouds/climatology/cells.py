"""A regular grid of cells in degrees, and areas of overlap with the cells of maps.

Areas on the sphere separate: the area between two meridians and two parallels is
proportional to the difference in longitude and to that of the sine of latitude. The
covered fraction of a cell is therefore a product of two small matrices and the mask.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np


class Grid(NamedTuple):
    """The cells of maps.

    Attributes:
      latitude: float64[H + 1], edges of the rows in degrees, in either direction.
      longitude: float64[W + 1], edges of the columns in degrees, ascending.
    """

    latitude: np.ndarray
    longitude: np.ndarray


class Cells(NamedTuple):
    """A part of the global grid.

    Attributes:
      size: degrees per cell; divides 180.
      south: index of the southernmost row, 0 at the South Pole.
      rows: number of rows, R.
      west: index of the westernmost column, 0 at 180° W.
      columns: number of columns, Q; they may continue beyond 180° E.
    """

    size: float
    south: int
    rows: int
    west: int
    columns: int

    @property
    def latitude(self) -> np.ndarray:
        """float64[R + 1], edges in degrees from south to north."""
        return -90 + self.size * np.arange(self.south, self.south + self.rows + 1)

    @property
    def longitude(self) -> np.ndarray:
        """float64[Q + 1], ascending edges in degrees."""
        return -180 + self.size * np.arange(self.west, self.west + self.columns + 1)

    @property
    def areas(self) -> np.ndarray:
        """float64[R, Q], areas relative to that of a cell at the equator."""
        heights = np.diff(np.sin(np.deg2rad(self.latitude)))
        areas = heights / np.sin(np.deg2rad(self.size))
        return np.repeat(areas[:, None], self.columns, axis=1)


def covering(grids: Iterable[Grid], size: float) -> Cells:
    """Returns the smallest part of the global grid that contains all maps.

    Args:
      grids: grids of the maps, at least one.
      size: degrees per cell; divides 180.
    """
    count = round(360 / size)
    touched = np.zeros(count, bool)
    south, north = math.inf, -math.inf
    for grid in grids:
        first, last = _indices(grid.longitude, size, -180)
        touched[np.arange(first, last) % count] = True
        low, high = _indices(np.sort(grid.latitude), size, -90)
        south, north = min(south, low), max(north, high)
    west, columns = _shortest_arc(touched)
    return Cells(size, south, north - south, west, columns)


def weights(cells: Cells, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Returns the fractions of the cells that lie in the rows and columns of a map.

    Args:
      cells: R rows and Q columns.
      grid: grid of a map with H rows and W columns.

    Returns:
      float64[R, H] and float64[W, Q]: `rows @ mask @ columns` is the covered fraction
      of each cell.
    """
    sines = np.sin(np.deg2rad(grid.latitude))
    if sines[0] > sines[-1]:
        rows = _overlaps(np.sin(np.deg2rad(cells.latitude)), sines[::-1])[:, ::-1]
    else:
        rows = _overlaps(np.sin(np.deg2rad(cells.latitude)), sines)
    columns = sum(
        _overlaps(cells.longitude, grid.longitude + turn) for turn in (-360, 0, 360)
    )
    return rows, columns.T


def _indices(edges: np.ndarray, size: float, origin: float) -> tuple[int, int]:
    """Returns the index of the first cell and that after the last one."""
    # Edges such as 0.1 * 3 lie beside the cells' by rounding.
    ends = ((edges[[0, -1]] - origin) / size).round(6)
    return math.floor(ends[0]), math.ceil(ends[1])


def _overlaps(cells: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Returns the fraction of each cell within each part; both edges ascend."""
    low = np.maximum(cells[:-1, None], parts[None, :-1])
    high = np.minimum(cells[1:, None], parts[None, 1:])
    return np.maximum(high - low, 0) / np.diff(cells)[:, None]


def _shortest_arc(touched: np.ndarray) -> tuple[int, int]:
    """Returns start and length of the shortest arc of columns with all touched ones."""
    indices = np.flatnonzero(touched)
    gaps = np.diff(np.append(indices, indices[0] + len(touched))) - 1
    widest = int(gaps.argmax())
    if gaps[widest] == gaps[-1]:
        # The gap at the date line, if others are as wide.
        widest = len(gaps) - 1
    return int(indices[(widest + 1) % len(indices)]), int(len(touched) - gaps[widest])
