"""Files: atomic writes, checksums, locks, free space.

A path with `://` names a file elsewhere, such as `gs://bucket/…`, which TensorFlow
reads and writes. TensorFlow is imported for these only.
"""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from clouds.errors import InputError

PART = "part."
"""Prefix of the name of a file that is being written."""

_REASONS = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[str]:
    """Writes a file atomically: readers see the old content or the new one.

    Args:
      path: file to write or to replace.

    Yields:
      The path to write to, in the same folder and with the same suffix. It is renamed
      when the block ends, and removed if the block raises.
    """
    folder, slash, name = str(path).rpartition("/")
    part = f"{folder}{slash}{PART}{name}"
    try:
        yield part
        if "://" in part:
            _remote().rename(part, str(path), overwrite=True)
        else:
            Path(part).replace(path)
    except BaseException:
        with contextlib.suppress(Exception):
            _remote().remove(part) if "://" in part else Path(part).unlink()
        raise


@contextlib.contextmanager
def writing(path: str | Path, mode: str = "w") -> Iterator[IO]:
    """Opens a file to write it atomically, text as UTF-8."""
    with replacing(path) as part, _open(part, mode) as file:
        yield file


def mapped(path: str | Path, shape: tuple[int, ...], dtype: str):
    """Creates a `.npy` file as an array in its pages, with its space on the disk.

    Args:
      path: local file; inside `replacing`, its part.
      shape: shape of the array.
      dtype: dtype of the array.

    Returns:
      numpy.memmap of zeros.

    Raises:
      OSError: the disk is full. Without the reservation the process would be killed
        when it writes to a page that has no place.
    """
    import numpy as np

    array = np.lib.format.open_memmap(path, "w+", dtype, shape)
    with Path(path).open("r+b") as file:
        os.posix_fallocate(file.fileno(), 0, Path(path).stat().st_size)
    return array


def write(path: str | Path, content: str | bytes) -> None:
    """Writes text (as UTF-8) or bytes atomically."""
    content = content.encode() if isinstance(content, str) else content
    with writing(path, "wb") as file:
        file.write(content)


def read(path: str | Path) -> bytes:
    """Reads a local or remote file."""
    with _open(str(path), "rb") as file:
        return file.read()


def exists(path: str | Path) -> bool:
    """Returns whether there is a local or remote file."""
    return _remote().exists(str(path)) if "://" in str(path) else Path(path).is_file()


def checksum(path: str | Path) -> str:
    """Returns the SHA-256 of a file, as `sha256sum` prints it."""
    digest = hashlib.sha256()
    with _open(str(path), "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextlib.contextmanager
def sole_writer(folder: str, flag: str) -> Iterator[None]:
    """Locks a local folder for this process; a killed process leaves no lock.

    The lock is on the folder itself, so that no lock file is left in it.

    Args:
      folder: folder to lock. It is not locked if it is remote, does not exist, or is
        on a file system without locks.
      flag: flag that named it, for the error.

    Raises:
      InputError: another process holds the lock.
    """
    if not Path(folder).is_dir():
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _check_same(handle, folder)
        except BlockingIOError as error:
            raise InputError(
                f"{flag}: another process is writing '{folder}'. Wait for it, or give "
                "another folder."
            ) from error
        except OSError:
            pass
        yield
    finally:
        os.close(handle)


def _check_same(handle: int, folder: str) -> None:
    """Raises BlockingIOError if a folder was replaced before it was locked."""
    locked = os.fstat(handle)
    is_there = Path(folder).exists()
    if not is_there or not os.path.samestat(locked, Path(folder).stat()):
        raise BlockingIOError


def is_full(error: Exception) -> bool:
    """Returns whether an error reports a full disk or an exhausted quota.

    Args:
      error: of Python, or of h5py or TensorFlow, which only quote the system's words.
    """
    return any(reason in str(error) for reason in _REASONS)


def is_too_large(error: Exception) -> bool:
    """Returns whether an error, as for `is_full`, reports a file above a size limit."""
    return os.strerror(errno.EFBIG) in str(error)


def fullest(paths: Iterable[str | Path]) -> tuple[Path, int]:
    """Finds the path with the least free space.

    Args:
      paths: one or more files or folders, which need not exist yet.

    Returns:
      The path and the free bytes of its disk.
    """
    free = {Path(path): _free(Path(path)) for path in paths}
    return min(free.items(), key=lambda pair: pair[1])


def check_free_space(folder: Path, needed: int, what: str) -> None:
    """Checks that a disk has enough free space.

    Args:
      folder: folder to write to.
      needed: bytes to write.
      what: name of the files, in the plural, for the error.

    Raises:
      InputError: fewer bytes are free.
    """
    free = _free(folder)
    if needed > free:
        raise InputError(
            f"{what} need {needed / 1e6:,.0f} MB, and the disk of '{folder}' has "
            f"{free / 1e6:,.1f} MB free. Free some space and run the same command "
            "again: it resumes."
        )


def _open(path: str, mode: str) -> IO:
    if "://" in path:
        return _remote().GFile(path, mode)
    return Path(path).open(mode, encoding=None if "b" in mode else "utf-8")


def _remote():
    import tensorflow as tf

    return tf.io.gfile


def _free(path: Path) -> int:
    parents = (path, *path.absolute().parents)
    usage = shutil.disk_usage(next(parent for parent in parents if parent.exists()))
    # Network file systems may not report their size.
    return usage.free if usage.total else sys.maxsize
