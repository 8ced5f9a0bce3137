"""The journal of a prediction: finished images, from which it resumes.

The first line holds the settings, each other line an `Entry`, as JSON with a checksum.
Lines are added batch by batch. If the process is killed, only the last line can be
incomplete. An incomplete or damaged line and all after it are not trusted; they are cut
off before more lines are added. Lines of earlier versions have no checksum.
"""

import dataclasses
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clouds import rle
from clouds.runtime import checksums, json_types
from clouds.text import counted


@dataclass(frozen=True, kw_only=True)
class Entry:
    """The prediction of one image.

    Attributes:
      image: name of the image.
      plain: run-length codes of the raw masks (thresholded only), per label.
      cleaned: run-length codes of the post-processed masks, per label.
      scores: presence scores per label (`postprocess.functional.presence`), or None.
      grid: height and width of the masks of a scene in tiles; None for the grid of the
        run.
    """

    image: str
    plain: list[str]
    cleaned: list[str]
    scores: list[float] | None = None
    grid: list[int] | None = None

    def masks(self, grid: rle.Size) -> np.ndarray:
        """Returns the post-processed masks, bool[H, W, C].

        Args:
          grid: height and width of the masks, unless the entry has its own.
        """
        return _decode(tuple(self.cleaned), self.size(grid))

    def size(self, grid: rle.Size) -> rle.Size:
        """Returns the height and width of the masks, as for `masks`."""
        return tuple(self.grid or grid)


@functools.lru_cache(maxsize=1)
def _decode(texts: tuple[str, ...], grid: rle.Size) -> np.ndarray:
    # Several files are written from the masks of one image.
    return np.stack([rle.decode(text, grid) for text in texts], -1)


_ENTRY = {"image": str, "plain": [str], "cleaned": [str]}
_ENTRY |= {"scores": ([json_types.NUMBER], None), "grid?": ([int], None)}


class Journal:
    """A file of entries, in the order in which they were added.

    Attributes:
      settings: settings of the predictions; None if there is no journal.
    """

    def __init__(self, path: Path):
        """Reads the journal, if there is one."""
        self.path = path
        self.settings = None
        self._offsets = {}
        self._end = 0
        for offset, line in self._lines():
            if self.settings is None:
                self.settings = line
            else:
                self._offsets[line["image"]] = offset

    def __contains__(self, image: str) -> bool:
        return image in self._offsets

    def __iter__(self) -> Iterator[str]:
        return iter(self._offsets)

    def __len__(self) -> int:
        return len(self._offsets)

    def start(self, settings: dict) -> None:
        """Starts a new journal without entries."""
        self.settings, self._offsets, self._end = settings, {}, 0
        self._append([settings])

    def add(self, entries: list[Entry]) -> None:
        """Appends entries to the file."""
        offsets = self._append([_fields(entry) for entry in entries])
        names = [entry.image for entry in entries]
        self._offsets.update(zip(names, offsets, strict=True))

    def entries(self, order: Iterator[str] | None = None) -> Iterator[Entry]:
        """Reads entries one by one.

        Args:
          order: names of images, with or without an entry; default: order of the file.
        """
        with self.path.open("rb") as file:
            for image in self._offsets if order is None else order:
                if image in self._offsets:
                    file.seek(self._offsets[image])
                    yield Entry(**checksums.parse_json(file.readline()))

    def _lines(self) -> Iterator[tuple[int, dict]]:
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                try:
                    fields = checksums.parse_json(line)
                    if self.settings is not None:
                        _check_entry(fields)
                except ValueError as error:
                    print(
                        f"{self.path} is damaged after {counted(len(self), 'image')} "
                        f"({error}). The others are predicted again.",
                        flush=True,
                    )
                    return
                yield self._end, fields
                self._end += len(line)

    def _append(self, fields: list[dict]) -> list[int]:
        lines = [checksums.to_json(line).encode() + b"\n" for line in fields]
        offsets = np.cumsum([self._end, *map(len, lines)]).tolist()
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.truncate(self._end)
            file.seek(self._end)
            file.write(b"".join(lines))
        self._end = offsets.pop()
        return offsets


def _fields(entry: Entry) -> dict:
    fields = dataclasses.asdict(entry)
    if entry.grid is None:
        # The line of an image that is no scene is as in earlier versions.
        del fields["grid"]
    return fields


def _check_entry(fields: dict) -> None:
    json_types.check(fields, _ENTRY)
    known = {name.removesuffix(json_types.OPTIONAL) for name in _ENTRY}
    if unknown := set(fields) - known:
        raise ValueError(f"unknown {', '.join(sorted(unknown))}")
    # bin/request has no plain masks.
    lists = (fields[name] for name in ("plain", "cleaned", "scores"))
    if len({len(one) for one in lists if one}) != 1:
        raise ValueError("another number of labels")
