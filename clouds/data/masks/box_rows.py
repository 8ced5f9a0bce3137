"""Reads the rows of tables of boxes, in four forms; csv files may be compressed.

- Without a header: `index,path,x1,y1,x2,y2,label`.
- With a header, as tables prepared from Zooniverse: `fn,x,y,width,height,tool_label`
  and `user_id` or `user_name`, a row per box.
- The classification export of Zooniverse: `annotations` and `subject_data` are JSON, a
  row per classification.
- NetCDF of C3ONTEXT, level 1 (Schulz, 2022): variables named as the columns of the
  second form, an element per box.
"""

import csv
import io
import json
import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from clouds.errors import InputError
from clouds.runtime import archives

_BARE = ("index", "path", "x1", "y1", "x2", "y2", "label")
_CORNERS = {"path": ("x1", "y1", "x2", "y2"), "fn": ("x", "y", "width", "height")}
_LABELS = {"path": "label", "fn": "tool_label"}
_USERS = ("user_id", "user_name")
_RAW = {"annotations", "subject_data"}
_FILE_KEYS = ("fn", "filename", "file_name", "image", "image_name", "file")
_EMPTY = ("", "nan", "None")


class BoxRow(NamedTuple):
    """A box, or an image that someone saw.

    Attributes:
      where: file and row, for errors.
      image: name of the image.
      user: name or number of the annotator; empty if unknown.
      label: name of the label; empty without a box.
      corners: x1, y1, x2, y2 in pixels, as text; None without a box.
    """

    where: str
    image: str
    user: str
    label: str
    corners: tuple[str, str, str, str] | None


def read(path: str, workflows: tuple[str, ...] = ()) -> Iterator[BoxRow]:
    """Reads a table of boxes.

    Args:
      path: csv or NetCDF file.
      workflows: workflows of a Zooniverse export whose classifications count, as
        `name version`; needed if there are several.

    Raises:
      InputError: the file cannot be read, has another form, or has classifications of
        several workflows and none is given.
    """
    if path.endswith(".nc"):
        return _of_netcdf(path)
    content = archives.decompress(archives.read(path, "The csv of boxes"), path)
    return _of_csv(content, path, workflows)


def _of_csv(content: bytes, path: str, workflows) -> Iterator[BoxRow]:
    try:
        rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        first = next(rows, None)
        if first is None:
            return
        names = [name.strip() for name in first]
        if set(names) >= _RAW:
            fields = _named(rows, names, path)
            yield from _of_classifications(_of_workflows(fields, path, workflows))
            return
        if workflows:
            raise InputError(
                f"{path} is no classification export of Zooniverse, so it has no "
                "workflows. Omit --workflows."
            )
        columns, image = _columns(path, names)
        user = next((name for name in _USERS if name in columns), None)
        if columns == _BARE and tuple(names) != _BARE:
            yield _row(dict(zip(columns, names, strict=True)), image, f"{path}, row 1")
        for where, fields in _named(rows, columns, path):
            yield _row(fields, image, where, fields[user] if user else None)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a csv in UTF-8 ({error}).") from error


def _named(rows, columns, path: str) -> Iterator[tuple[str, dict[str, str]]]:
    for row in filter(None, rows):
        where = f"{path}, row {rows.line_num}"
        if len(row) != len(columns):
            raise InputError(f"{where}: {len(row)} values, not {len(columns)}.")
        yield where, dict(zip(columns, map(str.strip, row), strict=True))


def _columns(path: str, names: list[str]) -> tuple[tuple[str, ...], str]:
    """Returns the columns, and that of the image."""
    for image, corners in _CORNERS.items():
        if {image, _LABELS[image], *corners} <= set(names):
            return tuple(names), image
    if len(names) == len(_BARE) and "." in names[1]:
        return _BARE, "path"
    raise InputError(
        f"{path}, row 1: expected index,path,x1,y1,x2,y2,label without a header, the "
        "columns fn,x,y,width,height,tool_label and user_id, or an export of "
        "Zooniverse with annotations and subject_data."
    )


