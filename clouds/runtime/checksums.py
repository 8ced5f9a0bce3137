"""Checksums that files carry, so that damage is reported and never read as data.

Files of earlier versions have none and are read without this check.
"""

import hashlib
import json
from pathlib import Path

from clouds.runtime import files, json_types

KEY = "checksum"
"""Key of the checksum in a JSON object."""
LIST = Path("assets.extra", "SHA256SUMS")
"""File with the checksums of the other files of an exported version."""


def of_fields(fields: dict) -> str:
    """Returns the SHA-256 of the values of a JSON object, whatever their order."""
    values = {name: value for name, value in fields.items() if name != KEY}
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def to_json(fields: dict, indent: int | None = None) -> str:
    """Writes a JSON object with its checksum as the last field."""
    # A tuple, for one, is a list when it is read.
    fields = json.loads(json.dumps(fields))
    return json.dumps({**fields, KEY: of_fields(fields)}, indent=indent)


def write_json(path: str | Path, fields: dict) -> None:
    """Writes indented JSON atomically, with its checksum as the last field."""
    files.write(path, to_json(fields, indent=2) + "\n")


def read_json(path: str | Path, expected: dict | None = None) -> dict:
    """Reads a JSON object, and compares it with its checksum if it has one.

    Args:
      path: local or remote file.
      expected: types of its fields, for `json_types.check`.

    Returns:
      The fields, without the checksum.

    Raises:
      ValueError: the file is not UTF-8, not a JSON object, has changed, or has other
        types.
    """
    fields = parse_json(files.read(path))
    json_types.check(fields, expected or {})
    return fields


def parse_json(text: str | bytes) -> dict:
    """Parses a JSON object, as `read_json` does.

    Raises:
      ValueError: as for `read_json`.
    """
    try:
        fields = json.loads(text)
    except RecursionError as error:
        raise ValueError("too many nested brackets") from error
    if not isinstance(fields, dict):
        raise ValueError(f"a {type(fields).__name__} instead of an object")
    return without_checksum(fields)


def without_checksum(fields: dict) -> dict:
    """Returns fields without their checksum, after comparing them with it.

    Raises:
      ValueError: they do not match it.
    """
    if fields.get(KEY, "") not in ("", of_fields(fields)):
        raise ValueError(
            f"its contents do not match its checksum; if you edited it, remove '{KEY}'"
        )
    return {name: value for name, value in fields.items() if name != KEY}


def write_list(folder: Path) -> None:
    """Writes the checksums of all files of an exported version, as `sha256sum` does."""
    (folder / LIST).parent.mkdir(exist_ok=True)
    names = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    lines = [
        f"{files.checksum(folder / name)}  {name.as_posix()}\n"
        for name in sorted(names)
        if name != LIST
    ]
    files.write(folder / LIST, "".join(lines))


def check_list(folder: str | Path) -> None:
    """Compares the files of an exported version with their checksums, if it has some.

    Args:
      folder: local or remote folder.

    Raises:
      ValueError: a file is missing or has changed.
    """
    path = f"{folder}/{LIST.as_posix()}"
    if not files.exists(path):
        return
    for line in files.read(path).decode().splitlines():
        expected, _, name = line.partition("  ")
        if not files.exists(f"{folder}/{name}"):
            raise ValueError(f"{name} is missing")
        if files.checksum(f"{folder}/{name}") != expected:
            raise ValueError(f"{name} has changed since the export")


def write_beside(path: Path) -> None:
    """Writes the checksum of a local file that cannot hold it, beside the file."""
    files.write(_beside(path), files.checksum(path))


def is_intact(path: Path) -> bool:
    """Returns whether a local file exists and matches the checksum beside it."""
    beside = _beside(path)
    if not (path.is_file() and beside.is_file()):
        return False
    return files.read(beside) == files.checksum(path).encode()


def _beside(path: Path) -> Path:
    return path.with_suffix(f"{path.suffix}.sha256")
