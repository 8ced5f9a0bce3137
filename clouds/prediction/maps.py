"""Probabilities and observed areas of images, kept until gridded files are written.

The journal has masks only, so what else a map needs is kept in a file per image in
`maps.part`, which is removed with the journal.
"""

import contextlib
import hashlib
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from clouds.config.prediction import Prediction
from clouds.geo import cf
from clouds.postprocess import functional, ops
from clouds.postprocess.blockwise import Block
from clouds.runtime import checksums, files

FOLDER = "maps.part"


class Kept(NamedTuple):
    """Probabilities and observed area of an image.

    Attributes:
      probability: uint8[H, W, C], of `cf.pack`.
      observed: bool[H, W], where the image is not black (orbit gap).
    """

    probability: np.ndarray
    observed: np.ndarray


def needed(settings: Prediction) -> bool:
    """Returns whether a file is made of what is kept.

    Args:
      settings: settings with the files.
    """
    return bool(settings.series or settings.geotiff)


def keep(
    out: Path,
    names: Sequence[str],
    probabilities: np.ndarray,
    images: np.ndarray,
    grid: tuple[int, int],
) -> None:
    """Keeps what the maps of a batch need besides masks.

    Args:
      out: folder of the prediction.
      names: names of B images.
      probabilities: float32[B, h, w, C].
      images: [B, ., ., K] of the run's bands.
      grid: height and width of the maps.
    """
    (out / FOLDER).mkdir(exist_ok=True)
    packed = cf.pack(functional.resize(probabilities, grid).numpy())
    observed = ops.observed(tf.constant(images), grid).numpy()[..., 0]
    for k, name in enumerate(names):
        with files.writing(_path(out, name, "npz"), "wb") as file:
            np.savez_compressed(file, probability=packed[k], observed=observed[k])


@contextlib.contextmanager
def keeping(
    out: Path, name: str, grid: tuple[int, int], labels: int
) -> Iterator[Callable[[Block], None]]:
    """Keeps the map of a scene, which may be too large for memory.

    Args:
      out: folder of the prediction.
      name: name of the scene.
      grid: height and width of the map.
      labels: number of labels.

    Yields:
      A function that adds the next columns.
    """
    (out / FOLDER).mkdir(exist_ok=True)
    first = 0
    with files.replacing(_path(out, name, "npy")) as part:
        shape = (*grid, labels + 1)
        stored = files.mapped(part, shape, "uint8")

        def add(block: Block) -> None:
            nonlocal first
            columns = slice(first, first + block.observed.shape[1])
            stored[:, columns, :-1] = cf.pack(block.probabilities)
            stored[:, columns, -1] = block.observed
            first = columns.stop

        yield add
        stored.flush()
    checksums.write_beside(_path(out, name, "npy"))


def is_kept(out: Path, name: str) -> bool:
    """Returns whether the map of an image is kept and intact.

    Args:
      out: folder of the prediction.
      name: name of the image.
    """
    if checksums.is_intact(_path(out, name, "npy")):
        return True
    try:
        # Each array in the archive has a checksum.
        with zipfile.ZipFile(_path(out, name, "npz")) as archive:
            return archive.testzip() is None
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error):
        return False


def load(out: Path, name: str) -> Kept:
    """Loads the map of an image; that of a scene stays in its file.

    Args:
      out: folder of the prediction.
      name: name of the image.
    """
    path = _path(out, name, "npy")
    if path.is_file():
        stored = np.load(path, mmap_mode="r")
        return Kept(stored[..., :-1], stored[..., -1] > 0)
    with np.load(_path(out, name, "npz")) as stored:
        return Kept(stored["probability"], stored["observed"])


def clear(out: Path) -> None:
    """Removes what is kept.

    Args:
      out: folder of the prediction.
    """
    shutil.rmtree(out / FOLDER, ignore_errors=True)


def _path(out: Path, name: str, form: str) -> Path:
    # Names may be too long for another suffix.
    return out / FOLDER / f"{hashlib.sha1(name.encode()).hexdigest()}.{form}"
