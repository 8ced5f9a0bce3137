"""Masks of a csv, of COCO annotations or of a folder of PNGs, as one table.

`clouds.data.masks` reads the files. Here they become run-length codes in the
competition's form (see `clouds.rle`), a text per image and label; empty where the
image lacks the label.
"""

import collections
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from clouds import rle, schema
from clouds.config.checks import check_labels
from clouds.config.fields import MaskFormat
from clouds.data.images import reading
from clouds.data.masks import coco, csv_rows, png_masks
from clouds.data.masks.csv_rows import Fault, Header, Row
from clouds.data.masks.table import Table
from clouds.errors import InputError
from clouds.schema import CLOUDS
from clouds.text import counted

_NO_MASK = {"-1", "nan"}
_SAMPLED_MASKS = 256
_ENOUGH_STEPS = 20
_SLOPE = 4
_WIDEST = 4


class Source(NamedTuple):
    """How to read masks.

    Attributes:
      form: form of the file; None to find it.
      order: `column` or `row`, along which runs count pixels.
      base: number of the first pixel, 1 or 0.
      starts: `absolute`, or `relative` to the end of the previous run.
      complete: whether each image of a csv with images and labels in one column must
        have a row for each label.
      grid: height and width of the grid of the runs; None for the competition's with
        its labels, and the size of the images with others.
      image_size: returns that size.
    """

    form: MaskFormat | None = None
    order: str = "column"
    base: int = 1
    starts: str = "absolute"
    complete: bool = True
    grid: rle.Size | None = schema.GRID
    image_size: Callable[[], rle.Size] | None = None

    def with_grid(self, labels: tuple[str, ...]) -> "Source":
        """Returns the same with the grid for masks of these labels."""
        if self.grid:
            return self
        known = labels == CLOUDS.labels
        return self._replace(grid=schema.GRID if known else self.image_size())


def read(
    path: str,
    labels: tuple[str, ...] | None = None,
    source: Source = Source(),  # noqa: B008
    images: Iterable[str] = (),
) -> Table:
    """Reads and checks masks.

    Args:
      path: csv or COCO annotations, plain or compressed (.gz, .bz2, .xz, .zip), local
        or remote; or a folder of PNG masks.
      labels: names of the labels; None to take them from the file (`find_labels`).
      source: how to read it.
      images: names of the images, for a folder of masks.

    Returns:
      The table, with images in the order of the file.

    Raises:
      InputError: the file is missing or is not in its form, a label is unknown, a row
        is duplicated or malformed, or an image lacks the row of a label.
    """
    form = source.form or find_form(path)
    if form == "coco":
        return _read_drawn(coco.read(path), labels, source)
    if form == "png":
        names = [name.rstrip("/") for name in tf.io.gfile.listdir(path)]
        return _read_drawn(png_masks.find(path, names, images, labels), labels, source)
    rows, faults, header = csv_rows.read_rows(path, form=form, labels=labels or ())
    if not rows and not faults:
        raise InputError(f"{path} has no rows. It needs one per image and label.")
    if not faults:
        labels = labels or find_labels(rows, path)
        faults = check_names(rows, path, labels, header, complete=source.complete)
    if faults:
        raise InputError(_summarise(faults))
    source = source.with_grid(labels)
    table = Table([], None, None, path, labels, header, source.grid)
    return _from_rows(rows, table, source)


def size_of_first(images: Mapping[str, str]) -> rle.Size:
    """Returns height and width of the first image, upright, by its header.

    Args:
      images: paths by name.

    Raises:
      InputError: it cannot be read, or is no image.
    """
    return reading.shape(next(iter(images.values())))


def find_form(path: str) -> MaskFormat | None:
    """Returns the form of masks by the path; None for a csv, whose header tells it."""
    if tf.io.gfile.isdir(path):
        return "png"
    words = path.lower().split(".")
    return "coco" if "json" in words[-2:] else None


