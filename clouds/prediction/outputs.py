"""What a prediction leaves in its folder, each file under a temporary name first.

`submission.csv` and `submission_post.csv` always; on request the probabilities, a
file or four an image, and of the post-processed masks PNGs, pictures, GeoJSON and
COCO's annotations. All but the probabilities are written at the end, from the journal,
an image at a time. Masks and runs count on the submission's grid, 350x525.
"""

import contextlib
import csv
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from clouds import rle, schema
from clouds.config.fields import Box
from clouds.config.prediction import Prediction
from clouds.data import annotations
from clouds.plots import common
from clouds.prediction import geojson
from clouds.prediction.journal import Entry
from clouds.runtime import files

SUBMISSIONS = PLAIN, CLEANED = "submission.csv", "submission_post.csv"
OVERLAYS = "overlays.png"
GEOJSON, COCO = "masks.geojson", "coco.json"
UNREADABLE = "unreadable.txt"
FILES = (*SUBMISSIONS, OVERLAYS, GEOJSON, COCO, UNREADABLE)
MASKS, PROBABILITIES = "masks", "probabilities"
CHOICES = ("overlays", "probabilities", "masks", "geojson", "bbox", "coco")
"""The settings that say what is written."""

_A_PICTURE = 24
_OF_IMAGES = (".npz", *(f"_{label}.png" for label in schema.LABELS))
_HEIGHT, _WIDTH = schema.SUBMISSION_SIZE
_LABELS = range(len(schema.LABELS))

Add = Callable[[Entry], None]


def names(settings: Prediction) -> list[str]:
    """The files that a prediction with these settings writes whatever it finds."""
    wanted = {GEOJSON: settings.geojson, COCO: settings.coco}
    wanted[OVERLAYS] = settings.overlays > 0
    return [*SUBMISSIONS, *(name for name, asked in wanted.items() if asked)]


