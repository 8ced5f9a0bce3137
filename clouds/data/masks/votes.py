"""Masks of several annotators' boxes, by vote.

The edges of all boxes divide an image into few rectangles, in each of which everywhere
the same annotators agree. Votes are counted there, not pixel by pixel.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from clouds import rle
from clouds.data.masks import boxes
from clouds.data.masks.boxes import Boxes
from clouds.data.masks.table import Drawings, Table

UNION, MAJORITY, SOFT = "union", "majority", "soft"


class Votes(NamedTuple):
    """Votes for one label in an image.

    Attributes:
      rows: int64[Y + 1], edges of the rectangles, from 0 to the height of the grid.
      columns: int64[X + 1], edges from 0 to the width.
      counts: int64[Y, X], number of annotators with a box there.
      annotators: number of annotators who saw the image.
    """

    rows: np.ndarray
    columns: np.ndarray
    counts: np.ndarray
    annotators: int

    def runs(self, vote: str) -> np.ndarray:
        """Returns the runs of the mask, int64[R, 2] (see `rle.parse`).

        Args:
          vote: `union`, any annotator; else more than half of them.
        """
        least = 1 if vote == UNION else self.annotators // 2 + 1
        height, runs = self.rows[-1], []
        chosen = (self.counts >= least).T
        for selected, left, right in zip(
            chosen, self.columns[:-1], self.columns[1:], strict=True
        ):
            columns = np.arange(left, right)[:, None]
            starts = columns * height + self.rows[:-1][selected] + 1
            lengths = np.broadcast_to(np.diff(self.rows)[selected], starts.shape)
            runs.append(np.stack([starts.ravel(), lengths.ravel()], axis=1))
        return rle.unite(np.concatenate(runs))

    def shares(self, size: rle.Size) -> np.ndarray:
        """Returns the share of annotators at each pixel, by nearest neighbour.

        Args:
          size: height and width.

        Returns:
          float64[H, W].
        """
        inside = (
            np.searchsorted(edges, rle.nearest(edges[-1], target), side="right") - 1
            for edges, target in zip((self.rows, self.columns), size, strict=True)
        )
        return self.counts[np.ix_(*inside)] / max(self.annotators, 1)


def count(
    drawn: Sequence[list[tuple]], labels: int, size: rle.Size, grid: rle.Size
) -> list[Votes]:
    """Counts the votes for each label in an image.

    Args:
      drawn: boxes of each annotator who saw the image (see `boxes.Boxes`).
      labels: number of labels.
      size: height and width of the image in the pixels of the boxes.
      grid: height and width of the grid of the masks.
    """
    of_annotators = [boxes.cells(one, size, grid) for one in drawn]
    return [
        _count_label([one[one[:, 0] == label, 1:] for one in of_annotators], grid)
        for label in range(labels)
    ]


def _count_label(rectangles: Sequence[np.ndarray], grid: rle.Size) -> Votes:
    together = np.concatenate([np.zeros((0, 4), np.int64), *rectangles])
    rows = np.unique([0, grid[0], *together[:, :2].ravel()])
    columns = np.unique([0, grid[1], *together[:, 2:].ravel()])
    counts = np.zeros((len(rows) - 1, len(columns) - 1), np.int64)
    for one in rectangles:
        has_box = np.zeros(counts.shape, bool)
        for top, bottom, left, right in one:
            down = slice(*np.searchsorted(rows, [top, bottom]))
            across = slice(*np.searchsorted(columns, [left, right]))
            has_box[down, across] = True
        counts += has_box
    return Votes(rows, columns, counts, len(rectangles))


def table(
    annotators: Mapping[str, Boxes],
    labels: tuple[str, ...],
    *,
    size: rle.Size,
    vote: str,
    path: str,
) -> Table:
    """Returns the masks of annotators' boxes by vote, as run-length codes.

    Args:
      annotators: boxes by annotator.
      labels: names of the labels.
      size: height and width of the images in the pixels of the boxes, and of the grid
        of the runs.
      vote: `union`; or `majority` or `soft`, both with masks by majority.
      path: name of the source, for messages.

    Returns:
      The table, with images in the order of their names.
    """
    images = sorted({name for one in annotators.values() for name in one.images})
    texts = np.full((len(images), len(labels)), "", object)
    drawn = [
        [
            (number, one.images[image])
            for number, one in enumerate(annotators.values(), start=1)
            if image in one.images
        ]
        for image in images
    ]
    for row, of_image in enumerate(drawn):
        shapes = [shapes for _, shapes in of_image]
        for column, votes in enumerate(count(shapes, len(labels), size, size)):
            runs = votes.runs(vote)
            texts[row, column] = " ".join(map(str, runs.reshape(-1).tolist()))
    rows, drawings = np.zeros(texts.shape, np.int64), Drawings(size, vote, drawn)
    return Table(images, texts, rows, path, labels, grid=size, drawings=drawings)


def shares(table: Table, size: rle.Size) -> np.ndarray:
    """Returns the share of annotators who see each label in an image.

    Args:
      table: table of one image, from boxes.
      size: height and width of the result.

    Returns:
      uint8[H, W, C], shares times 255.
    """
    ((drawn,), grid) = table.drawings.images, table.drawings.size
    votes = count([one for _, one in drawn], len(table.labels), grid, grid)
    planes = [one.shares(size) for one in votes]
    return np.rint(255 * np.stack(planes, axis=-1)).astype(np.uint8)
