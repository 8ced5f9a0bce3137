"""Writers of predictions: submission, GeoJSON, COCO annotations, PNG and npz.

Masks and runs are on the submission's grid, 350x525. Each writer is a context that
yields a function which adds an entry; the file exists when the context ends without
an error.
"""

import contextlib
import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from clouds import rle, schema
from clouds.config.fields import Box
from clouds.data import annotations
from clouds.errors import InputError
from clouds.prediction import geojson
from clouds.prediction.journal import Entry
from clouds.runtime import files

MASKS, PROBABILITIES = "masks", "probabilities"
IMAGE_FILES = (".npz", *(f"_{label}.png" for label in schema.LABELS))
"""Ends of the names of the files of one image."""

_HEIGHT, _WIDTH = schema.SUBMISSION_SIZE
_LABELS = range(len(schema.LABELS))

Add = Callable[[Entry], None]


@contextlib.contextmanager
def submission(path: Path, field: str, orders: dict[str, list[int]]) -> Iterator[Add]:
    """Writes a submission.

    Args:
      path: the csv.
      field: masks to write: `plain` (thresholded only) or `cleaned`.
      orders: order of the rows of each image; without an entry `schema.LABELS`.

    Yields:
      A function that adds an entry.
    """
    with files.writing(path) as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(annotations.COLUMNS)

        def add(entry: Entry) -> None:
            texts = getattr(entry, field)
            for label in orders.get(entry.image, _LABELS):
                rows.writerow((f"{entry.image}_{schema.LABELS[label]}", texts[label]))

        yield add


@contextlib.contextmanager
def collection(path: Path, box: Box | None) -> Iterator[Add]:
    """Writes masks as a GeoJSON feature collection.

    Args:
      path: the file.
      box: bounding box of each image; None for polygons in pixels.

    Yields:
      A function that adds an entry.
    """
    fields = geojson.collection(box)
    with files.writing(path) as file, _long_list(file, fields, "features") as add_one:

        def add(entry: Entry) -> None:
            for feature in geojson.features(entry, box):
                add_one(feature)

        yield add


@contextlib.contextmanager
def coco(path: Path) -> Iterator[Add]:
    """Writes masks as COCO annotations.

    Args:
      path: the file.

    Yields:
      A function that adds an entry.
    """
    images, number = [], 0
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(schema.LABELS)]
    size = {"height": _HEIGHT, "width": _WIDTH}
    # The images come last: their fields are small enough to keep in memory.
    # pycocotools needs both.
    about = {"info": {"description": "Cloud patterns"}, "licenses": []}
    fields, last = {**about, "categories": categories}, {"images": images}
    with (
        files.writing(path) as file,
        _long_list(file, fields, "annotations", last) as add_one,
    ):

        def add(entry: Entry) -> None:
            nonlocal number
            images.append({"id": len(images) + 1, "file_name": entry.image, **size})
            for label in _LABELS:
                if entry.cleaned[label]:
                    number += 1
                    add_one(_coco_annotation(entry, label, number, len(images)))

        yield add


def _coco_annotation(entry: Entry, label: int, number: int, image: int) -> dict:
    runs = rle.parse(entry.cleaned[label], schema.SUBMISSION_SIZE)
    mask = entry.masks[..., label].astype(np.uint8)
    return {
        "id": number,
        "image_id": image,
        "category_id": label + 1,
        "segmentation": {"size": [_HEIGHT, _WIDTH], "counts": coco_counts(runs)},
        "bbox": list(cv2.boundingRect(mask)),
        "area": int(runs[:, 1].sum()),
        "iscrowd": 0,
        "score": entry.scores[label],
    }


def coco_counts(runs: np.ndarray) -> list[int]:
    """Converts runs to COCO's uncompressed counts: zeros, ones, zeros and so on.

    Args:
      runs: int64[R, 2], of a mask on the submission's grid (see `rle.parse`). Both
        formats are column-major.
    """
    ends = (runs + [[-1, 0]]).cumsum(axis=1).reshape(-1)
    lengths = np.diff(ends, prepend=0, append=_HEIGHT * _WIDTH)
    return lengths[: len(lengths) - (lengths[-1] == 0)].tolist()


def check_names(out: Path, images: Iterable[str]) -> None:
    """Rejects names of images that are too long for the files of one image.

    Args:
      out: folder of the prediction, which exists.
      images: names of images.

    Raises:
      InputError: a name is too long for the disk.
    """
    longest = os.pathconf(out, "PC_NAME_MAX")
    extra = len(files.PART) + max(map(len, IMAGE_FILES))
    for image in images:
        if (length := len(os.fsencode(image))) + extra > longest:
            raise InputError(
                f"The name of an image is too long for --masks and --probabilities: "
                f"{length} bytes, where '{out}' allows {longest - extra}: {image}. "
                "Leave these flags out, or rename the image."
            )


def masks(out: Path, entry: Entry) -> None:
    """Writes the post-processed masks of an image as black-and-white PNGs."""
    (out / MASKS).mkdir(exist_ok=True)
    _write_planes(out / MASKS, entry.image, entry.masks.astype(np.uint8) * 255)


def probabilities(out: Path, image: str, values: np.ndarray, form: str) -> None:
    """Writes the probabilities of an image.

    Args:
      out: folder of the prediction.
      image: name of the image.
      values: float32[h, w, C].
      form: `npz`, with float16[h, w, C] and the labels, or `png`, 0..255 per label.
    """
    folder = out / PROBABILITIES
    folder.mkdir(exist_ok=True)
    if form == "npz":
        labels = np.array(schema.LABELS)
        with files.writing(folder / f"{image}.npz", "wb") as file:
            np.savez_compressed(
                file, probabilities=values.astype(np.float16), labels=labels
            )
    else:
        _write_planes(folder, image, np.rint(values * 255).astype(np.uint8))


def _write_planes(folder: Path, image: str, planes: np.ndarray) -> None:
    for label, name in enumerate(schema.LABELS):
        contents = cv2.imencode(".png", planes[..., label])[1].tobytes()
        files.write(folder / f"{image}_{name}.png", contents)


@contextlib.contextmanager
def _long_list(file, fields: dict, name: str, last: dict | None = None):
    """Writes a JSON object with a list that is too long for memory."""
    file.write(json.dumps(fields)[:-1] + f', "{name}": [')
    separator = "\n"

    def add(element: dict) -> None:
        nonlocal separator
        file.write(separator + json.dumps(element))
        separator = ",\n"

    yield add
    file.write("\n]")
    for key, value in (last or {}).items():
        file.write(f", {json.dumps(key)}: {json.dumps(value)}")
    file.write("}\n")
