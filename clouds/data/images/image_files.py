"""Finds and reads image files in folders, zips, glob patterns and lists.

Folders are local or remote (`gs://…`). A zip is read in place; a folder inside it may
follow: `clouds.zip/train_images`. A glob pattern has `*`, `?` or `[…]`, and `**` for
subfolders. A list is a .txt file with one path per line, relative to its own folder.
"""

import collections
import glob
import os
import posixpath
import re
import unicodedata
import urllib.parse
from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf

from clouds.config.fields import IMAGES
from clouds.data.images import formats, image_bytes
from clouds.errors import InputError
from clouds.runtime import archives

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

URLS = ("http://", "https://")
"""Starts of addresses that bin/request downloads from."""


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
    archive, inside = archives.split(source)
    if archive:
        paths = _find_in_zip(archive, inside)
    elif tf.io.gfile.isdir(source):
        paths = {name: f"{source}/{name}" for name in _list(source)}
    elif source.lower().endswith(".txt") and tf.io.gfile.exists(source):
        return by_name(_read_list(source), source)
    elif _is_image(source) and tf.io.gfile.exists(source):
        return by_name([source], source)
    elif glob.has_magic(source):
        paths = by_name(filter(_is_image, sorted(_glob(source))), source)
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
      string[], the bytes of the file, converted to PNG if TensorFlow would not decode
      them rightly (see `formats.convert`).

    Raises:
      tf.errors.OpError: the file cannot be read; `undecodable` returns the reason.
    """
    contents = tf.numpy_function(_load_tensor, [path], tf.string)
    return tf.ensure_shape(contents, [])


def undecodable(path: str) -> InputError:
    """Returns the error for a file that cannot be read or decoded."""
    try:
        length = len(_load(path))
    except image_bytes.UNREADABLE as error:
        return image_bytes.unreadable(path, error)
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
        advice = "Check --images, or remove them from the csv."
        if similar := _find_similar(missing[0], paths):
            advice = f"There is '{similar}': write the names as the files have them."
        raise InputError(
            f"{len(missing)} of {len(names)} images in {csv} are missing in {source}, "
            f"first '{missing[0]}'. {advice}"
        )
    return [paths[name] for name in names]


def _find_similar(name: str, available: Iterable[str]) -> str | None:
    """Returns a name with another suffix, case, blanks or Unicode form, if any."""

    def normalized(text: str) -> str:
        text = unicodedata.normalize("NFC", text).casefold().strip()
        stem, dot, suffix = text.rpartition(".")
        return stem.strip() if dot and f".{suffix}" in SUFFIXES else text

    by_form = {normalized(other): other for other in available}
    return by_form.get(normalized(name))


def _no_images(source: str) -> InputError:
    advice = "Check the path."
    if not archives.split(source)[0] and tf.io.gfile.isdir(source):
        for name in sorted(_list(source)):
            folder = f"{source.rstrip('/')}/{name.rstrip('/')}"
            if tf.io.gfile.isdir(folder) and any(map(_is_image, _list(folder))):
                advice = f"There are some in {folder}: give this folder."
                break
    return InputError(
        f"--images: '{source}' holds no images ({', '.join(SUFFIXES)}). {advice}"
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
    paths = map(posixpath.expanduser, paths)
    return [p if "://" in p else posixpath.join(folder, p) for p in paths]


def _glob(pattern: str) -> list[str]:
    if "://" not in pattern:
        paths = glob.glob(pattern, recursive=True)  # noqa: PTH207
        return [_printable(path) for path in paths]
    head, any_depth, tail = pattern.partition("/**/")
    if not any_depth:
        return tf.io.gfile.glob(pattern)
    folders = [folder.rstrip("/") for folder, _, _ in tf.io.gfile.walk(head)]
    return [path for folder in folders for path in tf.io.gfile.glob(f"{folder}/{tail}")]


def by_name(paths: Iterable[str], source: str) -> dict[str, str]:
    """Names images by the last part of their paths.

    Where the paths of URLs are alike, their queries are added: Worldview's differ in
    the TIME only.

    Args:
      paths: paths or URLs.
      source: where they come from, for the error.

    Returns:
      The paths by their names, in order.

    Raises:
      InputError: two images have the same name.
    """
    paths = list(paths)
    counts = collections.Counter(map(_name, paths))
    named = {}
    for path in paths:
        name = _name(path)
        if counts[name] > 1 and (query := urllib.parse.urlsplit(path).query):
            name += "_" + re.sub(r"[^\w.=&-]", "_", urllib.parse.unquote(query))
        if name in named:
            raise InputError(
                f"--images: '{source}' has two images named {name}: {named[name]} "
                f"and {path}. Process them separately."
            )
        named[name] = path
    return named


def _name(path: str) -> str:
    if path.startswith(URLS):
        path = urllib.parse.unquote(urllib.parse.urlsplit(path).path)
        return posixpath.basename(path) or "image"
    return posixpath.basename(path)


def _find_in_zip(archive: str, inside: str) -> dict[str, str]:
    prefix = f"{inside}/" if inside else ""
    paths = {}
    for entry in image_bytes.open_zip(archive)[1]:
        name = posixpath.basename(entry)
        if not entry.startswith(prefix) or not _is_image(entry):
            continue
        if name in paths:
            raise InputError(
                f"--images: {archive} has two images named {name}. Give a folder "
                f"inside it, as in {archive}/{posixpath.dirname(entry)}."
            )
        paths[name] = f"{archive}/{entry}"
    return paths


def _is_image(path: str) -> bool:
    """Whether a path is an image by its suffix; macOS adds files that are none."""
    folder, _, name = path.rpartition("/")
    is_added = name.startswith("._") or "__MACOSX" in folder.split("/")
    return name.lower().endswith(SUFFIXES) and not is_added


def _list(folder: str) -> list[str]:
    if "://" in folder:
        return tf.io.gfile.listdir(folder)
    return [_printable(name) for name in os.listdir(folder)]  # noqa: PTH208


def _printable(name: str) -> str:
    """Returns a name as text, with bytes that are not UTF-8 in hexadecimal."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _load_tensor(path) -> bytes:
    try:
        # Eagerly an array or text, else bytes.
        return _load(os.fsdecode(np.asarray(path).item()))
    except image_bytes.UNREADABLE as error:
        reason = image_bytes.reason(error)
        raise tf.errors.InvalidArgumentError(None, None, reason) from error


def _load(path: str) -> bytes:
    return formats.convert(image_bytes.load(path), path)
