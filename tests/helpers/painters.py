"""Painted images of other labels than the competition's, with their masks.

Each label has a colour of its own, so that a tiny network finds it.
"""

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

COLOURS = np.array(
    [
        *[(230, 40, 40), (40, 220, 60), (60, 60, 240), (235, 225, 60)],
        *[(60, 225, 225), (220, 70, 220), (250, 150, 40)],
    ]
)


def paint(count: int, size: tuple[int, int], labels: int, seed: int = 0):
    """Yields images uint8[H, W, 3] and masks bool[H, W, C]; each fourth is empty."""
    random = np.random.default_rng(seed)
    height, width = size
    for number in range(count):
        image = random.normal(90, 8, (*size, 3)).clip(20, 140)
        masks = np.zeros((*size, labels), bool)
        for label in range(labels) if number % 4 != 3 else ():
            if random.random() < 0.3:
                continue
            for _ in range(random.integers(1, 3)):
                axes = random.integers(height // 8, height // 4, 2).tolist()
                centre = random.integers(0, width), random.integers(0, height)
                centre = tuple(map(int, centre))
                plane = np.zeros(size, np.uint8)
                cv2.ellipse(plane, centre, axes, 0, 0, 360, 1, -1)
                # The latest is on top.
                masks[plane > 0] = False
                masks[plane > 0, label] = True
        for label in range(labels):
            image[masks[..., label]] = COLOURS[label]
        noisy = image + random.normal(0, 4, image.shape)
        yield noisy.clip(0, 255).astype(np.uint8), masks


def paint_bands(count: int, size: tuple[int, int], labels: int, bands: int, dtype=None):
    """Yields images uint16 (or the dtype) [H, W, bands], bands >= 2, and their masks.

    The labels are on a circle around the background in the plane of the first two
    bands, so that each is apart from all others; further bands are noise. Values are
    like those of reflectances of 12 bits.
    """
    random = np.random.default_rng(1)
    angles = 2 * np.pi * np.arange(labels) / labels
    centres = 0.5 + 0.4 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    for _, masks in paint(count, size, labels):
        image = np.full((*size, bands), 0.5)
        for label in range(labels):
            image[masks[..., label], :2] = centres[label]
        image += random.normal(0, 0.02, image.shape)
        yield (100 + 3900 * image).clip(1, 4095).astype(dtype or np.uint16), masks


def runs(mask: np.ndarray, *, order: str = "F", base: int = 1) -> str:
    """Encodes a mask pixel by pixel, as its own slow twin of the encoders."""
    words, length, start = [], 0, 0
    for place, pixel in enumerate([*mask.ravel(order).tolist(), False]):
        if pixel:
            start, length = (place if not length else start), length + 1
        elif length:
            words += [start + base, length]
            length = 0
    return " ".join(map(str, words))


def decode(text: str, size: tuple[int, int]) -> np.ndarray:
    """Decodes run-length codes run by run."""
    height, width = size
    mask = np.zeros(size, bool)
    numbers = list(map(int, text.split()))
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        for place in range(start - 1, start - 1 + length):
            mask[place % height, place // height] = True
    assert width * height >= 0
    return mask


def _png_of_two(pixels: np.ndarray) -> bytes:
    """Encodes uint16[H, W, 2] as a PNG of colour type 4 (PNG 1.2, 4.1.1)."""
    height, width, _ = pixels.shape
    rows = pixels.astype(">u2").reshape(height, -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (1, 0)))
    header = struct.pack(">IIBBBBB", width, height, 16, 4, 0, 0, 0)
    chunks = {b"IHDR": header, b"IDAT": zlib.compress(rows.tobytes()), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + _crc(name + body)
        for name, body in chunks.items()
    )


def _crc(data: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(data))


def write_png(path: Path, pixels: np.ndarray) -> None:
    """Writes an image, in RGB if it has three channels."""
    if pixels.ndim == 3 and pixels.shape[2] == 2:
        # Neither OpenCV nor Pillow writes grey values of 16 bits with an alpha.
        path.write_bytes(_png_of_two(pixels))
        return
    if pixels.ndim == 3 and pixels.shape[2] == 3:
        pixels = pixels[..., ::-1]
    assert cv2.imwrite(str(path), pixels)


def write_band_sample(folder: Path, number: int) -> None:
    """Writes painted images of two 16-bit bands, 64x96, and a csv of labels a and b."""
    (folder / "train_images").mkdir()
    rows = ["Image_Label,EncodedPixels"]
    for k, (image, masks) in enumerate(paint_bands(number, (64, 96), 2, 2)):
        name = f"{k:03d}.png"
        write_png(folder / "train_images" / name, image)
        texts = (runs(masks[..., label]) for label in range(2))
        rows += [f"{name}_{a},{text}" for a, text in zip("ab", texts, strict=True)]
    (folder / "train.csv").write_text("\n".join(rows) + "\n")
