"""Reads windows of large image files.

A GeoTIFF that is stored in tiles is read window by window. A JPEG or a TIFF in rows is
decoded once, strip by strip, into a scratch file. Other files are decoded whole, if the
memory suffices. Pixels become RGB as for other images
(`docs/reference/image-files.md`).
"""

import contextlib
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from clouds.data.images import (
    graph_formats,
    image_bytes,
    image_files,
    image_headers,
    native,
    preprocessing,
)
from clouds.errors import InputError
from clouds.geo import rasters
from clouds.runtime import files, startup
from clouds.schema import RGB, Bands

Read = Callable[[int, int, int, int], np.ndarray]
_LEAST_ROWS = 16
_MEGABYTE = 1 << 20
_JPEG = b"\xff\xd8\xff"
_GDAL_CACHE = 64


class SceneError(InputError):
    """One scene cannot be predicted; others can."""


class Scene(NamedTuple):
    """An open image.

    Attributes:
      size: height and width.
      read: function from top, left, height and width of a window within the image to
        its pixels, [height, width, K] of its bands.
      how: how the file is read, for the user.
    """

    size: tuple[int, int]
    read: Read
    how: str


@contextlib.contextmanager
def opened(
    path: str, scratch: Path, memory: int, bands: Bands = RGB
) -> Iterator[Scene]:
    """Opens an image to read windows of it.

    Args:
      path: path from `image_files.find`.
      scratch: file for the decoded pixels, removed at the end.
      memory: megabytes for pixels.
      bands: bands of the image; RGB converts any file.

    Yields:
      The image.

    Raises:
      SceneError: it cannot be read or decoded, has other bands, or needs more memory.
      InputError: the disk has too little space for the decoded pixels.
    """
    with contextlib.ExitStack() as stack:
        try:
            source = _open(path, stack, memory, bands)
        except SceneError:
            raise
        except image_bytes.UNREADABLE as error:
            reason = error if bands != RGB else image_files.undecodable(path)
            raise SceneError(str(reason)) from error

        def read(*at: int) -> np.ndarray:
            try:
                return source.read(*at)
            except InputError as error:
                raise SceneError(f"{path} cannot be used: {error}.") from error
            except (tf.errors.OpError, OSError) as error:
                raise SceneError(
                    f"{path} cannot be decoded: it is damaged, or cut short. Replace "
                    "the file, or leave it out."
                ) from error

        scene = source._replace(read=read)
        if not scene.how:
            scene = stack.enter_context(_copied(scene, scratch, memory, bands))
        yield scene


def window(scene: Scene, top: int, left: int, size: tuple[int, int]) -> np.ndarray:
    """Reads a window that may lie partly outside of an image.

    Args:
      scene: the image.
      top: first row.
      left: first column; columns beyond an end of the image are those of its other
        end, unless the window is wider than the image.
      size: height and width of the window.

    Returns:
      [height, width, K] of its bands, black where there is no pixel.
    """
    (height, width), (rows, columns) = size, scene.size
    present = min(height, rows - top)
    if width > columns:
        parts = [scene.read(top, 0, present, columns)]
    else:
        left %= columns
        first = min(width, columns - left)
        parts = [scene.read(top, left, present, first)]
        if first < width:
            parts.append(scene.read(top, 0, present, width - first))
    pixels = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
    missing = [(0, height - pixels.shape[0]), (0, width - pixels.shape[1]), (0, 0)]
    return np.pad(pixels, missing) if np.any(missing) else pixels


def thumbnail(scene: Scene, size: tuple[int, int]) -> np.ndarray:
    """Reads an image at a smaller size, by the nearest pixels.

    Args:
      scene: the image.
      size: height and width of the result.

    Returns:
      [h, w, K] of its bands.
    """
    rows, columns = (
        ((np.arange(n) + 0.5) * full / n).astype(int)
        for n, full in zip(size, scene.size, strict=True)
    )
    lines = (scene.read(row, 0, 1, scene.size[1])[0, columns] for row in rows)
    return np.stack(list(lines))


def _open(path: str, stack: contextlib.ExitStack, memory: int, bands: Bands) -> Scene:
    if bands != RGB:
        return _tiff(path, stack, bands) or _whole_native(path, memory, bands)
    return _tiff(path, stack, bands) or _jpeg(path) or _whole(path, memory)


def _tiff(path: str, stack: contextlib.ExitStack, bands: Bands) -> Scene | None:
    """Opens a local TIFF whose bands need no special treatment, by rasterio."""
    is_tiff = path.lower().endswith((".tif", ".tiff")) and Path(path).is_file()
    if not is_tiff or importlib.util.find_spec("rasterio") is None:
        return None
    rasterio = startup.load("rasterio")
    errors = startup.load("rasterio.errors")
    with warnings.catch_warnings():
        # Most images are not on a map.
        warnings.simplefilter("ignore", errors.NotGeoreferencedWarning)
        try:
            stack.enter_context(rasterio.Env(GDAL_CACHEMAX=_GDAL_CACHE))
            file = stack.enter_context(rasterio.open(path, driver="GTiff"))
        except errors.RasterioError:
            return None
    if rasters.orientation(path) != 1:
        return None
    if bands != RGB:
        native.check_bands(path, bands, file.count, ", ".join(sorted(set(file.dtypes))))
    elif not _is_plain(file):
        return None

    def read(top: int, left: int, height: int, width: int) -> np.ndarray:
        at = rasterio.windows.Window(left, top, width, height)
        try:
            if bands != RGB:
                return native.read_window(file, at)
            return _to_rgb(file.read(window=at))
        except errors.RasterioError as error:
            raise OSError(str(error)) from error

    in_tiles = file.block_shapes[0][1] < file.width
    return Scene((file.height, file.width), read, "window by window" * in_tiles)


