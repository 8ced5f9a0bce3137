"""Keeps a second process out of a folder that one is writing."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from clouds.errors import InputError


@contextlib.contextmanager
def sole_writer(folder: str, flag: str) -> Iterator[None]:
    """Locks a local folder within; a process that is killed leaves no lock.

    Args:
      folder: to lock; one that is no local folder is not.
      flag: that named it, for the error.

    Raises:
      InputError: another process has locked it.
    """
    if not Path(folder).is_dir():
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"{flag} must not be written by two runs at once. Received: "
                f"'{folder}', which another run is writing. Wait for it, or give "
                "another."
            ) from error
        yield
    finally:
        os.close(handle)
