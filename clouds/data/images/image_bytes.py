"""Reads the bytes of image files: local, remote, or in a zip."""

import errno
import functools
import io
import lzma
import os
import re
import stat
import zipfile
import zlib

import tensorflow as tf

from clouds.errors import InputError
from clouds.runtime import archives

MOST_BYTES = 1 << 29
"""Maximum length of an image file."""

UNREADABLE = (
    InputError,
    OSError,
    tf.errors.OpError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
)
"""Errors of reading; RuntimeError, from zipfile: encrypted or an unknown method."""

_TENSORFLOW_NOISE = re.compile(r"^{{.*?}} | \[Op:.*")
_SHORTEST_ZIP = 100


def load(path: str) -> bytes:
    """Reads a file.

    Args:
      path: path of the file, which may be inside a zip.

    Raises:
      Exception: one of `UNREADABLE`.
    """
    archive, inside = archives.split(path)
    if not archive:
        return _read_file(path)
    file, entries = open_zip(archive)
    if inside not in entries:
        raise InputError(f"{archive} has no {inside}")
    _check_length(entries[inside].file_size)
    return file.read(entries[inside])


@functools.lru_cache(maxsize=4)
def open_zip(archive: str) -> tuple[zipfile.ZipFile, dict[str, zipfile.ZipInfo]]:
    """Opens a zip; returns it and its entries, with '/' as their separator.

    Raises:
      InputError: it cannot be read.
    """
    try:
        if "://" not in archive:
            _check_regular(os.stat(archive).st_mode)  # noqa: PTH116
        file = tf.io.gfile.GFile(archive, "rb")
        # Before the start of a file, GFile raises another error than zipfile expects.
        short = file.size() < _SHORTEST_ZIP
        file = zipfile.ZipFile(io.BytesIO(file.read()) if short else file)
    except (zipfile.BadZipFile, OSError, tf.errors.OpError) as error:
        why = reason(error)
        if tf.io.gfile.exists(archive) and not tf.io.gfile.stat(archive).length:
            why = "it is empty"
        raise InputError(
            f"--images: '{archive}' is not a readable zip ({why}). Check the file."
        ) from error
    entries = file.infolist()
    return file, {info.filename.replace("\\", "/"): info for info in entries}


def reason(error: Exception) -> str:
    """Returns a short reason, without TensorFlow's names of operations."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(getattr(error, "message", error)).strip().splitlines()
    return _TENSORFLOW_NOISE.sub("", lines[0]) if lines else type(error).__name__


def unreadable(path: str, error: Exception) -> InputError:
    """Returns the error for a file that cannot be read.

    Args:
      path: path of the file.
      error: the reason, one of `UNREADABLE`.
    """
    why = reason(error)
    if "\\x" in path and isinstance(error, FileNotFoundError):
        why = "its name is not UTF-8; rename it"
    return InputError(
        f"{path} cannot be read ({why}). Check the file, or leave it out."
    )


def _read_file(path: str) -> bytes:
    if "://" in path:
        with tf.io.gfile.GFile(path, "rb") as file:
            _check_length(file.size())
            return file.read()
    # Otherwise opening a pipe waits for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        _check_regular(status.st_mode)
        _check_length(status.st_size)
        return file.read(MOST_BYTES)


def _check_regular(mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(mode):
        raise InputError("it is not a regular file, but a pipe, a socket or a device")


def _check_length(length: int) -> None:
    if length > MOST_BYTES:
        raise InputError(f"it has {length:,} bytes; the maximum is {MOST_BYTES:,}")
