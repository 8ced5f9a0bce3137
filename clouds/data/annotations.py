"""Csv files of masks: `Image_Label,EncodedPixels`, one row per image and label.

The first column reads `<image>.jpg_<label>`; the second holds the run-length codes of
the label's mask (see `clouds.rle`), empty where the image lacks the label. Rows are
numbered as in an editor; the header is row 1.
"""

import csv
import io
from typing import NamedTuple

import numpy as np

from clouds import rle, schema
from clouds.errors import InputError
from clouds.runtime import archives
from clouds.text import counted

COLUMNS = ["Image_Label", "EncodedPixels"]

_BOM = b"\xef\xbb\xbf"
_SAMPLED_MASKS = 256
_ENOUGH_STEPS = 20
_SLOPE = 4
_WIDEST = 4


class Row(NamedTuple):
    """One row: its number, the image with the label, and the run-length codes."""

    number: int
    name: str
    text: str


class Fault(NamedTuple):
    """One error in a csv.

    Attributes:
      kind: kind of error, in a word or two.
      row: number of the row.
      message: what is wrong, in which file and row, and how to fix it.
    """

    kind: str
    row: int
    message: str


class Table(NamedTuple):
    """Images and their run-length codes, in the order of the csv.

    Attributes:
      images: names of N images.
      texts: str[N, C], in the order of `schema.LABELS`; None without labels.
      rows: int64[N, C], number of the row of each text; None without labels.
      path: the csv, or the folder of images without one.
    """

    images: list[str]
    texts: np.ndarray | None
    rows: np.ndarray | None
    path: str

    def one(self, image: int) -> "Table":
        """Returns the table of one image."""
        part = slice(image, image + 1)
        if self.texts is None:
            return self._replace(images=self.images[part])
        return Table(self.images[part], self.texts[part], self.rows[part], self.path)

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


def read(path: str) -> Table:
    """Reads and checks a csv, plain or compressed; skips blank lines.

    Args:
      path: local or remote file; its suffix gives the compression (.gz, .bz2, .xz,
        .zip).

    Returns:
      The table. Every image has a row for each label.

    Raises:
      InputError: the file is missing or is not such a csv, a label is unknown, a row is
        duplicated, or an image lacks the row of a label.
    """
    rows, faults = read_rows(path)
    if not rows and not faults:
        raise InputError(f"{path} has no rows. It needs one per image and label.")
    if faults := faults or check_names(rows, path):
        raise InputError(_summarise(faults))
    images = dict.fromkeys(row.name.rpartition("_")[0] for row in rows)
    index = {name: k for k, name in enumerate(images)}
    texts = np.full((len(images), len(schema.LABELS)), "", object)
    numbers = np.zeros(texts.shape, np.int64)
    for row in rows:
        image, _, label = row.name.rpartition("_")
        cell = index[image], schema.LABELS.index(label)
        # `find_warning` looks for the length of a cell.
        text = row.text if len(row.text) == rle.SPREADSHEET_CELL else row.text.strip()
        texts[cell], numbers[cell] = text, row.number
    return Table(list(images), texts, numbers, path)


