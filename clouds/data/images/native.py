"""Reads images with the bands and the depth of their files, without any conversion.

PNGs of 1 to 4 bands of 8 or 16 bits are decoded by TensorFlow, as in an exported model;
TIFFs of 1 to 8 bands of 8 or 16 bits or float32 by rasterio. What would be guessed at
is refused: palettes, other depths, values that are missing or not finite.
"""

import importlib.util
import sys
import threading
import warnings

import numpy as np
import tensorflow as tf

from clouds.data.images import formats, image_bytes, image_headers
from clouds.data.images.preprocessing import MOST_PIXELS
from clouds.errors import InputError
from clouds.runtime import startup
from clouds.schema import DTYPES, MOST_BANDS, RGB, Bands
from clouds.text import counted

_PALETTE = 3
"""Colour type of a PNG."""

# `warnings.catch_warnings` is not for several threads at once.
_opening = threading.Lock()


def load(path: str, bands: Bands | None = None) -> np.ndarray:
    """Reads an image file with its own bands.

    Args:
      path: path from `image_files.find`.
      bands: bands that it must have; None for any.

    Returns:
      uint8, uint16 or float32 [H, W, K], upright.

    Raises:
      InputError: the file cannot be read or is refused, or has other bands; the message
        names it.
    """
    try:
        pixels = decode(image_bytes.load(path))
    except image_bytes.UNREADABLE as error:
        raise image_bytes.unreadable(path, error) from error
    if bands:
        check_bands(path, bands, pixels.shape[2], pixels.dtype.name)
    return pixels


def check_bands(path: str, bands: Bands, count: int, dtype: str) -> None:
    """Refuses a file with other bands.

    Args:
      path: path of the file.
      bands: bands that it must have.
      count: number of its bands.
      dtype: type of their values.

    Raises:
      InputError: they differ.
    """
    if (count, dtype) != (len(bands.names), bands.dtype):
        raise InputError(
            f"{path} has {counted(count, 'band')} of {dtype}, and must have {bands}. "
            "Convert it, or leave it out."
        )


def choose(path: str, kind: str, names: tuple[str, ...] | None = None) -> Bands:
    """Chooses the bands of images, and says what they are, or lose.

    Args:
      path: path of the first image.
      kind: `rgb` or `native`.
      names: names of native bands.

    Raises:
      InputError: as for `bands_of`.
    """
    if kind == "native":
        bands = bands_of(path, names)
        print(f"Images of {bands}, kept as they are.", flush=True)
        return bands
    if is_deep(path):
        print(
            f"make_tfrecords: warning: {path} has more than 8 bits per value, and "
            "becomes 8-bit RGB. --bands native keeps bands and values as they are.",
            file=sys.stderr,
        )
    return RGB


def bands_of(path: str, names: tuple[str, ...] | None = None) -> Bands:
    """Returns the bands of an image file.

    Args:
      path: path from `image_files.find`.
      names: names of the bands; None for band1, band2 and so on.

    Raises:
      InputError: as for `load`, or there are not as many names as bands.
    """
    image = load(path)
    count = image.shape[2]
    bands = Bands.numbered(count, image.dtype.name)
    bands = bands._replace(names=names or bands.names)
    if len(bands.names) != count:
        raise InputError(
            f"--band-names must be the names of the {counted(count, 'band')} of {path}."
            f" Received: {', '.join(bands.names)}."
        )
    if bands == RGB:
        raise InputError(
            f"{path} has 8-bit red, green and blue, as all records without --bands and "
            "--band-names. Leave both out, or give other names."
        )
    return bands


def is_deep(path: str) -> bool:
    """Returns whether an image file has more than 8 bits per value."""
    try:
        header = image_headers.read(image_bytes.load(path))
    except image_bytes.UNREADABLE:
        return False
    return header is not None and header.bits > 8


