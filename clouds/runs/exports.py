"""Exported models: the folder of a version, local or remote, and what it holds."""

from dataclasses import dataclass

import tensorflow as tf

from clouds.config.checks import check_labels
from clouds.errors import InputError
from clouds.runtime import checksums, files
from clouds.schema import CLOUDS, RGB, Bands, MaskSpec

GRAPH = "saved_model.pb"

_MASKS, _SPEC = "assets.extra/masks.json", {"labels": [str], "grid": [int]}
_BANDS, _NAMES = "assets.extra/bands.json", {"names": [str], "dtype": str}


@dataclass(frozen=True)
class Exported:
    """A loaded version.

    Attributes:
      model: the SavedModel, with its `signatures`.
      spec: labels and grid of its masks.
      bands: bands of the images.
    """

    model: object
    spec: MaskSpec
    bands: Bands = RGB


def highest(folder: str) -> str:
    """Returns the folder of a model's highest version, or the folder if it is one.

    Args:
      folder: folder of `bin/export --out`, or of one version in it.

    Raises:
      InputError: the folder has no version.
    """
    if tf.io.gfile.exists(f"{folder}/{GRAPH}"):
        return folder
    names = tf.io.gfile.listdir(folder) if tf.io.gfile.isdir(folder) else ()
    numbers = [name.rstrip("/") for name in names if name.rstrip("/").isdecimal()]
    if not numbers:
        raise InputError(
            f"'{folder}' has no version of a model. Give the folder of bin/export "
            "--out."
        )
    return f"{folder}/{max(numbers, key=int)}"


def load(folder: str) -> Exported:
    """Loads a version after comparing its files with their checksums.

    Args:
      folder: folder of the version.

    Raises:
      ValueError: a file is missing or damaged.
      InputError: its labels cannot be used.
    """
    checksums.check_list(folder)
    return Exported(tf.saved_model.load(folder), spec(folder), bands(folder))


def spec(folder: str) -> MaskSpec:
    """Reads labels and grid of the masks; exports of earlier versions have CLOUDS.

    Args:
      folder: folder of the version.

    Raises:
      ValueError: the file is damaged.
      InputError: a label cannot be used.
    """
    path = f"{folder}/{_MASKS}"
    if not tf.io.gfile.exists(path):
        return CLOUDS
    fields = checksums.read_json(path, _SPEC)
    return MaskSpec(check_labels(fields["labels"], path), tuple(fields["grid"]))


def bands(folder: str) -> Bands:
    """Reads the bands of the images; exports without the file have RGB.

    Args:
      folder: folder of the version.

    Raises:
      ValueError: the file is damaged.
    """
    path = f"{folder}/{_BANDS}"
    if not tf.io.gfile.exists(path):
        return RGB
    fields = checksums.read_json(path, _NAMES)
    return Bands(tuple(fields["names"]), fields["dtype"])


def checksum(folder: str) -> str:
    """Returns the SHA-256 of a version's list of checksums, or else of its graph."""
    path = f"{folder}/{checksums.LIST.as_posix()}"
    return files.checksum(path if files.exists(path) else f"{folder}/{GRAPH}")