def read_rows(path: str, *, strict: bool = False) -> tuple[list[Row], list[Fault]]:
    """Reads the rows of a csv.

    Args:
      path: local or remote file, plain or compressed.
      strict: whether blank lines, other columns, a byte order mark and compression are
        errors, as in a submission.

    Returns:
      The rows, and the errors in rows without the two fields.

    Raises:
      InputError: the file cannot be read or lacks the columns.
    """
    text = _read_text(path, strict)
    # The default limit is 131,072 characters.
    csv.field_size_limit(2**31 - 1)
    records = csv.reader(io.StringIO(text, newline=""))
    try:
        header, places, faults = next(records, None), [0, 1], []
    except csv.Error as error:
        raise InputError(f"{path}, row 1: not a csv ({error}).") from error
    if header and not strict:
        header = [name.strip() for name in header]
    if header is None:
        raise InputError(f"{path} is empty. It needs the columns {','.join(COLUMNS)}.")
    if not strict and set(COLUMNS) <= set(header):
        places = [header.index(name) for name in COLUMNS]
    elif header != COLUMNS:
        message = (
            f"{path}, row 1: the columns must be {','.join(COLUMNS)}. Received: "
            f"'{','.join(header)[:80]}'. {_advise(header)}"
        )
        # With another number of columns, every row would be reported, too.
        if not strict or len(header) != len(COLUMNS):
            raise InputError(message)
        faults.append(Fault("header", 1, message))
    rows, last = [], 1
    try:
        for fields in records:
            number, last = last + 1, records.line_num
            if not strict and not any(field.strip() for field in fields):
                continue
            if not strict and not any(fields[len(header) :]):
                fields = fields[: len(header)]
            if len(fields) == len(header):
                rows.append(Row(number, *(fields[place] for place in places)))
                continue
            received = f"{len(fields)} fields" if fields else "an empty line"
            message = (
                f"{path}, row {number}: {received} instead of {len(header)} fields, as "
                "in the header. Quote names with commas, and remove empty lines."
            )
            faults.append(Fault("fields", number, message))
    except csv.Error as error:
        raise InputError(f"{path}, row {last + 1}: not a csv ({error}).") from error
    return rows, faults


def check_names(rows: list[Row], path: str) -> list[Fault]:
    """Checks that each image has one row for each label.

    Args:
      rows: rows of the csv.
      path: the csv, for errors.

    Returns:
      The errors: unknown labels, duplicate and missing rows.
    """
    faults, numbers, starts = [], {}, {}
    for row in rows:
        image, _, label = row.name.rpartition("_")
        place = f"{path}, row {row.number}:"
        if label not in schema.LABELS or not image:
            message = (
                f"{place} unknown label '{label}'. Expected one of "
                f"{', '.join(schema.LABELS)}, after the image and an underscore: "
                "a.jpg_Fish."
            )
            faults.append(Fault("label", row.number, message))
        elif row.name in numbers:
            message = (
                f"{place} duplicate of row {numbers[row.name]}, {row.name}. Keep one "
                "row per image and label: join their runs, sorted, or remove the row."
            )
            faults.append(Fault("duplicate", row.number, message))
        else:
            numbers[row.name] = row.number
            starts.setdefault(image, row.number)
    for image, number in starts.items():
        for label in schema.LABELS:
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


def _read_text(path: str, strict: bool) -> str:
    content = archives.read(path, "The csv")
    if not strict:
        content = archives.decompress(content, path).removeprefix(_BOM)
    elif content.startswith(_BOM):
        raise InputError(
            f"{path} starts with a byte order mark. Write it with the encoding utf-8."
        )
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        row = content.count(b"\n", 0, error.start) + 1
        problem = f"row {row}: byte 0x{content[error.start]:02x} is not UTF-8"
        raise _not_utf8(path, problem) from error
    if "\0" in text:
        raise _not_utf8(path, "zero bytes are not text")
    return text


def _summarise(faults: list[Fault]) -> str:
    """Returns the first message, and how many faults are like it."""
    alike = sum(fault.kind == faults[0].kind for fault in faults)
    if alike == 1:
        return faults[0].message
    return f"{faults[0].message} There are {alike} such errors."


def _advise(header: list[str]) -> str:
    if len(header) > 2 and "EncodedPixels" in header:
        return (
            "Join the columns of the image and the label: a.jpg and Fish become "
            "a.jpg_Fish."
        )
    return "Correct the header."


def _not_utf8(path: str, problem: str) -> InputError:
    return InputError(
        f"{path}, {problem}. Write the csv with the encoding utf-8. If the file is "
        "compressed, decompress it, or give it a suffix that says so, such as .csv.gz."
    )
