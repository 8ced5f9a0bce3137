"""The blended probabilities of a scene, in a folder.

Each row of tiles is a file that is written atomically, so that a scene resumes after
its last finished row. A cell of the mosaic is the sum of the rows that cover it. Memory
is that of one block of columns.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from clouds.postprocess.blockwise import Block
from clouds.prediction.tiling.geometry import Axis
from clouds.runtime import checksums, files

_MEGABYTE = 1 << 20
_KINDS = ("row", "scores")
_COPIES = 6
"""Arrays of the size of a block that exist at a time, in it and in its rule."""

Add = Callable[[int, np.ndarray, np.ndarray, np.ndarray], None]


class Mosaic:
    """The mosaic of one scene.

    Args:
      folder: folder of its files.
      rows: tiles from north to south.
      columns: tiles from west to east.
      labels: number of labels.

    Attributes:
      size: height and width in cells.
    """

    def __init__(self, folder: Path, rows: Axis, columns: Axis, labels: int):
        """Opens the mosaic, or starts it."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._labels = folder, labels
        self._rows, self._columns = rows, columns
        self.size = rows.cells, columns.cells

    def missing(self) -> list[int]:
        """Returns the numbers of the rows of tiles that are not finished and intact."""
        return [row for row in range(len(self._rows)) if not self._is_intact(row)]

    @contextlib.contextmanager
    def writing(self, row: int) -> Iterator[Add]:
        """Writes a row of tiles, which is finished when the block ends.

        Args:
          row: number of the row.

        Yields:
          A function that adds a tile, given its column, its probabilities
          float32[h, w, C] and bool[h, w] where it is observed, both on the grid of the
          rule, and its presence scores float32[C].
        """
        length = len(self._rows.covered(row))
        shape = (length, self._columns.cells, self._labels + 1)
        files.check_free_space(self._folder, 4 * int(np.prod(shape)), "Rows of tiles")
        scores = np.zeros((len(self._columns), self._labels), np.float32)
        with files.replacing(self._path(row)) as part:
            blended = files.mapped(part, shape, "float32")

            def add(column, probabilities, observed, tile_scores) -> None:
                cells = self._columns.covered(column)
                tile = np.concatenate([probabilities, observed[..., None]], axis=-1)
                weights = np.outer(
                    self._rows.weights[row], self._columns.weights[column]
                )
                tile = tile[:length, : len(cells)]
                tile = tile * weights[..., None].astype(np.float32)
                # A tile over the seam is in two pieces.
                for piece in np.split(np.arange(len(cells)), _breaks(cells)):
                    first = cells[piece[0]]
                    blended[:, first : first + len(piece)] += tile[:, piece]
                scores[column] = tile_scores

            yield add
            blended.flush()
            with files.writing(self._path(row, "scores"), "wb") as file:
                np.save(file, scores)
        for kind in _KINDS:
            checksums.write_beside(self._path(row, kind))

    def scores(self) -> np.ndarray:
        """Returns the presence scores of all tiles, float32[rows, columns, C]."""
        rows = range(len(self._rows))
        return np.stack([np.load(self._path(row, "scores")) for row in rows])

    def blocks(self, memory: int, *, with_scores: bool = False) -> Iterator[Block]:
        """Yields the mosaic from west to east.

        Args:
          memory: megabytes for a block.
          with_scores: whether to blend the presence scores of the tiles, too.
        """
        height, width = self.size
        channels = self._labels * (2 if with_scores else 1) + 1
        bytes_per_column = height * channels * 4 * _COPIES
        # The post-process packs eight columns.
        step = max(8, memory * _MEGABYTE // bytes_per_column // 8 * 8)
        by_column = None
        if with_scores:
            # float64[W, rows of tiles, C]
            by_column = self._columns.spread(self.scores().swapaxes(0, 1))
        for first in range(0, width, step):
            part = slice(first, min(first + step, width))
            blended = self._sum(part)
            scores = None
            if by_column is not None:
                scores = self._rows.spread(by_column[part].swapaxes(0, 1))
                scores = scores.astype(np.float32)
            yield Block(blended[..., :-1], blended[..., -1] > 0.5, scores)

    def _sum(self, part: slice) -> np.ndarray:
        total = np.zeros(
            (self.size[0], part.stop - part.start, self._labels + 1), np.float32
        )
        for row in range(len(self._rows)):
            cells = self._rows.covered(row)
            stored = np.load(self._path(row), mmap_mode="r")
            total[cells[0] : cells[-1] + 1] += stored[:, part]
        return total

    def _is_intact(self, row: int) -> bool:
        return all(checksums.is_intact(self._path(row, kind)) for kind in _KINDS)

    def _path(self, row: int, kind: str = "row") -> Path:
        return self._folder / f"{kind}_{row:05d}.npy"


def _breaks(cells: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.diff(cells) != 1) + 1
