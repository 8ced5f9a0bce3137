"""The competition's csv: `Image_Label,EncodedPixels`, a row an image and label.

The first column reads `<image>.jpg_<label>`; the second holds the runs of the
label's mask (see `clouds.rle`), empty where the image lacks the label.
"""

import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import tensorflow as tf

from clouds import rle, schema
from clouds.errors import InputError

COLUMNS = ["Image_Label", "EncodedPixels"]

_MASKS_LOOKED_AT = 256
_ENOUGH = 20
_SLOPE = 4
_WIDEST = 4


class Table(NamedTuple):
    """Images and their texts, in the csv's order.

    Attributes:
      images: the names of N images.
      texts: str[N, C], the runs of each label, in the order of `schema.LABELS`;
        None of images without labels.
      rows: int64[N, C], the csv's row of each text; the header is row 1.
      path: the csv, or the folder of images without one.
    """

    images: list[str]
    texts: np.ndarray | None
    rows: np.ndarray | None
    path: str

    def one(self, image: int) -> "Table":
        """The part of one image."""
        part = slice(image, image + 1)
        labelled = self.texts is not None
        return Table(
            self.images[part],
            self.texts[part] if labelled else None,
            self.rows[part] if labelled else None,
            self.path,
        )

    @property
    def present(self) -> np.ndarray:
        """bool[N, C], which labels each image has."""
        return self.texts != ""

    def where(self, image: int, label: int) -> str:
        """Names the place of a text, for errors."""
        return f"{self.path}, row {self.rows[image, label]}"

    def runs(self, image: int, grid: rle.Size) -> list[np.ndarray]:
        """Parses the texts of one image.

        Args:
          image: its index.
          grid: height and width that the runs count on.

        Returns:
          int64[R, 2] for each label (see `rle.parse`).

        Raises:
          InputError: a text breaks the format; names its row and run.
        """
        return [
            rle.parse(text, grid, where=self.where(image, label))
            for label, text in enumerate(self.texts[image])
        ]


def read(path: str) -> Table:
    """Reads and checks a csv, plain or compressed; blank lines are passed over.

    Args:
      path: the file, local or any that `tf.io.gfile` knows; its ending tells the
        compression (.gz, .xz, .zip, …).

    Returns:
      The table. Every image has a row for each label.

    Raises:
      InputError: the file is missing or no csv, a column is missing, a label is
        unknown, a row is there twice, or an image lacks a label's row.
    """
    frame = _read_csv(path)
    lines = frame.index.to_numpy() + 2
    images, labels = _split_names(frame["Image_Label"], lines, path)
    images, names = pd.factorize(images)
    cells = images * len(schema.LABELS) + labels
    _check_cells(cells, lines, names, path)
    texts = np.full(len(names) * len(schema.LABELS), "", object)
    rows = np.zeros(texts.size, np.int64)
    texts[cells] = frame["EncodedPixels"].str.strip().to_numpy(object)
    rows[cells] = lines
    shape = (len(names), len(schema.LABELS))
    return Table(list(names), texts.reshape(shape), rows.reshape(shape), path)


