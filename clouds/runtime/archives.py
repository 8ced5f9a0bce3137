"""Reads compressed files, and files in zips by paths such as a.zip/train.csv."""

import bz2
import contextlib
import csv
import gzip
import io
import lzma
import re
import zipfile
from collections.abc import Iterator

import tensorflow as tf

from clouds.errors import InputError

# Masks, and annotations as JSON, may be longer than csv's limit of a field.
csv.field_size_limit(1 << 27)

_ZIP = re.compile(r"(?i)\.zip(?=/|$)")
_MOST_BYTES = 1 << 31


def split(path: str) -> tuple[str, str]:
    """Splits 'a.zip/b' into 'a.zip' and 'b'; without a zip the first is empty.

    A folder may be called like a zip.
    """
    for suffix in _ZIP.finditer(path):
        archive = path[: suffix.end()]
        if not tf.io.gfile.isdir(archive):
            return archive, path[suffix.end() :].strip("/")
    return "", path


def read(path: str, what: str) -> bytes:
    """Reads a file, or an entry of a zip such as a.zip/train.csv.

    Args:
      path: local or remote path.
      what: name of the file, for errors, such as "The csv".

    Raises:
      InputError: there is no such file, or the zip is damaged.
    """
    archive, entry = split(path)
    is_entry = bool(archive and entry)
    file = archive if is_entry else path
    if not tf.io.gfile.exists(file) or tf.io.gfile.isdir(file):
        problem = "is a folder" if tf.io.gfile.exists(file) else "does not exist"
        raise InputError(f"{what} '{path}' {problem}. Check the path.")
    with tf.io.gfile.GFile(file, "rb") as opened:
        content = opened.read()
    return _unzip(content, path, entry) if is_entry else content


def decompress(content: bytes, path: str) -> bytes:
    """Decompresses a file by its suffix: .gz, .bz2, .xz, or .zip with one file.

    Args:
      content: bytes of the file.
      path: its path; of another suffix the bytes are returned.

    Raises:
      InputError: the file is damaged, too long, or encrypted.
    """
    suffix = path.lower().rpartition(".")[2]
    if suffix == "zip":
        return _unzip(content, path)
    openers = {"gz": gzip.open, "bz2": bz2.open, "xz": lzma.open}
    if suffix not in openers:
        return content
    with _reporting_damage(path, suffix):
        with openers[suffix](io.BytesIO(content)) as file:
            content = file.read(_MOST_BYTES + 1)
        _check_length(len(content))
    return content


def _unzip(content: bytes, path: str, entry: str = "") -> bytes:
    """Returns an entry of a zip; without a name the only one."""
    with (
        _reporting_damage(path, "zip"),
        zipfile.ZipFile(io.BytesIO(content)) as archive,
    ):
        infos = archive.infolist()
        entries = {info.filename.replace("\\", "/"): info for info in infos}
        names = [name for name in entries if _is_file(name)]
        if entry and entry not in names:
            raise InputError(f"{path} does not exist: the zip has no {entry}.")
        if not entry and len(names) != 1:
            raise InputError(
                f"{path} holds {len(names)} files. Give a zip with one csv, or one "
                f"of its files, such as {path}/train.csv."
            )
        info = entries[entry or names[0]]
        _check_length(info.file_size)
        return archive.read(info.filename)


def _is_file(name: str) -> bool:
    """Whether an entry is a file that a user put there."""
    return not name.endswith("/") and not name.startswith("__MACOSX/")


def _check_length(length: int) -> None:
    if length > _MOST_BYTES:
        raise ValueError(f"it has more than {_MOST_BYTES:,} bytes")


@contextlib.contextmanager
def _reporting_damage(path: str, suffix: str) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    # zipfile, zlib and lzma have no common exception for damaged data.
    except Exception as error:
        raise InputError(
            f"{path} is damaged, or not a .{suffix} file ({error}). Copy it again."
        ) from error
