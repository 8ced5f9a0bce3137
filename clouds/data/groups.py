"""Groups of images that must not be divided between training and validation.

Images of one day or of one place look alike: with some of them in training, scores on
the others are too high.
"""

import csv
import io
from collections.abc import Mapping, Sequence

from clouds.config.fields import Box
from clouds.errors import InputError
from clouds.geo import names, places, tables
from clouds.runtime import archives
from clouds.text import counted

DAY, REGION = "day", "region"

_SIDES = ("west", "south", "east", "north")
_SOURCES = {
    DAY: "a column day or time, or dates in the names of the images",
    REGION: "a column region or the columns west, south, east and north, or boxes in "
    "the names of the images",
}


def find(by: str, table: str | None, images: Sequence[str]) -> list[str]:
    """Returns the group of each image.

    Args:
      by: `day`, `region`, or the name of a column.
      table: csv with a column `image` and columns that give the groups; None to take
        day or region from the names of the images.
      images: names of N images.

    Returns:
      N names of groups.

    Raises:
      InputError: the csv cannot be read or lacks a column, or an image has no group.
    """
    rows = _read(table, by) if table else {}
    found, missing = [], []
    for image in images:
        group = _of_row(by, rows[image]) if image in rows else None
        if not table and by in _SOURCES:
            group = _of_name(by, image)
        if not group:
            missing.append(image)
        found.append(group)
    if missing:
        where = f"in {table}" if table else "in their names"
        raise InputError(
            f"--group-by {by}: {len(missing)} of {counted(len(images), 'image')} have "
            f"no {by} {where}, first {missing[0]}. Give it in the csv of --groups."
        )
    return found


def _of_name(by: str, image: str) -> str | None:
    named = names.parse(image)
    if by == DAY:
        return named.time
    return named.box and _shown(places.check_box(named.box, image))


def _shown(box: Box) -> str:
    return ",".join(f"{degrees:g}" for degrees in box)


def _of_row(by: str, row: Mapping[str, str]) -> str | None:
    if by == DAY:
        text = row.get(DAY, row.get("time", "")).strip()
        return text and tables.to_utc(text)[: len("2020-01-01")]
    if by in row:
        return row[by].strip()
    box = tuple(float(row[side]) for side in _SIDES)
    return _shown(places.check_box(box, "the row"))


def _read(path: str, by: str) -> dict[str, dict[str, str]]:
    """Returns the rows by image."""
    content = archives.decompress(archives.read(path, "The csv of groups"), path)
    try:
        text = content.decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        _check_columns(path, by, reader.fieldnames or [])
        rows = {}
        for row in reader:
            where = f"{path}, row {reader.line_num}"
            image = (row["image"] or "").strip()
            if None in row or None in row.values():
                raise InputError(f"{where}: not as many values as columns.")
            if image in rows:
                raise InputError(f"{where}: {image} has another row. Remove one.")
            try:
                _of_row(by, row)
            except (ValueError, OverflowError) as error:
                raise InputError(f"{where}: no {by} ({error}).") from error
            rows[image] = row
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(
            f"{path} is not a csv in UTF-8 ({error}). Save it as such."
        ) from error
    return rows


def _check_columns(path: str, by: str, columns: Sequence[str]) -> None:
    derived = {DAY: {"time"}, REGION: set(_SIDES)}.get(by)
    if "image" not in columns:
        raise InputError(f"{path}, row 1: no column image.")
    if by not in columns and not (derived and derived <= set(columns)):
        expected = _SOURCES.get(by, f"a column {by}")
        raise InputError(f"{path}, row 1: --group-by {by} needs {expected}.")
