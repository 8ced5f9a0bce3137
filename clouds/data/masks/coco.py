"""COCO annotations: polygons and both kinds of run-length codes.

A mask has the pixels whose centres are inside its polygons (even-odd), or those of its
runs. Both kinds of runs are column-major; compressed ones are text, as pycocotools
writes them.
"""

import json
import posixpath
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from clouds.errors import InputError
from clouds.runtime import archives


class Annotations(NamedTuple):
    """A file of annotations.

    Attributes:
      path: the file.
      labels: names of the categories, in the order of the file.
      sizes: height and width of each image, by name.
      masks: image, label and segmentation of each annotation, in order.
    """

    path: str
    labels: list[str]
    sizes: dict[str, tuple[int, int]]
    masks: list[tuple[str, str, object]]

    @property
    def images(self) -> list[str]:
        """Names of the images."""
        return list(self.sizes)

    def draw(self) -> Iterator[tuple[str, str, np.ndarray, str]]:
        """Yields image, label, mask bool[H, W] and place of each annotation.

        Raises:
          InputError: a segmentation is malformed or exceeds its image.
        """
        for number, (image, label, segmentation) in enumerate(self.masks, 1):
            where = f"{self.path}, annotation {number} ({label} in {image})"
            yield image, label, _mask(segmentation, self.sizes[image], where), where


def read(path: str) -> Annotations:
    """Reads COCO annotations, plain or compressed.

    Raises:
      InputError: the file is missing or is not such annotations.
    """
    content = archives.decompress(archives.read(path, "The annotations"), path)
    try:
        fields = json.loads(content)
        categories = {each["id"]: str(each["name"]) for each in fields["categories"]}
        images = {
            each["id"]: (posixpath.basename(each["file_name"]), each)
            for each in fields["images"]
        }
        sizes = {
            name: (int(each["height"]), int(each["width"]))
            for name, each in images.values()
        }
        masks = [
            (
                images[each["image_id"]][0],
                categories[each["category_id"]],
                each["segmentation"],
            )
            for each in fields["annotations"]
        ]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path} must be COCO annotations, JSON with images, categories and "
            f"annotations with a segmentation. Wrong: {error!r}. Correct it."
        ) from error
    if len(sizes) != len(images):
        raise InputError(f"{path}: two images have the same file_name. Rename one.")
    return Annotations(path, list(categories.values()), sizes, masks)


def _mask(segmentation, size: tuple[int, int], where: str) -> np.ndarray:
    height, width = size
    try:
        if isinstance(segmentation, dict):
            counts = segmentation["counts"]
            counts = decompress(counts) if isinstance(counts, str) else counts
            lengths = np.array(counts, np.int64)
            if tuple(segmentation["size"]) != size:
                raise ValueError(f"a size of {segmentation['size']}, in {size}")
            if (lengths < 0).any() or lengths.sum() != height * width:
                raise ValueError(f"counts of {lengths.sum()} pixels, in {size}")
            pixels = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
            return pixels.reshape(width, height).T
        mask = np.zeros(size, bool)
        for numbers in segmentation:
            polygon = np.array(numbers, np.float64).reshape(-1, 2)
            beyond = (polygon < -1) | (polygon > np.array([width, height]) + 1)
            if len(polygon) < 3 or beyond.any() or not np.isfinite(polygon).all():
                raise ValueError("a polygon beyond the image or of less than 3 points")
            mask |= fill(polygon, size)
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"{where}: the segmentation must be polygons or run-length codes within "
            f"the image. Received: {error}. Correct or remove it."
        ) from error
    return mask


def fill(polygon: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Fills a polygon: the pixels whose centres are inside, by the even-odd rule.

    Args:
      polygon: float64[N, 2], x and y of its corners; pixel (0, 0) covers 0 to 1.
      size: height and width of the mask.

    Returns:
      bool[H, W].
    """
    height, width = size
    x0, y0 = polygon.T
    x1, y1 = np.roll(polygon, -1, axis=0).T
    rows = np.arange(height) + 0.5
    crosses = (y0 <= rows[:, None]) != (y1 <= rows[:, None])
    row, edge = np.nonzero(crosses)
    share = (rows[row] - y0[edge]) / (y1[edge] - y0[edge])
    x = x0[edge] + share * (x1[edge] - x0[edge])
    # The first pixel whose centre is to the right of the crossing.
    column = np.clip(np.floor(x + 0.5), 0, width).astype(np.int64)
    toggles = np.zeros((height, width + 1), np.int64)
    np.add.at(toggles, (row, column), 1)
    return np.cumsum(toggles, axis=1)[:, :width] % 2 == 1


def decompress(text: str) -> list[int]:
    """Decodes compressed counts.

    Numbers are written in groups of five bits, lowest first, with a bit that says
    whether more follow; from the third on, as differences to the one before last.
    """
    counts, number, shift = [], 0, 0
    for letter in text.encode():
        bits = letter - 48
        if not 0 <= bits < 64:
            raise ValueError(f"a count with '{chr(letter)}'")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        if len(counts) > 2:
            number += counts[-2]
        counts.append(number)
        number = shift = 0
    return counts