def _from_rows(rows: list[Row], table: Table, source: Source) -> Table:
    images = {name: k for k, name in enumerate(dict.fromkeys(r.image for r in rows))}
    order = {label: k for k, label in enumerate(table.labels)}
    texts = np.full((len(images), len(order)), "", object)
    numbers = np.zeros(texts.shape, np.int64)
    several = collections.defaultdict(list)
    changed = (source.order, source.base, source.starts) != ("column", 1, "absolute")
    for row in rows:
        if not row.label:
            continue
        cell = images[row.image], order[row.label]
        # `find_warning` looks for the length of a cell.
        text = row.text if len(row.text) == rle.SPREADSHEET_CELL else row.text.strip()
        if len(text) < 4 and text.lower() in _NO_MASK:
            text = ""
        if text and (texts[cell] or changed):
            parts = several[cell]
            if texts[cell] and not parts:
                parts.append((texts[cell], numbers[cell]))
            parts.append((text, row.number))
        texts[cell] = texts[cell] or text
        numbers[cell] = numbers[cell] or row.number
    for cell, parts in several.items():
        texts[cell] = _unite(parts, table.path, source)
    return table._replace(images=list(images), texts=texts, rows=numbers)


def _unite(parts: list[tuple[str, int]], path: str, source: Source) -> str:
    """Returns the union of masks as text in the competition's form."""
    by_row = source.order == "row"
    shape = source.grid[::-1] if by_row else source.grid
    runs = []
    for text, number in parts:
        where = f"{path}, row {number}"
        if source.starts == "relative":
            text = rle.from_relative(text, where=where)
        runs.append(rle.parse(text, shape, where=where, base=source.base))
    runs = rle.unite(np.concatenate(runs))
    if not by_row:
        return " ".join(map(str, runs.reshape(-1).tolist()))
    # Drawn on the transposed grid, rows are columns.
    return rle.encode(rle.paint(runs, shape).T)


def _read_drawn(masks, labels: tuple[str, ...] | None, source: Source) -> Table:
    """Encodes masks that are polygons or images, on the grid."""
    labels = labels or _in_order(masks.labels, masks.path)
    grid = source.with_grid(labels).grid
    index = {image: k for k, image in enumerate(masks.images)}
    texts = np.full((len(index), len(labels)), "", object)
    numbers = np.zeros(texts.shape, np.int64)
    united = {}
    for number, (image, label, mask, where) in enumerate(masks.draw(), 1):
        if label not in labels:
            raise InputError(
                f"{where}: unknown label '{label}'. Expected one of "
                f"{', '.join(labels)}. Give all with --labels."
            )
        cell = index[image], labels.index(label)
        runs = rle.parse(rle.encode(_on_grid(mask, grid)), grid)
        united[cell] = np.concatenate([united.get(cell, runs[:0]), runs])
        numbers[cell] = number
    for cell, runs in united.items():
        texts[cell] = " ".join(map(str, rle.unite(runs).reshape(-1).tolist()))
    table = Table(list(index), texts, numbers, masks.path, labels)
    return table._replace(grid=grid)


def _on_grid(mask: np.ndarray, grid: rle.Size) -> np.ndarray:
    """Samples a mask at the centres of a grid's pixels."""
    if mask.shape == tuple(grid):
        return mask
    return mask[np.ix_(*(rle.nearest(mask.shape[k], grid[k]) for k in (0, 1)))]


def find_labels(rows: list[Row], path: str) -> tuple[str, ...]:
    """Returns the labels of a csv: in the order in which they appear, or by number.

    A csv with two or more of the competition's labels has its four, so that a
    misspelt one is not taken for a fifth.

    Raises:
      InputError: there are too many, or one has an unusable name.
    """
    return _in_order((row.label for row in rows if row.label or row.text), path)


def _in_order(labels: Iterable[str], path: str) -> tuple[str, ...]:
    labels = dict.fromkeys(labels)
    if len(labels.keys() & {*CLOUDS.labels}) > 1:
        return CLOUDS.labels
    if all(label.isdecimal() for label in labels):
        labels = sorted(labels, key=int)
    return check_labels(labels, path)


