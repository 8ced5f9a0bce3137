"""Reads the box of an image from GeoTIFF tags, or from a world file beside it.

Only plate carrée images in degrees with north up are accepted: tags must say EPSG:4326;
a world file does not say, so its box must be possible in degrees.
"""

import contextlib
import functools
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import tensorflow as tf
from PIL import Image, UnidentifiedImageError
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from clouds.config.fields import Box
from clouds.errors import InputError
from clouds.runtime import archives

_SCALE, _TIES, _MATRIX, _KEYS = 33550, 33922, 34264, 34735
_MODEL, _POINTS, _GEOGRAPHIC = 1024, 1025, 2048
_WIDTH, _HEIGHT, _ORIENTATION = 256, 257, 274
_BIG = b"+"
"""Third byte of a BigTIFF, whose header is longer."""
_WGS84 = 4326
_MEND = "Give its place in --places, or reproject it (gdalwarp -t_srs EPSG:4326)."
_UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, zipfile.BadZipFile)
_UNREADABLE += (KeyError, tf.errors.OpError, Image.DecompressionBombError)


def box(path: str) -> Box | None:
    """Reads the box of an image.

    Args:
      path: path of the image; it may be remote, or in a zip.

    Returns:
      West, south, east, north as stored; None without tags and world file.

    Raises:
      InputError: there are such, but they do not give a box in degrees.
    """
    if _is_tiff(path) and (found := _tagged(path)):
        return found
    return _from_world_file(path)


def size(path: str) -> tuple[int, int] | None:
    """Reads height and width of an image; None if its header cannot be read."""
    if _is_tiff(path):
        tags = _tags(path)
        found = tuple(tags.get(key) for key in (_HEIGHT, _WIDTH))
        return found if all(found) else None
    limit = Image.MAX_IMAGE_PIXELS
    try:
        with warnings.catch_warnings(), _open(path) as file:
            # A damaged file is reported where its pixels are read.
            warnings.simplefilter("ignore")
            # Only the header is read, which may be of a large scene.
            Image.MAX_IMAGE_PIXELS = None
            with Image.open(file) as image:
                return image.height, image.width
    except (UnidentifiedImageError, *_UNREADABLE):
        return None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def orientation(path: str) -> int:
    """Reads the orientation tag of a TIFF, 1 to 8; 1 without a valid one."""
    tag = _tags(path).get(_ORIENTATION, 1)
    return tag if tag in range(1, 9) else 1


def _is_tiff(path: str) -> bool:
    return path.lower().endswith((".tif", ".tiff"))


def _tags(path: str) -> dict:
    """Reads the tags of the first image of a TIFF; none if its header is damaged.

    Pillow's images would be of few kinds of bands only.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _open(path) as file:
                header = file.read(8)
                header += file.read(8) if header[2:3] == _BIG else b""
                tags = ImageFileDirectory_v2(header)
                file.seek(tags.next)
                tags.load(file)
            return dict(tags)
        except (struct.error, IndexError, EOFError, *_UNREADABLE):
            return {}


@contextlib.contextmanager
def _open(path: str) -> Iterator[IO]:
    archive, inside = archives.split(path)
    if archive:
        with _archive(archive).open(inside) as file:
            yield file
    elif "://" in path:
        with tf.io.gfile.GFile(path, "rb") as file:
            yield file
    elif Path(path).is_file():
        with Path(path).open("rb") as file:
            yield file
    else:
        raise OSError


@functools.lru_cache(maxsize=4)
def _archive(path: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(tf.io.gfile.GFile(path, "rb"))


@functools.lru_cache(maxsize=4)
def _remote_names(folder: str) -> frozenset[str]:
    return frozenset(tf.io.gfile.listdir(folder))


def _tagged(path: str) -> Box | None:
    """Returns the box of a GeoTIFF; None without such tags, or if it is damaged."""
    found = _tags(path)
    tags = {key: found.get(key) for key in (_SCALE, _TIES, _MATRIX, _KEYS)}
    height, width = (found.get(key) for key in (_HEIGHT, _WIDTH))
    if not (height and width):
        return None
    if not (tags[_MATRIX] or (tags[_SCALE] and tags[_TIES])):
        return None
    keys = tags[_KEYS] or ()
    # Pairs of four: key, place of the value, count, value.
    values = {keys[k]: keys[k + 3] for k in range(4, len(keys) - 3, 4)}
    _check_projection(path, values)
    if tags[_SCALE] and tags[_TIES]:
        column, row, _, x, y = tags[_TIES][:5]
        right, down = tags[_SCALE][0], -tags[_SCALE][1]
        x, y = x - column * right, y - row * down
    else:
        right, skew_x, _, x, skew_y, down, _, y = tags[_MATRIX][:8]
        if skew_x or skew_y:
            raise InputError(f"{path} is rotated. {_MEND}")
    if values.get(_POINTS) == 2:
        x, y = x - right / 2, y - down / 2
    return _box(path, (x, y), (right, down), (height, width))


def _check_projection(path: str, keys: dict[int, int]) -> None:
    model, code = keys.get(_MODEL), keys.get(_GEOGRAPHIC)
    if model is None:
        raise InputError(f"{path} has no coordinate reference system. {_MEND}")
    if model != 2 or code != _WGS84:
        system = "a projection" if model != 2 else f"EPSG:{code}"
        raise InputError(f"{path} is in {system}, not in degrees, EPSG:4326. {_MEND}")


def _from_world_file(path: str) -> Box | None:
    stem, _, suffix = path.rpartition(".")
    suffix = suffix.lower()
    is_remote, (folder, _, _) = "://" in path, path.rpartition("/")
    for ending in (f"{suffix[:1]}{suffix[-1:]}w", f"{suffix}w", "wld"):
        for world in (f"{stem}.{ending}", f"{stem}.{ending.upper()}"):
            # One request for a folder, not several for each image.
            if is_remote and world[len(folder) + 1 :] not in _remote_names(folder):
                continue
            try:
                with _open(world) as file:
                    text = file.read(1000)
            except _UNREADABLE:
                continue
            return _parse_world_file(world, text, path)
    return None


def _parse_world_file(world: str, text: bytes, path: str) -> Box:
    try:
        right, skew_y, skew_x, down, x, y = map(float, text.split())
    except ValueError as error:
        raise InputError(
            f"{world} must be six numbers, one per line. Correct or remove it."
        ) from error
    if skew_x or skew_y:
        raise InputError(f"{world} describes a rotated image. {_MEND}")
    shape = size(path)
    if shape is None:
        raise InputError(f"{path} cannot be read, so {world} gives no box.")
    # A world file gives the centre of the first pixel.
    return _box(world, (x - right / 2, y - down / 2), (right, down), shape)


def _box(source: str, corner, step, shape: tuple[int, int]) -> Box:
    (x, y), (right, down), (height, width) = corner, step, shape
    if not (right > 0 > down):
        raise InputError(f"{source}: north must be up, and east to the right. {_MEND}")
    return x, y + height * down, x + width * right, y
