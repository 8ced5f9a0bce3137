"""Reads the headers of image files, without decoding the images.

Sizes, bits, alpha and orientation of JPEG, PNG, BMP, WebP, GIF and TIFF. Exif data are
a small TIFF, so one parser reads the orientation in all formats.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

_PNG = b"\x89PNG\r\n\x1a\n"
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_ORIENTATION, _SUBFILE, _BITS, _PHOTOMETRIC = 274, 254, 258, 262
_SAMPLES, _PLANES, _EXTRA, _FORMAT = 277, 284, 338, 339
_FORMATS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_UNASSOCIATED = 2
_MOST_VALUES = 16
_MOST_PAGES = 1000
_OR_NATIVE = ", or make records with --bands native, and train on these"


class Header(NamedTuple):
    """Header of an image file.

    Attributes:
      kind: jpeg, png, bmp, webp, gif or tiff.
      size: height and width, as stored.
      bits: bits per sample.
      orientation: orientation tag, 1 to 8; 1 without one.
      alpha: whether it has an alpha that colours are not multiplied by yet.
      decodable: whether TensorFlow decodes it rightly, apart from the orientation.
      by_pillow: whether OpenCV decodes it wrongly, but Pillow does not.
      inverted: whether 0 is white.
      fault: the reason why it is refused, if any.
      patches: places of tags that decoders should not follow, and values for them.
    """

    kind: str
    size: tuple[int, int]
    bits: int = 8
    orientation: int = 1
    alpha: bool = False
    decodable: bool = False
    by_pillow: bool = False
    inverted: bool = False
    fault: str = ""
    patches: tuple[tuple[int, bytes], ...] = ()


def read(contents: bytes) -> Header | None:
    """Reads the header of an image file; None if it is of no known kind, or damaged."""
    readers = {
        _jpeg: (b"\xff\xd8\xff",),
        _png: (_PNG,),
        _bmp: (b"BM",),
        _webp: (b"RIFF",),
        _gif: (b"GIF8",),
        _tiff: _TIFF,
    }
    for reader, starts in readers.items():
        if contents.startswith(starts):
            try:
                return reader(contents)
            except (struct.error, IndexError, KeyError):
                return None
    return None


def neutral(contents: bytes, header: Header) -> bytes:
    """Returns the file with tags changed, so that OpenCV gives pixels as stored."""
    changed = bytearray(contents)
    for place, value in header.patches:
        changed[place : place + len(value)] = value
    return bytes(changed)


def _jpeg(data: bytes) -> Header | None:
    place, orientation = 2, 1
    while (place := data.find(b"\xff", place)) >= 0:
        marker = data[place + 1]
        if marker in (0x00, 0x01, 0xFF) or 0xD0 <= marker <= 0xD8:
            place += 1
            continue
        (length,) = struct.unpack_from(">H", data, place + 2)
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            bits, height, width = struct.unpack_from(">BHH", data, place + 4)
            fault = "" if bits == 8 else f"it is a JPEG of {bits} bits per sample"
            return Header(
                "jpeg",
                (height, width),
                orientation=orientation,
                decodable=True,
                fault=fault,
            )
        if marker == 0xE1 and data[place + 4 : place + 10] == b"Exif\0\0":
            orientation = _exif(data[place + 10 : place + 2 + length])
        if marker == 0xD9:
            break
        place += 2 + length
    return None


def _png(data: bytes) -> Header:
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    orientation, keyed, place = 1, False, 8
    while place + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, place)
        if name == b"eXIf":
            orientation = _exif(data[place + 8 : place + 8 + length])
        # TensorFlow follows the alpha of palettes, but not single transparent colours.
        keyed |= name == b"tRNS" and colour in (0, 2)
        place += 12 + length
    return Header(
        "png",
        (height, width),
        bits,
        orientation,
        alpha=keyed or colour in (3, 4, 6),
        decodable=not keyed,
        by_pillow=keyed and bits <= 8,
    )


def _bmp(data: bytes) -> Header:
    (length,) = struct.unpack_from("<I", data, 14)
    if length == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        return Header("bmp", (height, width))
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, 18)
    has_mask = length >= 56 and bits == 32 and compression in (3, 6)
    (mask,) = struct.unpack_from("<I", data, 66) if has_mask else (0,)
    return Header(
        "bmp",
        (abs(height), abs(width)),
        alpha=mask != 0,
        decodable=length >= 40 and bits == 24 and compression == 0,
        # OpenCV gives 248 for the brightest of 5 bits.
        by_pillow=bits == 16,
    )


def _webp(data: bytes) -> Header | None:
    if data[8:12] != b"WEBP":
        return None
    orientation, alpha, size, place = 1, False, None, 12
    while place + 8 <= len(data):
        name, length = struct.unpack_from("<4sI", data, place)
        start = place + 8
        if name == b"VP8X":
            alpha |= bool(data[start] & 0x10)
            sides = (data[start + k : start + k + 3] for k in (7, 4))
            size = tuple(int.from_bytes(side, "little") + 1 for side in sides)
        elif name == b"VP8 ":
            width, height = struct.unpack_from("<HH", data, start + 6)
            size = size or (height & 0x3FFF, width & 0x3FFF)
        elif name == b"VP8L":
            (packed,) = struct.unpack_from("<I", data, start + 1)
            alpha |= bool(packed >> 28 & 1)
            size = size or ((packed >> 14 & 0x3FFF) + 1, (packed & 0x3FFF) + 1)
        elif name == b"EXIF":
            exif = data[start : start + length]
            orientation = _exif(exif.removeprefix(b"Exif\0\0"))
        place = start + length + length % 2
    return size and Header("webp", size, orientation=orientation, alpha=alpha)


def _gif(data: bytes) -> Header:
    width, height = struct.unpack_from("<HH", data, 6)
    return Header("gif", (height, width), alpha=True, by_pillow=True)


def _tiff(data: bytes) -> Header | None:
    pages = [page for page in _directories(data) if not _value(page, _SUBFILE, 0) & 5]
    if not pages:
        return None
    first = pages[0]
    size = _value(first, 257, 0), _value(first, 256, 0)
    samples, bits = _value(first, _SAMPLES, 1), _value(first, _BITS, 1)
    kind = _value(first, _FORMAT, 1)
    alpha = _value(first, _EXTRA, 0) == _UNASSOCIATED
    orientation = _value(first, _ORIENTATION, 1)
    fault = ""
    if len(pages) > 1:
        fault = f"it has {len(pages)} pages; save one of them"
    elif samples > 4:
        fault = f"it has {samples} bands of {size[1]} x {size[0]}; save three (RGB)"
        fault += _OR_NATIVE
    elif kind not in (1, 4) or bits not in (1, 2, 4, 8, 16):
        name = {2: "signed", 3: "float"}.get(kind, "unsigned")
        fault = (
            f"its samples are {name}, of {bits} bits; convert them to 8 bits (0-255)"
            + _OR_NATIVE
        )
    elif bits == 16 and (samples == 2 or _value(first, _PLANES, 1) == 2):
        fault = "its bands of 16 bits are stored separately; convert them to 8 bits"
        fault += _OR_NATIVE
    order = "little" if data[:2] == b"II" else "big"
    # OpenCV would turn some kinds only, and multiply the colours by the alpha.
    ones = [
        tag
        for tag, is_set in ((_ORIENTATION, True), (_EXTRA, alpha and samples == 4))
        if is_set
    ]
    patches = tuple(
        (first[tag][1], (1).to_bytes(2, order)) for tag in ones if tag in first
    )
    return Header(
        "tiff",
        size,
        bits,
        orientation if 1 <= orientation <= 8 else 1,
        alpha,
        by_pillow=samples == 2,
        inverted=_value(first, _PHOTOMETRIC, 1) == 0,
        fault=fault,
        patches=patches,
    )


def _exif(data: bytes) -> int:
    """Returns the orientation of Exif data, 1 to 8; 1 without a valid one."""
    try:
        tags = next(_directories(data), {})
    except struct.error:
        return 1
    orientation = _value(tags, _ORIENTATION, 1)
    return orientation if 1 <= orientation <= 8 else 1


def _value(tags: dict, tag: int, default: int) -> int:
    return tags[tag][0] if tag in tags else default


def _directories(data: bytes) -> Iterator[dict[int, tuple[int, int]]]:
    """Yields the first value and its place of each tag, for each page of a TIFF."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = data[2:4] in (b"+\0", b"\0+")
    count, pointer, entry, space = ("Q", "Q", 20, 8) if is_big else ("H", "I", 12, 4)
    (offset,) = struct.unpack_from(order + pointer, data, space)
    seen = set()
    while offset and offset not in seen and len(seen) < _MOST_PAGES:
        seen.add(offset)
        (number,) = struct.unpack_from(order + count, data, offset)
        offset += struct.calcsize(count)
        tags = {}
        for _ in range(min(number, 4096)):
            tag, kind, length = struct.unpack_from(f"{order}HH{pointer}", data, offset)
            place = offset + entry - space
            offset += entry
            if kind not in _FORMATS or not length:
                continue
            if length * struct.calcsize(_FORMATS[kind]) > space:
                if length > _MOST_VALUES:
                    continue
                (place,) = struct.unpack_from(order + pointer, data, place)
            (value,) = struct.unpack_from(order + _FORMATS[kind], data, place)
            tags[tag] = value, place
        yield tags
        (offset,) = struct.unpack_from(order + pointer, data, offset)