def check_names(
    rows: list[Row],
    path: str,
    labels: tuple[str, ...],
    header: Header = csv_rows.STANDARD,
    *,
    complete: bool = True,
) -> list[Fault]:
    """Checks the labels of the rows.

    With the image and the label in one column, each image needs one row for each.

    Args:
      rows: rows of the csv.
      path: the csv, for errors.
      labels: names of the labels.
      header: form of the csv.
      complete: whether rows may not be missing in that form.

    Returns:
      The errors: unknown labels, duplicate and missing rows.
    """
    faults, numbers, starts = [], {}, {}
    joined = header.form == "image_label"
    example = (
        f", after the image and an underscore: a.jpg_{labels[0]}" if joined else ""
    )
    for row in rows:
        place = f"{path}, row {row.number}:"
        is_listed = not joined and not row.label and not row.text.strip()
        if not row.image or not (row.label in labels or is_listed):
            message = (
                f"{place} unknown label '{row.label}'. Expected one of "
                f"{', '.join(labels)}{example}."
            )
            faults.append(Fault("label", row.number, message))
        elif joined and row.name in numbers:
            message = (
                f"{place} duplicate of row {numbers[row.name]}, {row.name}. Keep one "
                "row per image and label: join their runs, sorted, or remove the row."
            )
            faults.append(Fault("duplicate", row.number, message))
        else:
            numbers[row.name] = row.number
            starts.setdefault(row.image, row.number)
    for image, number in starts.items() if joined and complete else ():
        for label in labels:
            if (name := f"{image}_{label}") not in numbers:
                message = (
                    f"{path}: no row for {name}; {image} starts in row {number}. Add "
                    "it, with an empty second field if the image lacks the label."
                )
                faults.append(Fault("missing", number, message))
    return faults


def find_warning(table: Table, grid: rle.Size) -> str | None:
    """Returns a warning if the runs suggest another csv or another grid.

    Identical masks for all images and labels suggest a sample submission.

    The edges of a mask are smooth, so most runs start about one column's height after
    the run before. In the competition's csv 66 % of the runs do, in procedural scenes
    96 %; on a grid of another height less than 0.1 %. The width has no such effect.

    Args:
      table: csv with labels; of many masks only a sample is examined.
      grid: height and width of the grid given for its runs.

    Returns:
      The warning; None without one, or if there are too few runs.

    Raises:
      InputError: a text is malformed; the message names its row and run.
    """
    cut = np.argwhere(np.frompyfunc(len, 1, 1)(table.texts) == rle.SPREADSHEET_CELL)
    if len(cut):
        return (
            f"{table.where(*cut[0])}: the field has exactly {rle.SPREADSHEET_CELL:,} "
            "characters, at which spreadsheets cut a cell "
            f"({counted(len(cut), 'such field')}). Write the csv without a spreadsheet."
        )
    first = table.texts[0, 0]
    if first and len(table.images) > 1 and (table.texts == first).all():
        return (
            f"{table.path}: all images and labels have the same mask, '{first}', like "
            "a sample submission. For images without masks use --unlabelled."
        )
    cells = np.argwhere(table.present)
    cells = cells[:: -(-len(cells) // _SAMPLED_MASKS) or 1]
    masks = [
        rle.parse(table.texts[cell], grid, where=table.where(*cell))
        for cell in map(tuple, cells)
    ]
    steps = np.concatenate([[], *(np.diff(runs[:, 0]) for runs in masks)])
    if len(steps) < _ENOUGH_STEPS:
        return None
    values, counts = np.unique(steps, return_counts=True)
    height = int(values[np.argmax(counts)])
    share, share_of_grid = (
        np.mean(np.abs(steps - step) <= _SLOPE) for step in (height, grid[0])
    )
    last = max(runs[-1].sum() - 1 for runs in masks)
    # Stripes and textures have short steps, which would make too many columns.
    if share <= 0.5 or share_of_grid >= 0.01 or last > _WIDEST * height**2:
        return None
    return (
        f"{table.path}: most runs start about {height} pixels after the one before, as "
        f"in columns of {height} pixels, not on a grid of {grid[0]}x{grid[1]}. Check "
        f"--grid (default: {schema.GRID[0]}x{schema.GRID[1]}), and that pixels are "
        "counted down the columns."
    )


def _summarise(faults: list[Fault]) -> str:
    """Returns the first message, and how many faults are like it."""
    alike = sum(fault.kind == faults[0].kind for fault in faults)
    if alike == 1:
        return faults[0].message
    return f"{faults[0].message} There are {alike} such errors."