def _jpeg(path: str) -> Scene | None:
    """Opens an upright JPEG."""
    if path.lower().endswith((".tif", ".tiff")):
        return None
    contents = image_bytes.load(path)
    header = image_headers.read(contents)
    if header is None or header.kind != "jpeg":
        return None
    if header.orientation != 1 or header.fault:
        return None

    def read(top: int, left: int, height: int, width: int) -> np.ndarray:
        return tf.io.decode_and_crop_jpeg(
            contents,
            [top, left, height, width],
            channels=3,
            dct_method="INTEGER_ACCURATE",
        ).numpy()

    return Scene(header.size, read, "")


def _is_plain(file) -> bool:
    """Whether bands are grey or RGB with or without alpha, as they are stored."""
    is_plain = set(file.dtypes) <= {"uint8"} and file.count in (1, 3, 4)
    is_plain &= not file.subdatasets
    structure = file.tags(ns="IMAGE_STRUCTURE")
    is_plain &= not {"MINISWHITE", "SOURCE_COLOR_SPACE"} & set(structure)
    if file.count == 4:
        is_plain &= "ALPHA" not in file.tags(4, ns="IMAGE_STRUCTURE")
    return is_plain and file.colorinterp[0].name in ("gray", "red", "undefined")


def _to_rgb(bands: np.ndarray) -> np.ndarray:
    """Converts uint8[K, H, W], grey, RGB or RGBA, to uint8[H, W, 3]."""
    colours = np.moveaxis(bands[:3], 0, -1)
    if len(bands) == 1:
        return np.repeat(colours, 3, axis=-1)
    if len(bands) == 4:
        product = colours.astype(np.int32) * bands[3][..., None]
        colours = ((product + 127) // 255).astype(np.uint8)
    return np.ascontiguousarray(colours)


@contextlib.contextmanager
def _copied(source: Scene, scratch: Path, memory: int, bands: Bands) -> Iterator[Scene]:
    """Decodes an image once, from its top down, into a file that is then read."""
    height, width = source.size
    row_bytes = width * bands.bytes_per_pixel
    files.check_free_space(scratch.parent, height * row_bytes, "Decoded pixels")
    rows = max(_LEAST_ROWS, memory * _MEGABYTE // (row_bytes * 4))
    try:
        with scratch.open("wb") as file:
            for top in range(0, height, rows):
                strip = source.read(top, 0, min(rows, height - top), width)
                file.write(np.ascontiguousarray(strip).data)
        shape = height, width, len(bands.names)
        pixels = np.memmap(scratch, bands.dtype, "r", shape=shape)

        def read(top: int, left: int, height: int, width: int) -> np.ndarray:
            return np.array(pixels[top : top + height, left : left + width])

        yield Scene(source.size, read, "decoded once, in strips")
    finally:
        scratch.unlink(missing_ok=True)


def _check_whole(path: str, memory: int, bands: Bands) -> None:
    """Refuses a file that is too large to be decoded whole, or cannot be decoded."""
    header = image_headers.read(image_bytes.load(path))
    if header is None:
        raise image_files.undecodable(path)
    height, width = header.size
    needed = -(-height * width * bands.bytes_per_pixel // _MEGABYTE)
    if needed > memory or height * width > preprocessing.MOST_PIXELS:
        allowed = f"Give --tile-memory {needed}, or convert"
        if height * width > preprocessing.MOST_PIXELS:
            allowed = f"At most {preprocessing.MOST_PIXELS:,} pixels are. Convert"
        raise SceneError(
            f"{path} has {width}x{height} pixels (width x height), and must be decoded "
            f"whole, which needs {needed} MB. {allowed} it to a tiled GeoTIFF "
            "(gdal_translate -co TILED=YES) and run bin/setup geo."
        )


def _whole_native(path: str, memory: int, bands: Bands) -> Scene:
    _check_whole(path, memory, bands)
    return _in_memory(native.load(path, bands))


def _whole(path: str, memory: int) -> Scene:
    _check_whole(path, memory, RGB)
    contents = image_files.read(tf.constant(path)).numpy()
    if contents.startswith(_JPEG):
        pixels = tf.io.decode_jpeg(contents, 3, dct_method="INTEGER_ACCURATE").numpy()
    else:
        pixels = graph_formats.decode(tf.constant(contents)).numpy()
    return _in_memory(pixels)


def _in_memory(pixels: np.ndarray) -> Scene:
    def read(top: int, left: int, height: int, width: int) -> np.ndarray:
        return pixels[top : top + height, left : left + width]

    return Scene(pixels.shape[:2], read, "decoded whole")