def doubt(read: Table, grid: rle.Size) -> str | None:
    """What speaks against a csv or its grid: what the runs themselves show.

    Nobody drew the same mask for every image and label, as sample submissions have it.

    A mask's edges are steady, so most runs start about a column's height after the one
    before. In the competition's csv that holds of 66 % of the starts, and of 96 % in
    procedural scenes; on a grid of another height of less than 0.1 %. Widths are not
    told apart.

    Args:
      read: a csv with labels; of many masks some are looked at.
      grid: height and width that its runs are said to count on.

    Returns:
      A sentence or two; None where nothing does, or too few runs tell.

    Raises:
      InputError: a text breaks the format; names its row and run.
    """
    first = read.texts[0, 0]
    if first and len(read.images) > 1 and (read.texts == first).all():
        return (
            f"The csv should have masks that were drawn. Received: '{first}' of every "
            f"image and label, in {read.path}, as sample submissions have. For images "
            "without masks give --unlabelled."
        )
    places = np.argwhere(read.present)
    places = places[:: -(-len(places) // _MASKS_LOOKED_AT) or 1]
    masks = [
        rle.parse(read.texts[place], grid, where=read.where(*place))
        for place in map(tuple, places)
    ]
    steps = np.concatenate([[], *(np.diff(runs[:, 0]) for runs in masks)])
    if len(steps) < _ENOUGH:
        return None
    values, counts = np.unique(steps, return_counts=True)
    height = int(values[np.argmax(counts)])
    of_height, of_grid = (
        np.mean(np.abs(steps - each) <= _SLOPE) for each in (height, grid[0])
    )
    last = max(runs[-1].sum() - 1 for runs in masks)
    # Stripes and textures have short steps, whose columns would be too many.
    if of_height <= 0.5 or of_grid >= 0.01 or last > _WIDEST * height**2:
        return None
    return (
        "--grid must be the one that the runs count on, down its columns. Received: "
        f"{grid[0]}x{grid[1]}, but most runs of {read.path} start about {height} "
        f"pixels after the one before, as in columns {height} high. Check --grid "
        f"({schema.GRID[0]}x{schema.GRID[1]} if not given), and that pixels are "
        "counted down the columns."
    )


def _read_csv(path: str) -> pd.DataFrame:
    if not tf.io.gfile.exists(path) or tf.io.gfile.isdir(path):
        found = "a folder" if tf.io.gfile.exists(path) else "not there"
        raise InputError(
            f"The csv must be a file. Received: '{path}', which is {found}. Check the "
            "path."
        )
    try:
        with tempfile.TemporaryDirectory() as folder:
            copy = path
            if "://" in path:
                copy = f"{folder}/{Path(path).name}"
                tf.io.gfile.copy(path, copy)
            frame = pd.read_csv(
                copy, dtype=str, keep_default_na=False, skip_blank_lines=False
            )
    except pd.errors.EmptyDataError as error:
        raise InputError(
            f"The csv must have the columns {','.join(COLUMNS)}. "
            f"Received: '{path}', which is empty."
        ) from error
    except UnicodeDecodeError as error:
        raise _not_utf8(path, f"byte 0x{error.object[error.start]:02x}") from error
    except (ValueError, OSError, EOFError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(
            f"The csv must have the columns {','.join(COLUMNS)}. "
            f"Received: '{path}', which cannot be read as one ({reason})."
        ) from error
    if any("\0" in str(column) for column in frame.columns):
        raise _not_utf8(path, "zero bytes")
    if not set(COLUMNS) <= set(frame.columns):
        raise InputError(
            f"The csv must have the columns {','.join(COLUMNS)}. Received: "
            f"{','.join(map(str, frame.columns))[:200]}, in {path}. "
            "Check its first line."
        )
    frame[COLUMNS] = frame[COLUMNS].fillna("")
    blank = (frame["Image_Label"].str.strip() == "") & (frame["EncodedPixels"] == "")
    frame = frame[~blank]
    if frame.empty:
        raise InputError(
            f"The csv must have a row for each image and label. Received: none, "
            f"in {path}."
        )
    return frame


def _not_utf8(path: str, received: str) -> InputError:
    return InputError(
        f"The csv must be UTF-8 text. Received: {received}, in '{path}', as UTF-16 and "
        "older encodings have. Write it with the encoding utf-8, or, if it is "
        "compressed, give it a name that says so, such as train.csv.gz."
    )


def _split_names(
    column: pd.Series, lines: np.ndarray, path: str
) -> tuple[pd.Series, np.ndarray]:
    parts = column.str.rpartition("_")
    images, labels = parts[0], parts[2]
    codes = pd.Index(schema.LABELS).get_indexer(labels)
    broken = (codes < 0) | (images == "").to_numpy()
    if broken.any():
        row = int(np.argmax(broken))
        raise InputError(
            f"Cloud label must be one of {', '.join(schema.LABELS)}. Received: "
            f"'{labels.iloc[row]}', in {path}, row {lines[row]}. "
            "Check that its first column reads <image>.jpg_<label>."
        )
    return images, codes


def _check_cells(
    cells: np.ndarray, lines: np.ndarray, names: pd.Index, path: str
) -> None:
    counts = np.bincount(cells, minlength=len(names) * len(schema.LABELS))
    if (counts > 1).any():
        twice = int(np.argmax(counts > 1))
        rows = lines[cells == twice]
        raise InputError(
            f"Each image and label must have one row. Received: {_cell(twice, names)} "
            f"twice, in {path}, rows {rows[0]} and {rows[1]}. Remove one of them."
        )
    if (counts == 0).any():
        raise InputError(
            "Each image must have a row for each label. Received: none for "
            f"{_cell(int(np.argmax(counts == 0)), names)}, in {path}. "
            "Add it, with an empty second column if the image lacks the label."
        )


def _cell(cell: int, names: pd.Index) -> str:
    image, label = divmod(cell, len(schema.LABELS))
    return f"{names[image]}_{schema.LABELS[label]}"
