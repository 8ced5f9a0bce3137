"""Boxes that people drew around patterns, by annotator and image, and their masks.

`box_rows` reads the tables. Annotators are numbered; their names are not kept. Rows of
users who were not logged in are left out as in the papers: several people may be one of
them.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clouds.data.masks import box_rows
from clouds.data.masks.box_rows import BoxRow
from clouds.errors import InputError

_ANONYMOUS = "not-logged-in"


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


def read(
    path: str,
    labels: tuple[str, ...],
    size: tuple[int, int],
    workflows: tuple[str, ...] = (),
) -> dict[str, Boxes]:
    """Reads a table of boxes.

    Args:
      path: a file (see `box_rows`). A row without a box says that the annotator saw the
        image and drew nothing.
      labels: names of the labels; case and a plural s are ignored.
      size: height and width of the images in the pixels of the boxes.
      workflows: workflows of a Zooniverse export that count.

    Returns:
      The boxes by the numbers of the annotators, in the order of the file.

    Raises:
      InputError: the file cannot be read, has another form, or an unknown label.
    """
    numbers = {_plain(label): k for k, label in enumerate(labels)}
    annotators, ids = {}, {}
    for row in box_rows.read(path, workflows):
        if not row.user or row.user == "nan" or row.user.startswith(_ANONYMOUS):
            continue
        number = ids.setdefault(row.user, len(ids) + 1)
        boxes = annotators.setdefault(str(number), Boxes())
        drawn = boxes.images.setdefault(row.image, [])
        if row.corners is None:
            continue
        if _plain(row.label) not in numbers:
            raise InputError(
                f"{row.where}: unknown label '{row.label}'. Expected one of "
                f"{', '.join(labels)}."
            )
        if box := _clip(boxes, row, size):
            drawn.append((numbers[_plain(row.label)], *box))
    if not annotators:
        raise InputError(f"{path} has no rows of a known annotator. Check the path.")
    return annotators


def read_all(
    paths: Sequence[str],
    labels: tuple[str, ...],
    size: tuple[int, int],
    workflows: tuple[str, ...] = (),
) -> dict[str, Boxes]:
    """Reads tables of boxes, each of one annotator or of several.

    Args:
      paths: the files; with several, those of one annotator are named after their file.
      labels: as for `read`.
      size: as for `read`.
      workflows: as for `read`.

    Returns:
      The boxes by the names or numbers of the annotators.

    Raises:
      InputError: as for `read`; or two annotators have the same name.
    """
    annotators = {}
    for path in paths:
        stem = Path(path).name.partition(".")[0]
        found = read(path, labels, size, workflows)
        named = {stem: found["1"]} if len(found) == 1 and len(paths) > 1 else {}
        for name, one in (named or found).items():
            if name in annotators:
                raise InputError(
                    f"--boxes: two annotators are named {name}. Rename {path}, or give "
                    "one table."
                )
            annotators[name] = one
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
    for label, top, bottom, left, right in cells(boxes, size, grid):
        masks[top:bottom, left:right, label] = True
    return masks


def cells(
    boxes: list[tuple], size: tuple[int, int], grid: tuple[int, int]
) -> np.ndarray:
    """Returns the cells of a grid whose centres are in boxes.

    Args:
      boxes: N boxes of an image.
      size: height and width of the image in the pixels of the boxes.
      grid: height and width of the grid.

    Returns:
      int64[N, 5]: label, first row, end of the rows, first column, end of the columns.
    """
    label, x1, y1, x2, y2 = np.array(boxes, np.float64).reshape(-1, 5).T
    rows, columns = grid[0] / size[0], grid[1] / size[1]
    edges = (y1 * rows, y2 * rows, x1 * columns, x2 * columns)
    ends = (np.ceil(edge - 0.5) for edge in edges)
    return np.stack([label, *ends], axis=1).astype(np.int64)


def _clip(boxes: Boxes, row: BoxRow, size: tuple[int, int]) -> tuple | None:
    """Returns a box inside its image, None without an area; counts both."""
    height, width = size
    x1, y1, x2, y2 = row.corners
    inside = *np.clip([x1, x2], 0, width), *np.clip([y1, y2], 0, height)
    boxes.clipped += inside != (x1, x2, y1, y2)
    x1, x2, y1, y2 = map(float, inside)
    if x2 > x1 and y2 > y1:
        return x1, y1, x2, y2
    boxes.dropped += 1
    return None


def _plain(label: str) -> str:
    return label.strip().casefold().removesuffix("s")
