"""What is predicted so far, a line an image: what a prediction goes on from.

The first line holds the settings, each other one an `Entry`, as JSON. Lines are
added a batch at a time, so that the file is whole but for a torn end wherever its
process is killed; what is torn is cut off before more is added.
"""

import dataclasses
import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clouds import rle, schema


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What was predicted of one image.

    Attributes:
      image: its name.
      plain: the runs of each label's mask, thresholded only.
      cleaned: those of the masks after post-processing.
      scores: how sure each label is in it (`postprocess.presence`); None if not asked
        for.
    """

    image: str
    plain: list[str]
    cleaned: list[str]
    scores: list[float] | None = None

    @functools.cached_property
    def masks(self) -> np.ndarray:
        """bool[H, W, C], the cleaned masks on the submission's grid."""
        size = schema.SUBMISSION_SIZE
        return np.stack([rle.decode(text, size) for text in self.cleaned], -1)


class Journal:
    """A file of entries, in the order in which they came.

    Attributes:
      settings: that it was begun with; None where there is no journal.
    """

    def __init__(self, path: Path):
        """Reads how far it goes, if there is one."""
        self.path = path
        self.settings = None
        self._places = {}
        self._end = 0
        for place, line in self._lines():
            if self.settings is None:
                self.settings = line
            else:
                self._places[line["image"]] = place

    def __contains__(self, image: str) -> bool:
        return image in self._places

    def __len__(self) -> int:
        return len(self._places)

    def begin(self, settings: dict) -> None:
        """Makes it anew, without entries."""
        self.settings, self._places, self._end = settings, {}, 0
        self._append([settings])

    def add(self, entries: list[Entry]) -> None:
        """Adds entries, at once and for good."""
        places = self._append([dataclasses.asdict(entry) for entry in entries])
        names = [entry.image for entry in entries]
        self._places.update(zip(names, places, strict=True))

    def entries(self, order: Iterator[str] | None = None) -> Iterator[Entry]:
        """Reads entries one after another.

        Args:
          order: names of images, of which some may have none; that of the file if
            left out.
        """
        with self.path.open("rb") as file:
            for image in self._places if order is None else order:
                if image in self._places:
                    file.seek(self._places[image])
                    yield Entry(**json.loads(file.readline()))

    def _lines(self) -> Iterator[tuple[int, dict]]:
        if not self.path.is_file():
            return
        with self.path.open("rb") as file:
            for line in file:
                if not line.endswith(b"\n"):
                    return
                try:
                    fields = json.loads(line)
                except ValueError:
                    return
                yield self._end, fields
                self._end += len(line)

    def _append(self, fields: list[dict]) -> list[int]:
        lines = [json.dumps(line).encode() + b"\n" for line in fields]
        places = np.cumsum([self._end, *map(len, lines)]).tolist()
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.truncate(self._end)
            file.seek(self._end)
            file.write(b"".join(lines))
        self._end = places.pop()
        return places
