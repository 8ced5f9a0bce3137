"""Rows of csv files of masks, in the forms that competitions use.

A form is named by its columns:

- `image_label`: `Image_Label,EncodedPixels`, the image and the label in one column;
- `image_class`: `ImageId,ClassId,EncodedPixels`, also several rows per image and class;
- `image`: `ImageId,EncodedPixels`, of one label.

Rows are numbered as in an editor; the header is row 1.
"""

import csv
import io
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

import numpy as np

from clouds.errors import InputError
from clouds.runtime import archives
from clouds.schema import CLOUDS

Form = Literal["image_label", "image_class", "image"]

COLUMNS = {
    "image_label": ["Image_Label", "EncodedPixels"],
    "image_class": ["ImageId", "ClassId", "EncodedPixels"],
    "image": ["ImageId", "EncodedPixels"],
}
"""Columns of the forms."""

ONLY_LABEL = "mask"
"""Name of the label of a csv that has none."""

_JOINED = ("image_label", "imageid_classid", "image_class")
_IMAGE = ("imageid", "image_id", "image", "id", "filename", "file_name", "img")
_LABEL = ("classid", "class_id", "class", "label", "category", "category_id")
_RUNS = ("encodedpixels", "encoded_pixels", "encoding", "rle", "rle_mask")
_BOM = b"\xef\xbb\xbf"


class Row(NamedTuple):
    """One row: its number, the image, the label, and the run-length codes."""

    number: int
    image: str
    label: str
    text: str

    @property
    def name(self) -> str:
        """The image with the label, as the form `image_label` writes it."""
        return f"{self.image}_{self.label}"


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


class Header(NamedTuple):
    """Columns of a csv.

    Attributes:
      form: form of the csv.
      columns: names of the columns that the form uses: of the image, with or without
        the label; of the label, if there is one; of the run-length codes.
      order: indices of these columns in the order of the file.
    """

    form: Form
    columns: tuple[str, ...]
    order: tuple[int, ...] = (0, 1, 2)

    def arrange(self, fields: Sequence[str]) -> list[str]:
        """Returns fields in the order of the file."""
        return [fields[k] for k in self.order if k < len(fields)]

    def row(self, image: str, label: str, text: str) -> list[str]:
        """Returns the fields of a row."""
        if self.form == "image_label":
            fields = [f"{image}_{label}", text]
        elif self.form == "image_class":
            fields = [image, label, text]
        else:
            fields = [image, text]
        return self.arrange(fields)


HEADERS = {form: Header(form, tuple(columns)) for form, columns in COLUMNS.items()}
"""Columns of each form as competitions write them."""

STANDARD = HEADERS["image_label"]


def read_rows(
    path: str,
    *,
    form: Form | None = None,
    labels: tuple[str, ...] = (),
    strict: Header | None = None,
) -> tuple[list[Row], list[Fault], Header]:
    """Reads the rows of a csv.

    Args:
      path: local or remote file, plain or compressed.
      form: form of the csv; None to find it by the names of the columns.
      labels: known labels, to find the end of the image in the form `image_label`.
      strict: columns that it must have, as a submission: blank lines, other columns, a
        byte order mark and compression are errors.

    Returns:
      The rows, the errors in rows with other numbers of fields, and the columns.

    Raises:
      InputError: the file cannot be read or lacks the columns.
    """
    text = _read_text(path, strict is not None)
    # The default limit is 131,072 characters.
    csv.field_size_limit(2**31 - 1)
    records = csv.reader(io.StringIO(text, newline=""))
    try:
        names = next(records, None)
    except csv.Error as error:
        raise InputError(f"{path}, row 1: not a csv ({error}).") from error
    faults = []
    if strict:
        header = _check_header(names, path, strict, faults)
        places = np.argsort(header.order[: len(header.columns)])
    else:
        header, places = _find_columns(names, path, form)
    fields_of = _fields(records, path, len(names), strict is not None, faults)
    try:
        rows = [
            (number, *(fields[place] for place in places))
            for number, fields in fields_of
        ]
    except csv.Error as error:
        number = records.line_num + 1
        raise InputError(f"{path}, row {number}: not a csv ({error}).") from error
    return _split(rows, header, labels), faults, header


