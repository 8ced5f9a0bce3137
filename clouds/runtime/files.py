"""Full disks: known by what libraries say of them, and named."""

import errno
import os
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

from clouds.errors import InputError

_REASONS = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT))


def is_full(error: Exception) -> bool:
    """Whether an error says that a disk is full, or a quota used up.

    Args:
      error: of Python, or of h5py or TensorFlow, which have but the system's words.
    """
    return any(reason in str(error) for reason in _REASONS)


def fullest(paths: Iterable[str | Path]) -> tuple[Path, int]:
    """Finds the path with the least room.

    Args:
      paths: of files and folders, one or more, that may not be there yet.

    Returns:
      The path and the bytes that are free there.
    """
    free = {Path(path): _free(Path(path)) for path in paths}
    return min(free.items(), key=lambda pair: pair[1])


def check_room(folder: Path, needed: int, what: str) -> None:
    """Refuses what would not fit.

    Args:
      folder: for it.
      needed: bytes.
      what: it is, in the plural.

    Raises:
      InputError: fewer bytes are free.
    """
    free = _free(folder)
    if needed > free:
        raise InputError(
            f"{what} must fit onto the disk, {needed / 1e6:,.0f} MB. Received: "
            f"'{folder}', with {free / 1e6:,.1f} MB free. Make room and run the same "
            "command again: it goes on."
        )


def _free(path: Path) -> int:
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    usage = shutil.disk_usage(there)
    # Disks over a network may not tell.
    return usage.free if usage.total else sys.maxsize
