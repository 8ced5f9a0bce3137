"""Mutates csv files of masks, plain and compressed, and reads them.

Each must be read, or be refused by an `InputError`. `test_csv_mutations.py`
tries a few. The long form:

    python tests/faults/csv_mutations.py [COUNT]
"""

import bz2
import collections
import gzip
import io
import lzma
import random
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

if __name__ == "__main__":
    sys.path[:0] = map(str, (Path(__file__).parents[1], Path(__file__).parents[2]))

from clouds import schema
from clouds.data import annotations
from clouds.data.masks import csv_rows
from clouds.errors import InputError

GRID = 14, 21
OUTCOMES = ("read", "refused", "traceback")
_PIECES = [
    b",",
    b'"',
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"_",
    b"-1",
    b"1e5",
    b"nan",
    b"1 0",
    b"9" * 40,
]
_PIECES += [
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    "é".encode(),
    b"Fish",
    b"1 1 ",
    b";",
    b"\t",
    b"\x1a",
]


def _zipped(contents: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.csv", contents)
    return file.getvalue()


ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    ".csv": bytes,
    ".csv.gz": gzip.compress,
    ".csv.bz2": bz2.compress,
    ".csv.xz": lzma.compress,
    ".csv.zip": _zipped,
}


def table() -> bytes:
    """Returns a small valid csv."""
    texts = ["1 3 9 2", "", "5 7 200 4", "8 1"]
    rows = [
        f"{image}.jpg_{label},{texts[(image + k) % 4]}\n"
        for image in range(3)
        for k, label in enumerate(schema.CLOUDS.labels)
    ]
    return ("Image_Label,EncodedPixels\n" + "".join(rows)).encode()


def mutate(contents: bytes, chance: random.Random) -> bytes:
    """Returns the contents after one to four changes of bytes or pieces."""
    data = bytearray(contents)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        start = chance.randrange(len(data) + 1)
        end = min(len(data), start + chance.choice((0, 1, 3, 30)))
        kind = chance.randrange(5)
        if kind == 0:
            data[start:end] = chance.choice(_PIECES)
        elif kind == 1:
            data[start:end] = chance.randbytes(end - start)
        elif kind == 2:
            data[start:start] = data[start:end] * chance.choice((1, 2, 50))
        elif kind == 3:
            del data[start:end]
        elif data:
            del data[chance.randrange(len(data)) :]
    return bytes(data)


def outcome(path: Path) -> str:
    """Reads a csv as the commands do."""
    try:
        rows = annotations.read(str(path))
        annotations.find_warning(rows, GRID)
        for image in range(len(rows.images)):
            rows.runs(image, GRID)
        csv_rows.read_rows(str(path), strict=csv_rows.STANDARD)
    except InputError:
        return "refused"
    except Exception as error:
        print(f"{path.name}: {error!r}: {path.read_bytes()!r}", file=sys.stderr)
        return "traceback"
    return "read"


def tried(count: int, folder: Path, seed: int = 0) -> dict[str, int]:
    """Counts the outcomes of mutated files."""
    chance, found = random.Random(seed), collections.Counter()
    for number in range(count):
        suffix = list(ENCODERS)[number % len(ENCODERS)]
        contents, encode = table(), ENCODERS[suffix]
        # Every other compressed file is damaged itself, not what is in it.
        if number % 2:
            contents = encode(mutate(contents, chance))
        else:
            contents = mutate(encode(contents), chance)
        path = folder / f"train{suffix}"
        path.write_bytes(contents)
        found[outcome(path)] += 1
    return {name: found[name] for name in OUTCOMES}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        counts = tried(*map(int, sys.argv[1:2] or [10_000]), Path(name))
    print(counts)
    sys.exit(bool(counts["traceback"]))