def _fields(records, path: str, count: int, strict: bool, faults: list[Fault]):
    """Yields the number and the fields of each row; adds the faults of others."""
    last = 1
    for fields in records:
        number, last = last + 1, records.line_num
        if not strict and not any(field.strip() for field in fields):
            continue
        if not strict and not any(fields[count:]):
            fields = fields[:count]
        if len(fields) == count:
            yield number, fields
            continue
        received = f"{len(fields)} fields" if fields else "an empty line"
        message = (
            f"{path}, row {number}: {received} instead of {count} fields, as in the "
            "header. Quote names with commas, and remove empty lines."
        )
        faults.append(Fault("fields", number, message))


def _check_header(names, path, expected: Header, faults: list[Fault]) -> Header:
    columns = expected.arrange(expected.columns)
    if names is None:
        raise InputError(f"{path} is empty. It needs the columns {','.join(columns)}.")
    if names != columns:
        message = (
            f"{path}, row 1: the columns must be {','.join(columns)}. Received: "
            f"'{','.join(names)[:80]}'. {_advise(names)}"
        )
        # With another number of columns, every row would be reported, too.
        if len(names) != len(columns):
            raise InputError(message)
        faults.append(Fault("header", 1, message))
    return expected


def _find_columns(names, path: str, form: Form | None) -> tuple[Header, list[int]]:
    """Returns the form, its columns and their places."""
    if names is None:
        columns = COLUMNS[form or "image_label"]
        raise InputError(f"{path} is empty. It needs the columns {','.join(columns)}.")
    names = [name.strip() for name in names]
    lower = [name.lower() for name in names]

    def place(known):
        return next((lower.index(name) for name in known if name in lower), None)

    joined, image, label, runs = map(place, (_JOINED, _IMAGE, _LABEL, _RUNS))
    places = {
        "image_label": [joined, runs],
        "image_class": [image, label, runs],
        "image": [image, runs],
    }
    if form:
        # A column of any name may hold both.
        places["image_label"][0] = image if joined is None else joined
    for name in (form,) if form else get_args(Form):
        if None not in places[name]:
            columns = tuple(names[k] for k in places[name])
            order = sorted(range(len(columns)), key=places[name].__getitem__)
            return Header(name, columns, tuple(order)), places[name]
    expected = ",".join(COLUMNS[form or "image_label"])
    others = "" if form else " (or another form, see docs/howto/own-data.md)"
    raise InputError(
        f"{path}, row 1: the columns must be {expected}{others}. Received: "
        f"'{','.join(names)[:80]}'. {_advise(names)}"
    )


def _split(rows: list[tuple], header: Header, labels: tuple[str, ...]) -> list[Row]:
    """Splits images from labels."""
    if header.form == "image":
        only = labels[0] if len(labels) == 1 else ONLY_LABEL
        return [Row(number, image, only, text) for number, image, text in rows]
    if header.form == "image_class":
        # pandas writes integers as floats if a field is empty.
        return [
            Row(number, image, re.sub(r"^(\d+)\.0$", r"\1", label.strip()), text)
            for number, image, label, text in rows
        ]
    if not labels:
        last = {name.rpartition("_")[2] for _, name, _ in rows}
        if len(last & {*CLOUDS.labels}) > 1:
            labels = CLOUDS.labels
    by_length = sorted(labels, key=len, reverse=True)

    def parts(name: str) -> tuple[str, str]:
        for label in by_length:
            if name.endswith(f"_{label}"):
                return name[: -len(label) - 1], label
        # A label may hold underscores: it follows the suffix of the image.
        match = None if labels else re.fullmatch(r"(.*\.[A-Za-z]{3,4})_(.+)", name)
        return match.groups() if match else name.rpartition("_")[::2]

    return [Row(number, *parts(name), text) for number, name, text in rows]


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


def _advise(names: list[str]) -> str:
    if any(name.strip().lower() in _RUNS for name in names) and len(names) > 1:
        return "Rename the columns, or choose a form with --csv-format."
    return "Correct the header."


def _not_utf8(path: str, problem: str) -> InputError:
    return InputError(
        f"{path}, {problem}. Write the csv with the encoding utf-8. If the file is "
        "compressed, decompress it, or give it a suffix that says so, such as .csv.gz."
    )
