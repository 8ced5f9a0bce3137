"""A folder of PNG masks, `<image>_<label>.png`, as `bin/predict --masks` writes them.

The image may be named with or without its suffix: a_ship.png and a.jpg_ship.png are
masks of a.jpg. Pixels are 0 or one other value; an image without a file for a label
has no such mask.

`<image>.png` has all masks of an image, if the labels are given: a palette or grey PNG,
in which the value k stands for the k-th label, and 0 for none.
"""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from clouds.errors import InputError
from clouds.runtime import files

_BITS = 24
"""Place of the bits per value in a PNG."""


class Masks(NamedTuple):
    """A folder of masks.

    Attributes:
      path: the folder.
      labels: names of the labels, sorted.
      images: names of the images that have a mask, in their order.
      files: path, image and label of each mask; None for all labels in one file.
    """

    path: str
    labels: list[str]
    images: list[str]
    files: list[tuple[str, str, str | None]]

    def draw(self) -> Iterator[tuple[str, str, np.ndarray, str]]:
        """Yields image, label, mask bool[H, W] and path of each file.

        Raises:
          InputError: a file is no PNG of two values, or of values of the labels.
        """
        for path, image, label in self.files:
            if label is not None:
                yield image, label, _read(path), path
                continue
            values = _read_values(path, self.labels)
            for value in np.unique(values[values > 0]).tolist():
                yield image, self.labels[value - 1], values == value, path


def find(
    folder: str,
    names: list[str],
    images: Iterable[str],
    labels: Sequence[str] | None = None,
) -> Masks:
    """Matches the files of a folder with images.

    Args:
      folder: the folder.
      names: names of its files.
      images: names of the images.
      labels: names of the labels; None to take them from the names of the files.

    Raises:
      InputError: there are no masks, or one belongs to no image, or has several labels
        whose names are not given.
    """
    images = list(images)
    owners = {name.rpartition(".")[0]: name for name in images}
    owners |= {name: name for name in images}
    found, strays = [], []
    for name in sorted(name for name in names if name.lower().endswith(".png")):
        image, label = _owner(name[:-4], owners, labels)
        if image is None:
            strays.append(name)
        else:
            found.append((f"{folder}/{name}", image, label))
    several = [path for path, _, label in found if label is None]
    if several and labels is None:
        raise InputError(
            f"{several[0]} must be named <image>_<label>.png, or have all masks of its "
            "image: then name the labels of its values 1, 2, … with --labels."
        )
    if strays or not found:
        raise InputError(
            f"{folder} must hold masks named <image>_<label>.png, or <image>.png. "
            "Received: "
            f"{len(strays)} files that belong to no image"
            f"{f', first {strays[0]}' if strays else ''}. Rename or remove them."
        )
    masked = {image for _, image, _ in found}
    return Masks(
        folder,
        list(labels) if labels else sorted({label for *_, label in found}),
        [image for image in images if image in masked],
        found,
    )


def _owner(
    stem: str, owners: Mapping[str, str], labels: Sequence[str] | None
) -> tuple[str | None, str | None]:
    """Returns the image and the label of a mask by its name; no label for all."""
    places = [k for k, letter in enumerate(stem) if letter == "_"]
    for place in reversed(places):
        image, label = owners.get(stem[:place]), stem[place + 1 :]
        # An image may be called like a mask of another one.
        is_image = labels is not None and stem in owners and label not in labels
        if image is not None and not is_image:
            return image, label
    return owners.get(stem), None


def _read_values(path: str, labels: Sequence[str]) -> np.ndarray:
    """Reads a PNG of all labels, uint8 or uint16 [H, W]."""
    contents = files.read(path)
    try:
        with Image.open(io.BytesIO(contents)) as image:
            mode, values = image.mode, np.asarray(image)
    # Its decoders raise many kinds at damaged files.
    except Exception as error:
        raise InputError(f"{path} is not a complete PNG. Replace it.") from error
    if values.ndim != 2:
        raise InputError(
            f"{path} must be a palette or grey PNG, in which k stands for the k-th "
            f"label. Received: {mode}. Convert it, or write one file per label."
        )
    if mode == "L" and (bits := contents[_BITS]) < 8:
        # Pillow spreads grey values of few bits over 0 to 255.
        values = values // (255 // (2**bits - 1))
    values = values.astype(np.uint16)
    if (highest := int(values.max())) > len(labels):
        raise InputError(
            f"{path} has the value {highest}, and there are {len(labels)} labels, "
            f"{', '.join(labels)}. Name the labels of all values with --labels, or set "
            "such pixels to 0."
        )
    return values


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
