"""The table of images and their run-length codes."""

from typing import NamedTuple

import numpy as np

from clouds import rle, schema
from clouds.data.masks.csv_rows import STANDARD, Header
from clouds.schema import CLOUDS


class Drawings(NamedTuple):
    """Boxes that annotators drew, from which masks are made by vote.

    Attributes:
      size: height and width of the images in the pixels of the boxes.
      vote: `union`, `majority`, or `soft`, which keeps the share of annotators, too.
      images: for each image, number and boxes of each annotator who saw it.
    """

    size: rle.Size
    vote: str
    images: list[list[tuple[int, list[tuple]]]]


class Table(NamedTuple):
    """Images and their run-length codes, in the order of the csv.

    Attributes:
      images: names of N images.
      texts: str[N, C]; None without labels.
      rows: int64[N, C], number of the row of each text; None without labels.
      path: the file or folder of masks, or the folder of images without one.
      labels: names of the C labels.
      header: form of the csv, and its columns.
      grid: height and width of the grid of the runs.
      drawings: the boxes that the masks were made of; None for other masks.
    """

    images: list[str]
    texts: np.ndarray | None
    rows: np.ndarray | None
    path: str
    labels: tuple[str, ...] = CLOUDS.labels
    header: Header = STANDARD
    grid: rle.Size = schema.GRID
    drawings: Drawings | None = None

    def one(self, image: int) -> "Table":
        """Returns the table of one image."""
        part = slice(image, image + 1)
        if self.texts is None:
            return self._replace(images=self.images[part])
        drawings = self.drawings
        if drawings:
            drawings = drawings._replace(images=drawings.images[part])
        return self._replace(
            images=self.images[part],
            texts=self.texts[part],
            rows=self.rows[part],
            drawings=drawings,
        )

    def with_empty(self, images: list[str]) -> "Table":
        """Returns the table with more images, without masks."""
        shape, drawings = (len(images), len(self.labels)), self.drawings
        if drawings:
            # Nobody saw them.
            seen = [*drawings.images, *([] for _ in images)]
            drawings = drawings._replace(images=seen)
        return self._replace(
            images=[*self.images, *images],
            drawings=drawings,
            texts=np.concatenate([self.texts, np.full(shape, "", object)]),
            rows=np.concatenate([self.rows, np.zeros(shape, np.int64)]),
        )

    @property
    def present(self) -> np.ndarray:
        """bool[N, C], whether an image has a label."""
        return self.texts != ""

    def where(self, image: int, label: int) -> str:
        """Returns the place of a text, for errors."""
        return f"{self.path}, row {self.rows[image, label]}"

    def runs(self, image: int, grid: rle.Size) -> list[np.ndarray]:
        """Parses the texts of one image.

        Args:
          image: index of the image.
          grid: height and width of the grid of the runs.

        Returns:
          int64[R, 2] for each label (see `rle.parse`).

        Raises:
          InputError: a text is malformed; the message names its row and run.
        """
        return [
            rle.parse(text, grid, where=self.where(image, label))
            for label, text in enumerate(self.texts[image])
        ]
