"""The files of a prediction: which ones, their names, writing and removing them.

`submission.csv` and `submission_post.csv` always; on request the probabilities, and of
the post-processed masks PNGs, pictures, GeoJSON and COCO annotations. All but the
probabilities are written at the end, from the journal, image by image.
"""

import contextlib
import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from clouds.config.prediction import Prediction
from clouds.data.masks.csv_rows import STANDARD, Header
from clouds.geo import zarr_files
from clouds.geo.places import Place
from clouds.plots.overlays import draw_overlays
from clouds.prediction import maps, writers
from clouds.prediction.journal import Entry
from clouds.prediction.tiling import tiled
from clouds.prediction.writers import MASKS, PROBABILITIES
from clouds.runtime import files
from clouds.schema import CLOUDS, MaskSpec

SUBMISSIONS = PLAIN, CLEANED = "submission.csv", "submission_post.csv"
OVERLAYS = "overlays.png"
GEOJSON, COCO, GEOPARQUET = "masks.geojson", "coco.json", "masks.parquet"
GEOTIFFS = "geotiff"
UNREADABLE, UNPLACED = "unreadable.txt", "unplaced.txt"
FILES = (*SUBMISSIONS, OVERLAYS, GEOJSON, COCO, GEOPARQUET, UNREADABLE, UNPLACED)
CHOICES = ("overlays", "probabilities", "masks", "geojson", "bbox", "places", "coco")
CHOICES += ("netcdf",)
"""Settings that select what is written."""
LATER_CHOICES = ("zarr", "geotiff", "geoparquet")
"""The same; predictions of earlier versions have none of them."""

_IMAGES_PER_PICTURE = 24


def names(settings: Prediction) -> list[str]:
    """Returns the names of the files that a prediction writes in any case."""
    optional = {GEOJSON: settings.geojson, COCO: settings.coco}
    optional |= {GEOPARQUET: settings.geoparquet, OVERLAYS: settings.overlays > 0}
    files = [settings.netcdf] if settings.netcdf else []
    files += [f"{settings.zarr}/{zarr_files.METADATA}"] if settings.zarr else []
    files = [str(Path(path).absolute()) for path in files]
    return [
        *SUBMISSIONS,
        *files,
        *(name for name, chosen in optional.items() if chosen),
    ]


def summary(out: Path, settings: Prediction, drawn: int) -> str:
    """Lists what was written, for the user.

    Args:
      out: folder of the prediction.
      settings: settings that select the files.
      drawn: number of images in the pictures.
    """
    written = [
        str(out / name).removesuffix(zarr_files.METADATA)
        for name in names(settings)
        if name != OVERLAYS
    ]
    folders = {MASKS: settings.masks, PROBABILITIES: settings.probabilities}
    folders[GEOTIFFS] = settings.geotiff
    written += [f"{out / name}/" for name, chosen in folders.items() if chosen]
    text = f"{', '.join(written[:-1])} and {written[-1]}"
    pictures = -(-drawn // _IMAGES_PER_PICTURE)
    if pictures:
        last = f" to {_picture(out, pictures - 1).name}" if pictures > 1 else ""
        first = f"the first {drawn}" if drawn > 1 else "the first one"
        text += f"; {out / OVERLAYS}{last} shows {first}"
    return text


def clear(out: Path, settings: dict) -> None:
    """Removes the files of a prediction.

    Args:
      out: folder of the prediction.
      settings: its stored settings; if empty, the files of single images are kept.
    """
    labels = settings.get("spec", CLOUDS._asdict())["labels"]
    for name in (*SUBMISSIONS, GEOJSON, COCO, GEOPARQUET, UNREADABLE, UNPLACED):
        (out / name).unlink(missing_ok=True)
    maps.clear(out)
    tiled.clear(out)
    for path in out.glob("overlays*.png"):
        path.unlink()
    for folder in (MASKS, PROBABILITIES, GEOTIFFS):
        if not settings.get(folder):
            continue
        for path in (out / folder).glob("*"):
            is_geotiff = folder == GEOTIFFS and path.suffix == ".tif"
            if is_geotiff or writers.is_image_file(path.name, labels):
                path.unlink()
        with contextlib.suppress(OSError):
            (out / folder).rmdir()


def write(
    out: Path,
    settings: Prediction,
    entries: Iterable[Entry],
    orders: dict,
    spec: MaskSpec = CLOUDS,
    header: Header = STANDARD,
    places: Mapping[str, Place] | None = None,
) -> None:
    """Writes everything made of masks except the overlays.

    Args:
      out: folder of the prediction.
      settings: settings that select the files, and the bounding box.
      entries: entries of the images.
      orders: order of the rows of each image, as for `writers.submission`.
      spec: labels and grid of the masks.
      header: form and columns of the submissions.
      places: places of the images, as for `writers.collection`.
    """
    with contextlib.ExitStack() as stack:
        contexts = [
            writers.submission(out / name, field, orders, spec.labels, header)
            for name, field in ((PLAIN, "plain"), (CLEANED, "cleaned"))
        ]
        if settings.geojson:
            path = out / GEOJSON
            contexts.append(writers.collection(path, settings.bbox, spec, places))
        if settings.coco:
            contexts.append(writers.coco(out / COCO, spec))
        adders = [stack.enter_context(context) for context in contexts]
        if settings.masks:
            adders.append(lambda entry: writers.masks(out, entry, spec))
        for entry in entries:
            for add in adders:
                add(entry)


def write_faults(out: Path, faults: dict[str, str], name: str = UNREADABLE) -> None:
    """Writes the errors of images, one per line; no file without errors.

    Args:
      out: folder of the prediction.
      faults: errors by the names of the images.
      name: name of the file, `unreadable.txt` or `unplaced.txt`.
    """
    path = out / name
    if faults:
        lines = (f"{name}: {fault}\n" for name, fault in faults.items())
        files.write(path, "".join(lines))
    else:
        path.unlink(missing_ok=True)


def draw(
    out: Path, images: Iterable[tuple[np.ndarray, Entry]], spec: MaskSpec = CLOUDS
) -> int:
    """Draws images with the outlines of their masks, 24 per picture.

    Args:
      out: folder of the prediction.
      images: images uint8[H, W, 3] on the grid of the masks, or smaller, with their
        entries.
      spec: labels and grid of the masks.

    Returns:
      The number of images.
    """
    images = iter(images)
    drawn = 0
    while group := list(itertools.islice(images, _IMAGES_PER_PICTURE)):
        pixels, entries = zip(*group, strict=True)
        masks = [
            _reduced(entry.masks(spec.grid), image.shape[:2])
            for image, entry in zip(pixels, entries, strict=True)
        ]
        titles = [entry.image for entry in entries]
        path = _picture(out, drawn // _IMAGES_PER_PICTURE)
        columns = 1 if any(entry.grid for entry in entries) else 4
        draw_overlays(pixels, masks, path, spec.labels, titles=titles, columns=columns)
        drawn += len(group)
    return drawn


def _reduced(masks: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Returns masks of another size, by their nearest pixels."""
    rows, columns = (
        ((np.arange(n) + 0.5) * full / n).astype(int)
        for n, full in zip(size, masks.shape[:2], strict=True)
    )
    return masks[rows][:, columns]


def _picture(out: Path, number: int) -> Path:
    return out / (f"overlays_{number + 1}.png" if number else OVERLAYS)
