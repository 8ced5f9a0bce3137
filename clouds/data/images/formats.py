"""Converts image files that TensorFlow decodes wrongly, or not at all, to PNG.

`docs/reference/image-files.md` lists what each kind of file becomes. OpenCV decodes
here, and Pillow what OpenCV cannot. `graph_formats.decode` composites alpha on black
for all formats; `image_headers` reads sizes and tags.
"""

import io
import sys

import cv2
import numpy as np
from PIL import Image

from clouds.data.images import image_headers
from clouds.data.images.graph_formats import DARKEST_16_BIT
from clouds.data.images.image_headers import Header
from clouds.data.images.preprocessing import MOST_PIXELS
from clouds.errors import InputError

_warned: list[str] = []

cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def convert(contents: bytes, path: str) -> bytes:
    """Returns an image as a file that TensorFlow decodes rightly.

    Args:
      contents: bytes of the file.
      path: its path, for a warning.

    Returns:
      The bytes themselves for an upright JPEG, most PNGs and BMPs of 24 bits, a PNG for
      other images. Bytes that are no known image are left to the decoder.

    Raises:
      InputError: the reason why it cannot be converted, without the path.
    """
    header = image_headers.read(contents)
    if header is None:
        return contents
    height, width = header.size
    if height * width > MOST_PIXELS:
        raise InputError(
            f"it has {width} x {height} pixels; the maximum is {MOST_PIXELS:,}"
        )
    if header.fault:
        raise InputError(header.fault)
    if header.decodable and header.orientation == 1:
        if header.bits == 16:
            _check_range(_decode(contents, header), path)
        return contents
    image = _decode(contents, header)
    if image.dtype == np.uint16:
        _check_range(image, path)
        image = (image >> 8).astype(np.uint8)
    return cv2.imencode(".png", turn(image, header.orientation))[1].tobytes()


def turn(image: np.ndarray, orientation: int) -> np.ndarray:
    """Turns an image upright by its orientation tag, 1 to 8 (Exif 2.32, 4.6.4)."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    rows = -1 if orientation in (3, 4, 7, 8) else 1
    columns = -1 if orientation in (2, 3, 6, 7) else 1
    return np.ascontiguousarray(image[::rows, ::columns])


def _decode(contents: bytes, header: Header) -> np.ndarray:
    """Decodes to BGR or BGRA, uint8 or uint16, as stored: not turned."""
    contents = image_headers.neutral(contents, header)
    image = None if header.by_pillow else _decode_with_opencv(contents, header)
    if image is None and header.bits <= 8:
        image = _decode_with_pillow(contents)
    if image is None:
        kind = header.kind.upper()
        raise InputError(f"it is a damaged {kind}, or of an unsupported variant")
    if header.inverted and image.dtype == np.uint16:
        image = ~image
    if image.ndim == 3 and image.shape[2] == 4 and not header.alpha:
        image = image[..., :3]
    return image


def _decode_with_opencv(contents: bytes, header: Header) -> np.ndarray | None:
    flags = cv2.IMREAD_UNCHANGED
    if header.kind in ("tiff", "bmp") and not header.alpha and header.bits < 16:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        return cv2.imdecode(np.frombuffer(contents, np.uint8), flags)
    except cv2.error:
        return None


def _decode_with_pillow(contents: bytes) -> np.ndarray | None:
    try:
        with Image.open(io.BytesIO(contents)) as image:
            pixels = np.asarray(image.convert("RGBA"))
    # Its decoders raise many kinds at damaged files.
    except Exception:
        return None
    return cv2.cvtColor(pixels, cv2.COLOR_RGBA2BGRA)


def _check_range(image: np.ndarray, path: str) -> None:
    colours = image[..., :3] if image.ndim == 3 else image
    brightest = int(colours.max())
    if 0 < brightest < DARKEST_16_BIT and not _warned:
        _warned.append(path)
        _warn_dark(path, brightest)


def _warn_dark(path: str, brightest: int) -> None:
    print(
        f"warning: {path} has 16-bit values of {brightest} at most, of 65535, so the "
        "image is almost black. If these are reflectances or 12-bit values, convert "
        "the images to 8 bits, or make records with --bands native. Further files are "
        "not reported.",
        file=sys.stderr,
    )
