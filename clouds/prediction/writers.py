"""Writers of predictions: submission, GeoJSON, COCO annotations, PNG and npz.

Masks and runs are on the grid of a `MaskSpec`. Each writer is a context that
yields a function which adds an entry; the file exists when the context ends without
an error.
"""

import contextlib
import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from clouds import rle
from clouds.config.fields import Box
from clouds.data.masks.csv_rows import STANDARD, Header
from clouds.errors import InputError
from clouds.geo.places import Place
from clouds.prediction import geojson
from clouds.prediction.journal import Entry
from clouds.runtime import files
from clouds.schema import CLOUDS, MaskSpec

MASKS, PROBABILITIES = "masks", "probabilities"
Add = Callable[[Entry], None]


@contextlib.contextmanager
def submission(
    path: Path,
    field: str,
    orders: dict[str, list[int]],
    labels: Sequence[str] = CLOUDS.labels,
    header: Header = STANDARD,
) -> Iterator[Add]:
    """Writes a submission.

    Args:
      path: the csv.
      field: masks to write: `plain` (thresholded only) or `cleaned`.
      orders: order of the rows of each image; without an entry that of the labels.
      labels: names of the labels.
      header: form and columns of the csv.

    Yields:
      A function that adds an entry.
    """
    with files.writing(path) as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(header.arrange(header.columns))

        def add(entry: Entry) -> None:
            texts = getattr(entry, field)
            for label in orders.get(entry.image, range(len(labels))):
                rows.writerow(header.row(entry.image, labels[label], texts[label]))

        yield add


@contextlib.contextmanager
def collection(
    path: Path,
    box: Box | None,
    spec: MaskSpec = CLOUDS,
    places: Mapping[str, Place] | None = None,
) -> Iterator[Add]:
    """Writes masks as a GeoJSON feature collection.

    Args:
      path: the file.
      box: bounding box of each image; None for polygons in pixels.
      spec: labels and grid of the masks.
      places: places by the names of the images, instead of the box; an image without
        one gets features without geometry.

    Yields:
      A function that adds an entry.
    """
    if places:
        boxes = {place.box for place in places.values()}
        box = boxes.pop() if len(boxes) == 1 else None
    fields = geojson.collection(box, spec, in_degrees=places is not None)
    with files.writing(path) as file, _long_list(file, fields, "features") as add_one:

        def add(entry: Entry) -> None:
            if places is None:
                found = geojson.features(entry, box, spec)
            else:
                found = geojson.placed_features(entry, places.get(entry.image), spec)
            for feature in found:
                add_one(feature)

        yield add


@contextlib.contextmanager
def coco(path: Path, spec: MaskSpec = CLOUDS) -> Iterator[Add]:
    """Writes masks as COCO annotations.

    Args:
      path: the file.
      spec: labels and grid of the masks.

    Yields:
      A function that adds an entry.
    """
    images, number = [], 0
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(spec.labels)]
    # The images come last: their fields are small enough to keep in memory.
    # pycocotools needs both.
    fields = {"info": {"description": "Cloud patterns"}, "licenses": []}
    fields, last = {**fields, "categories": categories}, {"images": images}
    with (
        files.writing(path) as file,
        _long_list(file, fields, "annotations", last) as add_one,
    ):

        def add(entry: Entry) -> None:
            nonlocal number
            height, width = grid = entry.size(spec.grid)
            size = {"height": height, "width": width}
            images.append({"id": len(images) + 1, "file_name": entry.image, **size})
            for label, text in enumerate(entry.cleaned):
                if text:
                    number += 1
                    about = {"id": number, "image_id": len(images)}
                    add_one(about | _coco_annotation(entry, label, grid))

        yield add


def _coco_annotation(entry: Entry, label: int, grid: rle.Size) -> dict:
    runs = rle.parse(entry.cleaned[label], grid)
    mask = entry.masks(grid)[..., label].astype(np.uint8)
    return {
        "category_id": label + 1,
        "segmentation": {"size": list(grid), "counts": coco_counts(runs, grid)},
        "bbox": list(cv2.boundingRect(mask)),
        "area": int(runs[:, 1].sum()),
        "iscrowd": 0,
        "score": entry.scores[label],
    }


def coco_counts(runs: np.ndarray, grid: rle.Size = CLOUDS.grid) -> list[int]:
    """Converts runs to COCO's uncompressed counts: zeros, ones, zeros and so on.

    Args:
      runs: int64[R, 2] (see `rle.parse`). Both formats are column-major.
      grid: height and width of the mask.
    """
    ends = (runs + [[-1, 0]]).cumsum(axis=1).reshape(-1)
    lengths = np.diff(ends, prepend=0, append=grid[0] * grid[1])
    return lengths[: len(lengths) - (lengths[-1] == 0)].tolist()


def check_names(
    out: Path, images: Iterable[str], labels: Sequence[str] = CLOUDS.labels
) -> None:
    """Rejects names of images that are too long for the files of one image.

    Args:
      out: folder of the prediction, which exists.
      images: names of images.
      labels: names of the labels.

    Raises:
      InputError: a name is too long for the disk.
    """
    longest = os.pathconf(out, "PC_NAME_MAX")
    extra = len(files.PART) + max(len(f"_{label}.png".encode()) for label in labels)
    for image in images:
        if (length := len(os.fsencode(image))) + extra > longest:
            raise InputError(
                f"The name of an image is too long for --masks and --probabilities: "
                f"{length} bytes, where '{out}' allows {longest - extra}: {image}. "
                "Leave these flags out, or rename the image."
            )


def masks(out: Path, entry: Entry, spec: MaskSpec = CLOUDS) -> None:
    """Writes the post-processed masks of an image as black-and-white PNGs."""
    (out / MASKS).mkdir(exist_ok=True)
    planes = entry.masks(spec.grid).astype(np.uint8) * 255
    _write_planes(out / MASKS, entry.image, planes, spec.labels)


def probabilities(
    out: Path,
    image: str,
    values: np.ndarray,
    form: str,
    labels: Sequence[str] = CLOUDS.labels,
) -> None:
    """Writes the probabilities of an image.

    Args:
      out: folder of the prediction.
      image: name of the image.
      values: float32[h, w, C].
      form: `npz`, with float16[h, w, C] and the labels, or `png`, 0..255 per label.
      labels: names of the labels.
    """
    folder = out / PROBABILITIES
    folder.mkdir(exist_ok=True)
    if form == "npz":
        with files.writing(folder / f"{image}.npz", "wb") as file:
            np.savez_compressed(
                file, probabilities=values.astype(np.float16), labels=np.array(labels)
            )
    else:
        _write_planes(folder, image, np.rint(values * 255).astype(np.uint8), labels)


def is_image_file(name: str, labels: Sequence[str]) -> bool:
    """Returns whether `masks` or `probabilities` write files of this name."""
    return name.endswith((".npz", *(f"_{label}.png" for label in labels)))


def _write_planes(
    folder: Path, image: str, planes: np.ndarray, labels: Sequence[str]
) -> None:
    for label, name in enumerate(labels):
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
