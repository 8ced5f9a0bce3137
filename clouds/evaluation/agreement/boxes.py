"""Reads boxes that people drew around patterns, by annotator and image.

Two forms, plain or compressed. Without a header: `index,path,x1,y1,x2,y2,label`, one
annotator. With a header, as of the prepared Zooniverse tables and of C3ONTEXT exported
as csv: `fn,x,y,width,height,tool_label` and `user_id` or `user_name`, a row per box. A
row without a box says that the annotator saw the image and drew nothing. Annotators are
numbered; their names are not kept. Rows of users who were not logged in are left out as
in the papers: several people may be one of them.
"""

import csv
import dataclasses
import io
import posixpath

import numpy as np

from clouds.errors import InputError
from clouds.runtime import archives

_BARE = ("index", "path", "x1", "y1", "x2", "y2", "label")
_CORNERS = {"path": ("x1", "y1", "x2", "y2"), "fn": ("x", "y", "width", "height")}
_USERS = ("user_id", "user_name")
_ANONYMOUS = "not-logged-in"
_EMPTY = ("", "nan", "None")


@dataclasses.dataclass
class Boxes:
    """The boxes of one annotator.

    Attributes:
      images: boxes by the names of the images seen: number of the label, x1, y1, x2, y2
        in pixels.
      clipped: number of boxes that exceed the image.
      dropped: number of boxes without an area in the image.
    """

    images: dict[str, list[tuple]] = dataclasses.field(default_factory=dict)
    clipped: int = 0
    dropped: int = 0


def read(path: str, labels: tuple[str, ...], size: tuple[int, int]) -> dict[str, Boxes]:
    """Reads a table of boxes.

    Args:
      path: the csv.
      labels: names of the labels; case and a plural s are ignored.
      size: height and width of the images in the pixels of the boxes.

    Returns:
      The boxes by the numbers of the annotators, in the order of the csv.

    Raises:
      InputError: the csv cannot be read, has another form, or an unknown label.
    """
    content = archives.decompress(archives.read(path, "The csv of boxes"), path)
    numbers = {_plain(label): k for k, label in enumerate(labels)}
    annotators, ids = {}, {}
    try:
        rows = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""))
        columns, image, user = None, "", None
        for row in rows:
            if columns is None:
                columns, image, user, has_header = _columns(path, row)
                if has_header:
                    continue
            where = f"{path}, row {rows.line_num}"
            if len(row) != len(columns):
                raise InputError(f"{where}: {len(row)} values, not {len(columns)}.")
            fields = dict(zip(columns, map(str.strip, row), strict=True))
            name = fields[user] if user else "one"
            if not name or name.startswith(_ANONYMOUS):
                continue
            number = ids.setdefault(name, len(ids) + 1)
            boxes = annotators.setdefault(str(number), Boxes())
            _add(boxes, fields, image, numbers, size, where)
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} is not a csv in UTF-8 ({error}).") from error
    if not annotators:
        raise InputError(f"{path} has no rows. Check the path.")
    return annotators


def draw(
    boxes: list[tuple], labels: int, size: tuple[int, int], grid: tuple[int, int]
) -> np.ndarray:
    """Draws boxes as masks.

    Args:
      boxes: boxes of an image.
      labels: number of labels.
      size: height and width of the image in the pixels of the boxes.
      grid: height and width of the masks.

    Returns:
      bool[H, W, C]; a cell is set if its centre is in a box.
    """
    masks = np.zeros((*grid, labels), bool)
    scale = grid[1] / size[1], grid[0] / size[0]
    for label, x1, y1, x2, y2 in boxes:
        left, right = (int(np.ceil(x * scale[0] - 0.5)) for x in (x1, x2))
        top, bottom = (int(np.ceil(y * scale[1] - 0.5)) for y in (y1, y2))
        masks[top:bottom, left:right, label] = True
    return masks


def _columns(path: str, row: list[str]) -> tuple:
    """Returns the columns, those of image and annotator, and if this is the header."""
    names = [name.strip() for name in row]
    for image, corners in _CORNERS.items():
        label = "label" if image == "path" else "tool_label"
        if {image, label, *corners} <= set(names):
            user = next((name for name in _USERS if name in names), None)
            return names, image, user, True
    if len(row) == len(_BARE) and "." in row[1]:
        return _BARE, "path", None, False
    raise InputError(
        f"{path}, row 1: expected index,path,x1,y1,x2,y2,label without a header, or "
        "the columns fn,x,y,width,height,tool_label and user_id."
    )


def _add(boxes: Boxes, fields: dict, image: str, numbers: dict, size, where) -> None:
    name = posixpath.basename(fields[image])
    drawn = boxes.images.setdefault(name, [])
    texts = [fields[corner] for corner in _CORNERS[image]]
    label = fields["label" if image == "path" else "tool_label"]
    if all(text in _EMPTY for text in (*texts, label)):
        return
    if _plain(label) not in numbers:
        raise InputError(
            f"{where}: unknown label '{label}'. Expected one of {', '.join(numbers)}."
        )
    try:
        x1, y1, x2, y2 = map(float, texts)
    except ValueError as error:
        raise InputError(
            f"{where}: {','.join(_CORNERS[image])} must be numbers. Received: "
            f"{','.join(texts)}."
        ) from error
    if image == "fn":
        x2, y2 = x1 + x2, y1 + y2
    height, width = size
    inside = *np.clip([x1, x2], 0, width), *np.clip([y1, y2], 0, height)
    boxes.clipped += inside != (x1, x2, y1, y2)
    x1, x2, y1, y2 = map(float, inside)
    if x2 > x1 and y2 > y1:
        drawn.append((numbers[_plain(label)], x1, y1, x2, y2))
    else:
        boxes.dropped += 1


def _plain(label: str) -> str:
    return label.strip().casefold().removesuffix("s")
