"""Changes of files that carry a checksum."""

from pathlib import Path

from clouds.runtime import checksums


def edit(path: Path, **changes) -> dict:
    """Changes fields of a JSON file, whose checksum is right afterwards."""
    fields = {**checksums.read_json(path), **changes}
    checksums.write_json(path, fields)
    return fields


def flip(path: Path, place: int) -> None:
    """Flips one bit of a file."""
    contents = bytearray(path.read_bytes())
    contents[place // 8] ^= 1 << place % 8
    path.write_bytes(contents)