def summary(out: Path, settings: Prediction, drawn: int) -> str:
    """Names what was written.

    Args:
      out: the folder.
      settings: which files.
      drawn: how many images are in the pictures.
    """
    written = [str(out / name) for name in names(settings) if name != OVERLAYS]
    folders = {MASKS: settings.masks, PROBABILITIES: settings.probabilities}
    written += [f"{out / name}/" for name, asked in folders.items() if asked]
    text = f"{', '.join(written[:-1])} and {written[-1]}"
    pictures = -(-drawn // _A_PICTURE)
    if pictures:
        more = f" to {_picture(out, pictures - 1).name}" if pictures > 1 else ""
        first = f"{drawn} are" if drawn > 1 else "is"
        text += f"; the first {first} drawn in {out / OVERLAYS}{more}"
    return text


def clear(out: Path, settings: dict) -> None:
    """Removes what a prediction left.

    Args:
      out: the folder.
      settings: of that prediction; empty if they are not known, and then files of
        its images stay.
    """
    for name in (*SUBMISSIONS, GEOJSON, COCO, UNREADABLE):
        (out / name).unlink(missing_ok=True)
    for path in out.glob("overlays*.png"):
        path.unlink()
    for folder in (MASKS, PROBABILITIES):
        if not settings.get(folder):
            continue
        for path in (out / folder).glob("*"):
            if path.name.endswith(_OF_IMAGES):
                path.unlink()
        with contextlib.suppress(OSError):
            (out / folder).rmdir()


def write(
    out: Path, settings: Prediction, entries: Iterable[Entry], orders: dict
) -> None:
    """Writes all that is made of masks but the overlays.

    Args:
      out: the folder.
      settings: which files, and the box of their coordinates.
      entries: of the images, one after another.
      orders: from an image to the order of its labels' rows; `schema.LABELS`' if it
        has none.
    """
    with contextlib.ExitStack() as stack:
        writers = [submission(out / PLAIN, "plain", orders)]
        writers.append(submission(out / CLEANED, "cleaned", orders))
        if settings.geojson:
            writers.append(collection(out / GEOJSON, settings.bbox))
        if settings.coco:
            writers.append(_coco(out / COCO))
        writers = [stack.enter_context(writer) for writer in writers]
        if settings.masks:
            writers.append(lambda entry: _write_masks(out / MASKS, entry))
        for entry in entries:
            for add in writers:
                add(entry)


def write_probabilities(
    out: Path, image: str, probabilities: np.ndarray, form: str
) -> None:
    """Writes the probabilities of one image.

    Args:
      out: the folder.
      image: its name.
      probabilities: float32[h, w, C].
      form: npz, of float16[h, w, C] and the labels, or png, 0..255 a label.
    """
    folder = out / PROBABILITIES
    folder.mkdir(exist_ok=True)
    if form == "npz":
        arrays = {"probabilities": probabilities.astype(np.float16)}
        with files.writing(folder / f"{image}.npz", "wb") as file:
            np.savez_compressed(file, **arrays, labels=np.array(schema.LABELS))
    else:
        _write_planes(folder, image, np.rint(probabilities * 255).astype(np.uint8))


def write_unreadable(out: Path, faults: dict[str, str]) -> None:
    """Writes what is wrong with images, a line each; no file if there are none.

    Args:
      out: the folder.
      faults: by the images' names.
    """
    if not faults:
        (out / UNREADABLE).unlink(missing_ok=True)
        return
    with files.writing(out / UNREADABLE) as file:
        file.writelines(f"{name}: {fault}\n" for name, fault in faults.items())


def draw(out: Path, images: Iterable[tuple[np.ndarray, Entry]]) -> int:
    """Draws images with the outlines of their masks, 24 a picture.

    Args:
      out: the folder.
      images: uint8[350, 525, 3] each, with what was predicted of it.

    Returns:
      How many there were.
    """
    images = iter(images)
    drawn = 0
    while some := list(itertools.islice(images, _A_PICTURE)):
        shown, entries = zip(*some, strict=True)
        masks = [entry.masks for entry in entries]
        titles = [entry.image for entry in entries]
        path = _picture(out, drawn // _A_PICTURE)
        common.overlays(shown, masks, path, titles=titles)
        drawn += len(some)
    return drawn


@contextlib.contextmanager
def submission(path: Path, of_entry: str, orders: dict) -> Iterator[Add]:
    """Writes a submission, an image at a time.

    Args:
      path: of the csv, which is there when the context ends without an error.
      of_entry: which masks, `plain` or `cleaned`.
      orders: as for `write`.

    Yields:
      A function that adds an entry.
    """
    with files.writing(path) as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(annotations.COLUMNS)

        def add(entry: Entry) -> None:
            texts = getattr(entry, of_entry)
            for label in orders.get(entry.image, _LABELS):
                rows.writerow((f"{entry.image}_{schema.LABELS[label]}", texts[label]))

        yield add


@contextlib.contextmanager
def collection(path: Path, box: Box | None) -> Iterator[Add]:
    """Writes masks as GeoJSON, an image at a time.

    Args:
      path: of the file, as for `submission`.
      box: that each image covers on the earth; pixels if None.

    Yields:
      A function that adds an entry.
    """
    fields = geojson.collection(box)
    with files.writing(path) as file, _list_within(file, fields, "features") as add_one:

        def add(entry: Entry) -> None:
            for feature in geojson.features(entry, box):
                add_one(feature)

        yield add


def counts(runs: np.ndarray) -> list[int]:
    """The uncompressed run lengths of COCO: zeros, ones, zeros and so on.

    Args:
      runs: int64[R, 2], of a mask on the submission's grid (see `rle.parse`). Both
        go down the columns.
    """
    ends = (runs + [[-1, 0]]).cumsum(axis=1).reshape(-1)
    lengths = np.diff(ends, prepend=0, append=_HEIGHT * _WIDTH)
    return lengths[: len(lengths) - (lengths[-1] == 0)].tolist()


@contextlib.contextmanager
def _coco(path: Path) -> Iterator[Add]:
    images, number = [], 0
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(schema.LABELS)]
    size = {"height": _HEIGHT, "width": _WIDTH}
    # The images come last: their fields are small enough to be kept until then.
    fields, last = {"categories": categories}, {"images": images}
    with (
        files.writing(path) as file,
        _list_within(file, fields, "annotations", last) as add_one,
    ):

        def add(entry: Entry) -> None:
            nonlocal number
            images.append({"id": len(images) + 1, "file_name": entry.image, **size})
            for label in _present(entry):
                number += 1
                runs = rle.parse(entry.cleaned[label], schema.SUBMISSION_SIZE)
                mask = entry.masks[..., label].astype(np.uint8)
                add_one(
                    {
                        "id": number,
                        "image_id": len(images),
                        "category_id": label + 1,
                        "segmentation": {
                            "size": [_HEIGHT, _WIDTH],
                            "counts": counts(runs),
                        },
                        "bbox": list(cv2.boundingRect(mask)),
                        "area": int(runs[:, 1].sum()),
                        "iscrowd": 0,
                        "score": entry.scores[label],
                    }
                )

        yield add


@contextlib.contextmanager
def _list_within(file, fields: dict, name: str, last: dict | None = None):
    """Writes an object of which one list is too long for the memory."""
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


def _present(entry: Entry) -> list[int]:
    return [label for label in _LABELS if entry.cleaned[label]]


def _picture(out: Path, number: int) -> Path:
    return out / (f"overlays_{number + 1}.png" if number else OVERLAYS)


def _write_masks(folder: Path, entry: Entry) -> None:
    folder.mkdir(exist_ok=True)
    _write_planes(folder, entry.image, entry.masks.astype(np.uint8) * 255)


def _write_planes(folder: Path, image: str, planes: np.ndarray) -> None:
    for label, name in enumerate(schema.LABELS):
        contents = cv2.imencode(".png", planes[..., label])[1].tobytes()
        files.write(folder / f"{image}_{name}.png", contents)
