"""A csv of places: `image,time,west,south,east,north`, one row per image.

The order of the columns is free; `time` may be empty or missing, and a column
`satellite` is read. Times are ISO 8601, UTC if they name no other zone. Rows
are numbered as in an editor; the header is row 1.
"""

import csv
import datetime
import io
from collections.abc import Iterable
from typing import NamedTuple

from clouds.config.fields import Box
from clouds.errors import InputError
from clouds.runtime import archives

_SIDES = ("west", "south", "east", "north")


class Row(NamedTuple):
    """The place of an image.

    Attributes:
      source: file and row, for errors.
      box: west, south, east, north in degrees, not checked.
      time: date or time in UTC; None without one.
      satellite: name of the satellite; None without one.
      fault: the reason why the row cannot be used, if any.
    """

    source: str
    box: Box = (0.0, 0.0, 0.0, 0.0)
    time: str | None = None
    satellite: str | None = None
    fault: str = ""


def read(path: str) -> dict[str, Row]:
    """Reads a csv of places.

    Args:
      path: the csv, which may be compressed.

    Returns:
      The rows by the names of the images; rows that cannot be used have a fault.

    Raises:
      InputError: the csv cannot be read, lacks a column, or has an image twice.
    """
    content = archives.decompress(archives.read(path, "The csv of places"), path)
    try:
        text = content.decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        _check_columns(path, reader.fieldnames or [])
        rows = {}
        for fields in reader:
            name = (fields["image"] or "").strip()
            source = f"{path}, row {reader.line_num}"
            if name in rows:
                raise InputError(
                    f"{source}: {name} has a place in {rows[name].source}, too. Remove "
                    "one of the rows."
                )
            rows[name] = _row(source, fields)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} is not a csv in UTF-8 ({error}). Save it as such."
        ) from error
    return rows


def to_csv(rows: Iterable[tuple]) -> str:
    """Formats rows of image, time, west, south, east, north and satellite."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("image", "time", *_SIDES, "satellite"))
    writer.writerows(rows)
    return text.getvalue()


def to_utc(text: str) -> str:
    """Returns a date as `2015-02-05`, a time as `2015-02-05T13:30:00Z`.

    Args:
      text: date or time, ISO 8601.

    Raises:
      ValueError: it is neither.
    """
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        time = datetime.datetime.fromisoformat(text)
    if time.tzinfo is not None:
        time = time.astimezone(datetime.UTC).replace(tzinfo=None)
    return f"{time.isoformat(timespec='seconds')}Z"


def _check_columns(path: str, columns: list[str]) -> None:
    missing = [name for name in ("image", *_SIDES) if name not in columns]
    if missing:
        raise InputError(
            f"{path}, row 1: no column {' and no '.join(missing)}. Expected the "
            "columns image, time, west, south, east, north."
        )


def _row(source: str, fields: dict) -> Row:
    texts = [(fields[side] or "").strip() for side in _SIDES]
    time, satellite = ((fields.get(key) or "").strip() for key in ("time", "satellite"))
    if None in fields:
        return Row(
            source, fault=f"{source}: more values than columns. Correct the row."
        )
    try:
        box = tuple(map(float, texts))
    except ValueError:
        received = ",".join(texts)
        fault = (
            f"{source}: west,south,east,north must be numbers. Received: {received}."
        )
        return Row(source, fault=fault)
    try:
        return Row(source, box, to_utc(time) if time else None, satellite or None)
    except (ValueError, OverflowError):
        fault = f"{source}: time must be as 2015-02-05 or 2015-02-05T13:30Z. Received: "
        return Row(source, fault=f"{fault}{time}.")