def decode(contents: bytes) -> np.ndarray:
    """Decodes a PNG or TIFF with its own bands.

    Args:
      contents: bytes of the file.

    Returns:
      uint8, uint16 or float32 [H, W, K], upright.

    Raises:
      InputError: the file is refused; the message does not name it.
    """
    header = image_headers.read(contents)
    kind = header.kind if header else "file of another kind"
    if kind == "png":
        pixels = _decode_png(contents, header)
    elif kind == "tiff":
        pixels = _decode_tiff(contents)
    else:
        raise InputError(
            f"it is a {kind.upper() if header else kind}; images of other bands than "
            "RGB must be PNG or TIFF"
        )
    return formats.turn(pixels, header.orientation)


def _decode_png(contents: bytes, header: image_headers.Header) -> np.ndarray:
    has_palette = contents[25] == _PALETTE
    if header.bits < 8 or has_palette or not header.decodable:
        what = "a palette" if has_palette else f"{header.bits} bits per value"
        what = what if header.decodable else "a transparent colour"
        raise InputError(f"it is a PNG with {what}; save bands of 8 or 16 bits")
    _check_pixels(*header.size)
    try:
        return tf.io.decode_png(contents, 0, f"uint{header.bits}").numpy()
    except tf.errors.InvalidArgumentError as error:
        raise InputError("it is a damaged PNG") from error


def _decode_tiff(contents: bytes) -> np.ndarray:
    rasterio = _load_rasterio()
    try:
        with rasterio.MemoryFile(contents) as memory, _opened(memory, rasterio) as file:
            _check_tiff(file)
            _check_pixels(file.height, file.width)
            return read_window(file)
    except rasterio.errors.RasterioError as error:
        raise InputError(
            "it is a damaged TIFF, or of an unsupported variant"
        ) from error


def read_window(file, window=None) -> np.ndarray:
    """Reads the values of an open TIFF, and refuses missing ones.

    Args:
      file: dataset of rasterio.
      window: window of rasterio; None for the whole image.

    Returns:
      [H, W, K] of its bands, as stored: not turned.

    Raises:
      InputError: values are missing, NaN or infinite; the message does not name it.
    """
    pixels = file.read(window=window)
    if missing := _missing(file, pixels, window):
        raise InputError(
            f"{missing} of its {pixels.size} values are missing, by its nodata value "
            "or its mask; fill them, best with 0 in all bands"
        )
    _check_finite(pixels)
    return np.moveaxis(pixels, 0, -1)


def _check_finite(pixels: np.ndarray) -> None:
    if pixels.dtype == np.float32 and (missing := (~np.isfinite(pixels)).sum()):
        raise InputError(
            f"{missing} of its {pixels.size} values are NaN or infinite; fill them"
        )


def _load_rasterio():
    if importlib.util.find_spec("rasterio") is None:
        raise InputError(
            "rasterio is not installed, which TIFFs need with --bands native; run "
            "bin/setup geo, or pip install rasterio"
        )
    startup.load("rasterio.io")
    return startup.load("rasterio")


def _opened(memory, rasterio):
    with _opening, warnings.catch_warnings():
        # Most images are not on a map.
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return memory.open(driver="GTiff")


def _check_tiff(file) -> None:
    dtypes = sorted(set(file.dtypes))
    if file.subdatasets:
        raise InputError(f"it has {len(file.subdatasets)} pages; save one of them")
    if file.count > MOST_BANDS:
        raise InputError(f"it has {file.count} bands; save {MOST_BANDS} at most")
    if dtypes[1:] or dtypes[0] not in DTYPES:
        raise InputError(
            f"its values are {', '.join(dtypes)}; save them as uint8, uint16 or float32"
        )


def _missing(file, pixels: np.ndarray, window) -> int:
    """Counts missing values, apart from 0."""
    flags = startup.load("rasterio.enums").MaskFlags
    masked = [
        flags.nodata in each or (flags.per_dataset in each and flags.alpha not in each)
        for each in file.mask_flag_enums
    ]
    if not any(masked):
        return 0
    return int(((file.read_masks(window=window) == 0) & (pixels != 0)).sum())


def _check_pixels(height: int, width: int) -> None:
    if height * width > MOST_PIXELS:
        raise InputError(
            f"it has {width} x {height} pixels; the maximum is {MOST_PIXELS:,}"
        )
