"""`run.json`: facts about a training, and the checksums of the files it wrote."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from clouds.errors import InputError
from clouds.runtime import checksums, files
from clouds.runtime.json_types import NUMBER

FILE = "run.json"

_SUMS = "sha256"
_TYPES = {
    "started?": str,
    "records?": {"folder": str, "sha256": str, "source?": {str: str}},
    "backend?": str,
    "devices?": [str],
    "kernels?": {str: str},
    "versions?": {str: str},
    "config?": {},
    "seconds?": NUMBER,
    "images_per_second?": NUMBER,
    "epochs?": int,
    "stopped_early?": bool,
    "averaged?": {"epochs": int, "val_loss": NUMBER, "saved": bool},
    "best_epoch?": int,
    "best?": {str: NUMBER},
    f"{_SUMS}?": {str: [str]},
}


def read(folder: Path | str) -> dict:
    """Reads the facts about a training; empty if there are none.

    Raises:
      InputError: they are damaged.
    """
    path = Path(folder, FILE)
    try:
        return checksums.read_json(path, _TYPES) if path.is_file() else {}
    except ValueError as error:
        raise InputError(
            f"{path} is damaged ({error}). Remove it to use the run without it."
        ) from error


def add(folder: Path, facts: dict) -> None:
    """Adds facts to those of a run, or replaces them; the start stays."""
    stored = read(folder)
    started = {key: stored[key] for key in ("started",) if key in stored}
    checksums.write_json(folder / FILE, {**stored, **facts, **started})


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[str]:
    """Writes a file of a run atomically, after storing its checksum.

    Args:
      path: file to write or to replace.

    Yields:
      The path to write to.
    """
    with files.replacing(path) as part:
        yield part
        stored = read(path.parent).get(_SUMS, {})
        # If the process is killed before the file is replaced, the old one is valid.
        valid = [files.checksum(path)] if path.is_file() else []
        if path.name in stored:
            valid = [each for each in stored[path.name] if each in valid]
        stored = {**stored, path.name: [*valid, files.checksum(part)]}
        add(path.parent, {_SUMS: stored})


def check_file(path: Path, advice: str) -> str:
    """Compares a file of a run with its stored checksum.

    Args:
      path: file to check.
      advice: sentence for the error.

    Returns:
      Its SHA-256.

    Raises:
      InputError: the file has changed since the training wrote it. Runs of earlier
        versions have no checksums, and their files pass.
    """
    checksum = files.checksum(path)
    expected = read(path.parent).get(_SUMS, {}).get(path.name)
    if expected and checksum not in expected:
        raise InputError(
            f"{path} is damaged or was replaced: its SHA-256 is not the one that the "
            f"training stored in {FILE}. {advice}"
        )
    return checksum
