"""A folder of PNG masks, `<image>_<label>.png`, as `bin/predict --masks` writes them.

The image may be named with or without its suffix: a_ship.png and a.jpg_ship.png are
masks of a.jpg. Pixels are 0 or one other value; an image without a file for a label
has no such mask.
"""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import cv2
import numpy as np

from clouds.errors import InputError
from clouds.runtime import files


class Masks(NamedTuple):
    """A folder of masks.

    Attributes:
      path: the folder.
      labels: names of the labels, sorted.
      images: names of the images that have a mask, in their order.
      files: path, image and label of each mask.
    """

    path: str
    labels: list[str]
    images: list[str]
    files: list[tuple[str, str, str]]

    def draw(self) -> Iterator[tuple[str, str, np.ndarray, str]]:
        """Yields image, label, mask bool[H, W] and path of each file.

        Raises:
          InputError: a file is no PNG of two values.
        """
        for path, image, label in self.files:
            yield image, label, _read(path), path


def find(folder: str, names: list[str], images: Iterable[str]) -> Masks:
    """Matches the files of a folder with images.

    Args:
      folder: the folder.
      names: names of its files.
      images: names of the images.

    Raises:
      InputError: there are no masks, or one belongs to no image.
    """
    images = list(images)
    owners = {name.rpartition(".")[0]: name for name in images}
    owners |= {name: name for name in images}
    found, strays = [], []
    for name in sorted(name for name in names if name.lower().endswith(".png")):
        stem = name[:-4]
        places = [k for k, letter in enumerate(stem) if letter == "_"]
        place = next((k for k in reversed(places) if stem[:k] in owners), None)
        if place is None:
            strays.append(name)
        else:
            found.append((f"{folder}/{name}", owners[stem[:place]], stem[place + 1 :]))
    if strays or not found:
        raise InputError(
            f"{folder} must hold masks named <image>_<label>.png. Received: "
            f"{len(strays)} files that belong to no image"
            f"{f', first {strays[0]}' if strays else ''}. Rename or remove them."
        )
    masked = {image for _, image, _ in found}
    return Masks(
        folder,
        sorted({label for *_, label in found}),
        [image for image in images if image in masked],
        found,
    )


def _read(path: str) -> np.ndarray:
    contents = np.frombuffer(files.read(path), np.uint8)
    image = cv2.imdecode(contents, cv2.IMREAD_UNCHANGED) if contents.size else None
    if image is None:
        raise InputError(f"{path} is not a complete PNG. Replace it.")
    planes = image.reshape(*image.shape[:2], -1)
    # Of four channels the last is alpha.
    colours = planes[..., :3] if planes.shape[2] == 4 else planes
    mask = colours.any(axis=-1)
    values = np.unique(colours[mask], axis=0)
    if len(values) > 1:
        raise InputError(
            f"{path}: a mask has one value besides 0. Received: {len(values)} values. "
            "Apply a threshold, and write one file per label."
        )
    return mask
