"""Finds and reads image files in folders, zips, glob patterns and lists.

Folders are local or remote (`gs://…`). A zip is read in place; a folder inside it may
follow: `clouds.zip/train_images`. A glob pattern has `*`, `?` or `[…]`, and `**` for
subfolders. A list is a .txt file with one path per line, relative to its own folder.
"""

import functools
import glob
import posixpath
import re
import zipfile
from collections.abc import Iterable, Mapping

import cv2
import numpy as np
import tensorflow as tf

from clouds.config.fields import IMAGES
from clouds.errors import InputError

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

_TIFF = (b"II*\0", b"MM\0*")
_TENSORFLOW_NOISE = re.compile(r"^{{.*?}} | \[Op:.*")
_READ_IN_PYTHON = r"(?i).*(\.zip/.*|\.tiff?)"


def find(source: str, kinds: str = IMAGES) -> dict[str, str]:
    """Lists the images of a folder, zip, glob pattern or list, or a single image.

    Args:
      source: path or pattern.
      kinds: description of valid sources, for the error.

    Returns:
      A mapping from file names to paths for `read`, sorted by name; for a list in its
      order, and without a check whether the files exist.

    Raises:
      InputError: the source does not exist, has no image, or two with the same name.
    """
    archive, inside = _split(source)
    if archive:
        paths = _find_in_zip(archive, inside)
    elif tf.io.gfile.isdir(source):
        paths = {name: f"{source}/{name}" for name in tf.io.gfile.listdir(source)}
    elif source.lower().endswith(".txt") and tf.io.gfile.exists(source):
        return _by_name(_read_list(source), source)
    elif _is_image(source) and tf.io.gfile.exists(source):
        return _by_name([source], source)
    elif glob.has_magic(source):
        paths = _by_name(filter(_is_image, sorted(_glob(source))), source)
    else:
        raise InputError(
            f"--images must be {kinds}. Received: '{source}', which is none of these. "
            "Check the path."
        )
    paths = {name: paths[name] for name in sorted(paths) if _is_image(name)}
    if not paths:
        raise _no_images(source)
    return paths


def read(path: tf.Tensor) -> tf.Tensor:
    """Reads an image file, eagerly or in a graph.

    Args:
      path: string[], a path from `find`.

    Returns:
      string[], the bytes of the file. A TIFF, which TensorFlow does not decode, is
      converted to PNG.
    """
    return tf.cond(
        tf.strings.regex_full_match(path, _READ_IN_PYTHON),
        lambda: tf.py_function(_read, [path], tf.string),
        lambda: tf.io.read_file(path),
    )


def undecodable(path: str) -> InputError:
    """Returns the error for a file that cannot be read or decoded."""
    try:
        length = tf.strings.length(read(tf.constant(path)))
    except tf.errors.OpError as error:
        reason = _TENSORFLOW_NOISE.sub("", error.message.strip().splitlines()[0])
        return InputError(
            f"{path} cannot be read ({reason}). Check the file, or leave it out."
        )
    return InputError(
        f"{path} ({length} bytes) cannot be decoded: it is not a complete JPEG, PNG, "
        "BMP, WebP, GIF or TIFF. Replace the file, or leave it out."
    )


def pick(paths: Mapping[str, str], names: list[str], csv: str, source: str) -> list:
    """Picks images by name.

    Args:
      paths: mapping from `find`.
      names: names of the images.
      csv: file with the names, for the error.
      source: folder of the images, for the error.

    Returns:
      The paths, in the order of the names.

    Raises:
      InputError: an image is missing.
    """
    missing = [name for name in names if name not in paths]
    if missing:
        stems = {name.rpartition(".")[0]: name for name in paths}
        advice = "Check --images, or remove them from the csv."
        if missing[0] in stems:
            advice = (
                f"There is {stems[missing[0]]}: write the names with their suffixes in "
                "the csv."
            )
        raise InputError(
            f"{len(missing)} of {len(names)} images in {csv} are missing in {source}, "
            f"first {missing[0]}. {advice}"
        )
    return [paths[name] for name in names]


def _split(source: str) -> tuple[str, str]:
    """Splits 'a.zip/b' into 'a.zip' and 'b'; without a zip the first is empty."""
    head, suffix, tail = source.partition(".zip")
    archive = head + suffix
    if not suffix or tail[:1] not in ("", "/") or tf.io.gfile.isdir(archive):
        return "", source
    return archive, tail.strip("/")


def _no_images(source: str) -> InputError:
    return InputError(
        f"--images: '{source}' holds no images ({', '.join(SUFFIXES)}). Check the path."
    )


def _read_list(path: str) -> list[str]:
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            lines = file.read().decode("utf-8-sig").splitlines()
    except (UnicodeDecodeError, tf.errors.OpError) as error:
        raise InputError(
            f"--images: '{path}' is not a list in UTF-8 text "
            f"({str(error).splitlines()[0]}). Check the file."
        ) from error
    paths = [line.strip() for line in lines if line.strip()]
    if not paths:
        raise _no_images(path)
    folder = posixpath.dirname(path)
    return [p if "://" in p else posixpath.join(folder, p) for p in paths]


def _glob(pattern: str) -> list[str]:
    if "://" not in pattern:
        return glob.glob(pattern, recursive=True)  # noqa: PTH207
    head, any_depth, tail = pattern.partition("/**/")
    if not any_depth:
        return tf.io.gfile.glob(pattern)
    folders = [folder.rstrip("/") for folder, _, _ in tf.io.gfile.walk(head)]
    return [path for folder in folders for path in tf.io.gfile.glob(f"{folder}/{tail}")]


def _by_name(paths: Iterable[str], source: str) -> dict[str, str]:
    by_name = {}
    for path in paths:
        name = posixpath.basename(path)
        if name in by_name:
            raise InputError(
                f"--images: '{source}' has two images named {name}: {by_name[name]} "
                f"and {path}. Process them separately."
            )
        by_name[name] = path
    return by_name


def _find_in_zip(archive: str, inside: str) -> dict[str, str]:
    prefix = f"{inside}/" if inside else ""
    paths = {}
    for entry in _open(archive).namelist():
        name = posixpath.basename(entry)
        if not entry.startswith(prefix) or not _is_image(name):
            continue
        if name in paths:
            raise InputError(
                f"--images: {archive} has two images named {name}. Give a folder "
                f"inside it, as in {archive}/{posixpath.dirname(entry)}."
            )
        paths[name] = f"{archive}/{entry}"
    return paths


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


@functools.lru_cache(maxsize=4)
def _open(archive: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(tf.io.gfile.GFile(archive, "rb"))
    except (zipfile.BadZipFile, tf.errors.OpError) as error:
        raise InputError(
            f"--images: '{archive}' is not a readable zip "
            f"({str(error).splitlines()[0]}). Check the file."
        ) from error


def _read(path: tf.Tensor) -> bytes:
    archive, inside = _split(path.numpy().decode())
    file = _open(archive).open(inside) if archive else tf.io.gfile.GFile(inside, "rb")
    with file:
        contents = file.read()
    return _as_png(contents) if contents.startswith(_TIFF) else contents


def _as_png(contents: bytes) -> bytes:
    image = cv2.imdecode(np.frombuffer(contents, np.uint8), cv2.IMREAD_COLOR)
    # No bytes: the decoder then reports that they are no image.
    return b"" if image is None else cv2.imencode(".png", image)[1].tobytes()