def _row(fields: dict, image: str, where: str, user: str | None = "one") -> BoxRow:
    texts = [fields[corner] for corner in _CORNERS[image]]
    label, name = fields[_LABELS[image]], posixpath.basename(fields[image])
    user = "one" if user is None else user
    if all(text in _EMPTY for text in (*texts, label)):
        return BoxRow(where, name, user, "", None)
    return BoxRow(where, name, user, label, _corners(texts, image == "fn", where))


def _corners(texts: list[str], has_size: bool, where: str) -> tuple:
    try:
        x, y, other_x, other_y = map(float, texts)
    except ValueError as error:
        expected = ",".join(_CORNERS["fn" if has_size else "path"])
        raise InputError(
            f"{where}: {expected} must be numbers. Received: {','.join(texts)}."
        ) from error
    return (x, y, x + other_x, y + other_y) if has_size else (x, y, other_x, other_y)


def _of_workflows(fields: Iterable, path: str, workflows) -> list[tuple[str, dict]]:
    """Returns the classifications of the chosen workflows, or of the only one."""
    rows = list(fields)
    counts = Counter(_workflow(row) for _, row in rows)
    unknown = [name for name in workflows if name not in counts]
    if unknown or (len(counts) > 1 and not workflows):
        found = ", ".join(f"'{name}' ({count:,})" for name, count in counts.items())
        problem = f"has no workflow '{unknown[0]}'" if unknown else "has several"
        raise InputError(
            f"{path} {problem}. Its workflows and their classifications: {found}. Give "
            "those that count with --workflows."
        )
    return [one for one in rows if not workflows or _workflow(one[1]) in workflows]


def _workflow(row: dict[str, str]) -> str:
    keys = ("workflow_name", "workflow_version")
    return " ".join(row[key] for key in keys if row.get(key))


def _of_classifications(rows: Iterable) -> Iterator[BoxRow]:
    for where, fields in rows:
        user = next((fields[name] for name in _USERS if name in fields), "")
        try:
            image = _image(json.loads(fields["subject_data"]))
            drawn = [
                one
                for task in json.loads(fields["annotations"])
                if isinstance(task["value"], list)
                for one in task["value"]
                if isinstance(one, dict) and "tool_label" in one
            ]
            boxes = [
                (one["tool_label"], [str(one[key]) for key in _CORNERS["fn"]])
                for one in drawn
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{where}: annotations or subject_data are not as Zooniverse exports "
                f"them ({type(error).__name__}: {error})."
            ) from error
        yield BoxRow(where, image, user, "", None)
        for label, texts in boxes:
            yield BoxRow(where, image, user, label, _corners(texts, True, where))


def _image(subjects: dict) -> str:
    for subject in subjects.values():
        for key, value in subject.items():
            if key.lower().lstrip("#!/ ") in _FILE_KEYS and value:
                return posixpath.basename(str(value))
    raise KeyError(f"no file name among {', '.join(_FILE_KEYS)}")


def _of_netcdf(path: str) -> Iterator[BoxRow]:
    try:
        import xarray
    except ImportError as error:
        raise InputError(
            f"xarray is not installed, which reading {path} needs. Run bin/setup geo."
        ) from error
    names = ("fn", *_CORNERS["fn"], "tool_label")
    try:
        with xarray.open_dataset(path, engine="h5netcdf") as file:
            user = next(name for name in _USERS if name in file)
            columns = {
                name: file[name].values.astype(str).tolist() for name in (*names, user)
            }
    except (OSError, ValueError, KeyError, StopIteration) as error:
        raise InputError(
            f"{path} cannot be read as NetCDF of C3ONTEXT, level 1, with the variables "
            f"{', '.join(names)} and user_id ({type(error).__name__}: {error})."
        ) from error
    for number, values in enumerate(zip(*columns.values(), strict=True), start=1):
        fields = dict(zip(columns, values, strict=True))
        yield _row(fields, "fn", f"{path}, box {number}", fields[user])
