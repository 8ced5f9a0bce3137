"""Positions and blending weights of the tiles of a scene (NumPy).

A tile is a window of the scene, which the network sees as one image, and so many cells
of the mosaic, the grid of the scene's masks. Tiles start at whole cells. Where a cell
has no whole number of pixels, windows are rounded to the nearest pixel. Both axes are
treated alike, so everything here is about one of them.
"""

import dataclasses
import functools
import math

import numpy as np

_ROUNDING = 1e-9


@dataclasses.dataclass(frozen=True)
class Axis:
    """The tiles along one axis of a scene.

    Attributes:
      pixels: length of the scene.
      cells: length of the mosaic.
      tile_pixels: length of a tile in pixels of the scene.
      tile_cells: length of a tile in cells of the mosaic.
      starts: first cell of each tile.
      wraps: whether the last cell is next to the first (longitudes over 360 degrees).
    """

    pixels: int
    cells: int
    tile_pixels: int
    tile_cells: int
    starts: tuple[int, ...]
    wraps: bool = False

    @property
    def padding(self) -> int:
        """Pixels that a tile has beyond the end of a scene shorter than one tile."""
        return max(0, self.tile_pixels - self.pixels)

    def window(self, number: int) -> int:
        """Returns the first pixel of a tile's window.

        Args:
          number: number of the tile. If the axis wraps, the window may end beyond the
            last pixel, or start before the first.
        """
        if self.padding:
            return 0
        centre = (self.starts[number] + self.tile_cells / 2) * self.pixels / self.cells
        first = math.floor(centre - self.tile_pixels / 2 + 0.5)
        return first if self.wraps else min(max(first, 0), self.last)

    @property
    def last(self) -> int:
        """The first pixel of the last possible window."""
        return max(0, self.pixels - self.tile_pixels)

    def covered(self, number: int) -> np.ndarray:
        """Returns the cells of a tile, int64[N], N at most `tile_cells`.

        Args:
          number: number of the tile.
        """
        cells = self.starts[number] + np.arange(min(self.tile_cells, self.cells))
        return cells % self.cells

    @functools.cached_property
    def weights(self) -> np.ndarray:
        """Blending weights, float64[tiles, N]: at each cell they add up to 1.

        They fall as a cosine from the middle of a tile to its ends, where the network
        sees least of the surroundings.
        """
        length = min(self.tile_cells, self.cells)
        phase = (np.arange(self.tile_cells) + 0.5) / self.tile_cells
        window = (0.5 - 0.5 * np.cos(2 * np.pi * phase))[:length]
        total = np.zeros(self.cells)
        for number in range(len(self.starts)):
            total[self.covered(number)] += window
        return np.stack([window / total[self.covered(k)] for k in range(len(self))])

    def __len__(self) -> int:
        return len(self.starts)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Blends one value per tile over the cells.

        Args:
          values: float[tiles, ...].

        Returns:
          float64[cells, ...].
        """
        blended = np.zeros((self.cells, *values.shape[1:]))
        for number, value in enumerate(values):
            weights = self.weights[number].reshape(-1, *[1] * value.ndim)
            blended[self.covered(number)] += weights * value
        return blended


def place(
    pixels: int, tile_pixels: int, tile_cells: int, overlap: float, *, wraps: bool
) -> Axis:
    """Places tiles along an axis, at equal distances.

    Args:
      pixels: length of the scene.
      tile_pixels: length of a tile in pixels of the scene.
      tile_cells: length of a tile in cells of the mosaic.
      overlap: least part of a tile that its neighbour covers too, below 1; up to a
        cell less, as tiles start at whole cells.
      wraps: whether the scene continues at its first pixel after its last.

    Returns:
      The tiles. A scene within half a cell of the length of a tile is one tile; a
      shorter one is one tile too, which has padding.
    """
    cells = max(1, round(pixels * tile_cells / tile_pixels))
    if cells == tile_cells:
        tile_pixels = pixels
    stride = max(1, tile_cells * (1 - overlap))
    if wraps and cells > tile_cells:
        count = math.ceil(cells / stride - _ROUNDING)
        # Not `round`, which rounds half of the halves down.
        starts = (math.floor(k * cells / count + 0.5) for k in range(count))
        return Axis(pixels, cells, tile_pixels, tile_cells, tuple(starts), True)
    free = max(0, cells - tile_cells)
    count = math.ceil(free / stride - _ROUNDING) + 1
    starts = (round(k * free / max(1, count - 1)) for k in range(count))
    return Axis(pixels, cells, tile_pixels, tile_cells, tuple(starts))
