"""Image files where they lie: in a folder, in a zip that is read in place, or listed.

Folders are local paths or any that `tf.io.gfile` knows, such as `gs://…`. A zip
may be followed by a folder within it: `clouds.zip/train_images`. A pattern has `*`,
`?` or `[…]`, and `**` for folders within folders. A list is a .txt file with a path
a line, counted from its own folder.
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
_OF_TENSORFLOW = re.compile(r"^{{.*?}} | \[Op:.*")
"""What TensorFlow adds to an error on its own account."""
_NOT_FOR_TENSORFLOW = r"(?i).*(\.zip/.*|\.tiff?)"


def find(source: str, kinds: str = IMAGES) -> dict[str, str]:
    """Lists the images of a folder, a zip, a pattern or a list, or the one named.

    Args:
      source: one of these.
      kinds: what an error says that it may be.

    Returns:
      From an image's file name to what `read` takes, sorted by name; a list's in its
      own order, whether the files are there or not.

    Raises:
      InputError: there is no such source, it names no image, or two of one name.
    """
    archive, inside = _split(source)
    if archive:
        found = _find_in_zip(archive, inside)
    elif tf.io.gfile.isdir(source):
        found = {name: f"{source}/{name}" for name in tf.io.gfile.listdir(source)}
    elif source.lower().endswith(".txt") and tf.io.gfile.exists(source):
        return _by_name(_listed(source), source)
    elif _is_image(source) and tf.io.gfile.exists(source):
        return _by_name([source], source)
    elif glob.has_magic(source):
        found = _by_name(filter(_is_image, sorted(_matching(source))), source)
    else:
        raise InputError(
            f"--images must be {kinds}. Received: '{source}', which is none of these. "
            "Check the path."
        )
    found = {name: found[name] for name in sorted(found) if _is_image(name)}
    if not found:
        raise _none(source)
    return found


def read(path: tf.Tensor) -> tf.Tensor:
    """Reads an image file, also within a graph.

    Args:
      path: string[], a value of what `find` returned.

    Returns:
      string[], the file's bytes; of a TIFF, which TensorFlow does not decode, those
      of the same picture as PNG.
    """
    return tf.cond(
        tf.strings.regex_full_match(path, _NOT_FOR_TENSORFLOW),
        lambda: tf.py_function(_read, [path], tf.string),
        lambda: tf.io.read_file(path),
    )


def undecodable(path: str) -> InputError:
    """The error for a file that cannot be decoded, or not even read."""
    try:
        length = tf.strings.length(read(tf.constant(path)))
    except tf.errors.OpError as error:
        reason = _OF_TENSORFLOW.sub("", error.message.strip().splitlines()[0])
        return InputError(
            f"Image file must be readable. Received: {path}, which is not ({reason}). "
            "Check it, or leave it out."
        )
    return InputError(
        f"Image must be a whole JPEG, PNG, BMP, WebP, GIF or TIFF. Received: {path}, "
        f"{length} bytes, which cannot be decoded. Replace the file, or leave it out."
    )


def pick(found: Mapping[str, str], names: list[str], where: str, source: str) -> list:
    """Picks images by name.

    Args:
      found: what `find` returned.
      names: of the images wanted.
      where: what an error names as the place of the names.
      source: what an error names as the place of the images.

    Returns:
      What `read` takes, in the order of the names.

    Raises:
      InputError: an image is not there.
    """
    missing = [name for name in names if name not in found]
    if missing:
        stems = {name.rpartition(".")[0]: name for name in found}
        advice = "Check --images, or take them out of the csv."
        if missing[0] in stems:
            advice = (
                f"{stems[missing[0]]} is there: write the names with their endings in "
                "the csv."
            )
        raise InputError(
            f"Each image of {where} must lie in {source}. Received: no image for "
            f"{len(missing)} of {len(names)}, the first {missing[0]}. {advice}"
        )
    return [found[name] for name in names]


def _split(source: str) -> tuple[str, str]:
    """Splits 'a.zip/b' into 'a.zip' and 'b'; no zip gives an empty first part."""
    head, ending, tail = source.partition(".zip")
    archive = head + ending
    if not ending or tail[:1] not in ("", "/") or tf.io.gfile.isdir(archive):
        return "", source
    return archive, tail.strip("/")


def _none(source: str) -> InputError:
    return InputError(
        f"--images must hold images ({', '.join(SUFFIXES)}). Received: '{source}', "
        "which holds none. Check the path."
    )


def _listed(path: str) -> list[str]:
    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            lines = file.read().decode("utf-8-sig").splitlines()
    except (UnicodeDecodeError, tf.errors.OpError) as error:
        raise InputError(
            "A list of images must be UTF-8 text. Received: "
            f"'{path}' ({str(error).splitlines()[0]}). Check the file."
        ) from error
    listed = [line.strip() for line in lines if line.strip()]
    if not listed:
        raise _none(path)
    folder = posixpath.dirname(path)
    return [p if "://" in p else posixpath.join(folder, p) for p in listed]


def _matching(pattern: str) -> list[str]:
    if "://" not in pattern:
        return glob.glob(pattern, recursive=True)  # noqa: PTH207
    head, any_depth, tail = pattern.partition("/**/")
    if not any_depth:
        return tf.io.gfile.glob(pattern)
    folders = [folder.rstrip("/") for folder, _, _ in tf.io.gfile.walk(head)]
    return [path for folder in folders for path in tf.io.gfile.glob(f"{folder}/{tail}")]


def _by_name(paths: Iterable[str], source: str) -> dict[str, str]:
    found = {}
    for path in paths:
        name = posixpath.basename(path)
        if name in found:
            raise InputError(
                f"Images must have names of their own. Received: {name} twice, "
                f"as {found[name]} and {path}, by '{source}'. Predict them apart."
            )
        found[name] = path
    return found


def _find_in_zip(archive: str, inside: str) -> dict[str, str]:
    prefix = f"{inside}/" if inside else ""
    found = {}
    for entry in _open(archive).namelist():
        name = posixpath.basename(entry)
        if not entry.startswith(prefix) or not _is_image(name):
            continue
        if name in found:
            raise InputError(
                "Images in a zip must have names of their own. Received: "
                f"{name} twice, in {archive}. Name the folder within it, as in "
                f"{archive}/{posixpath.dirname(entry)}."
            )
        found[name] = f"{archive}/{entry}"
    return found


def _is_image(name: str) -> bool:
    return name.lower().endswith(SUFFIXES)


@functools.lru_cache(maxsize=4)
def _open(archive: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(tf.io.gfile.GFile(archive, "rb"))
    except (zipfile.BadZipFile, tf.errors.OpError) as error:
        raise InputError(
            f"--images must be a folder or a zip. Received: '{archive}', which cannot "
            f"be read as one ({str(error).splitlines()[0]}). Check the file."
        ) from error


def _read(path: tf.Tensor) -> bytes:
    archive, inside = _split(path.numpy().decode())
    file = _open(archive).open(inside) if archive else tf.io.gfile.GFile(inside, "rb")
    with file:
        contents = file.read()
    return _as_png(contents) if contents.startswith(_TIFF) else contents


def _as_png(contents: bytes) -> bytes:
    image = cv2.imdecode(np.frombuffer(contents, np.uint8), cv2.IMREAD_COLOR)
    # An empty file: what decodes it next says that it is no image.
    return b"" if image is None else cv2.imencode(".png", image)[1].tobytes()
