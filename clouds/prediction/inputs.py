"""The images to predict, in batches: from files, or from records without masks.

A file that cannot be read or decoded is left out of its batch and reported with it.
"""

import collections
import concurrent.futures
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from clouds.config.prediction import Prediction
from clouds.config.training import Training
from clouds.data import annotations, manifest, pipeline
from clouds.data.images import image_files, reading
from clouds.data.images.reading import Read
from clouds.data.masks.csv_rows import HEADERS, STANDARD, Header
from clouds.errors import InputError
from clouds.runtime import files

_BATCHES_AHEAD = 2


class Batch(NamedTuple):
    """A batch of images.

    Attributes:
      names: names of B images.
      images: [B, H, W, K] of the run's bands.
      faults: errors of unreadable images, by their names.
    """

    names: list[str]
    images: np.ndarray
    faults: dict[str, str]


class Source(Protocol):
    """A source of images.

    Attributes:
      place: path of the images.
      total: number of images.
      names: names of all images, in order; None if they are not known in advance.
      paths: paths of the images by their names; None if there are no files.
      orders: order of the labels of each image; without an entry that of the run.
      header: form and columns of the submissions.
      checksum: SHA-256 of names and orders, or of the records.
    """

    place: str
    total: int
    names: list[str] | None
    paths: dict[str, str] | None
    orders: dict[str, list[int]]
    header: Header
    checksum: str

    def batches(
        self, is_selected: Callable[[str], bool], size: tuple[int, int] | None = None
    ) -> Iterator[Batch]:
        """Yields batches of selected images.

        Args:
          is_selected: whether an image is wanted, by its name. Which images are in one
            batch does not depend on it.
          size: height and width to resize to; None for that of the network.
        """

    def shape(self) -> tuple[int, int] | None:
        """Returns height and width of the first image in its file, if known."""


class RecordImages:
    """The images of records without masks: a `Source`."""

    def __init__(self, settings: Prediction, trained: Training):
        """Opens the records.

        Args:
          settings: settings with the records.
          trained: settings of the run.

        Raises:
          InputError: the records cannot be read, or have masks.
        """
        self._folder, self._batch_size = settings.records, settings.batch_size
        self._manifest = manifest.read(self._folder, labelled=False)
        self._size = trained.size
        if self._manifest.bands != trained.bands:
            raise InputError(
                f"The records in '{self._folder}' have images of {self._manifest.bands}"
                f", and the run needs {trained.bands}. Make them with the same --bands "
                "and --band-names."
            )
        self.place = _absolute(self._folder)
        self.total = self._manifest.examples("test")
        self.names, self.paths, self.orders = None, None, {}
        self.header = _header(settings, STANDARD, trained.labels)
        self.checksum = files.checksum(f"{self._folder}/{manifest.FILE}")

    def batches(self, is_selected, size=None) -> Iterator[Batch]:
        """Yields batches of selected images, as for `Source`."""
        source = self._folder, self._manifest
        with pipeline.naming_damaged_shards(*source):
            for batch in pipeline.test_batches(
                *source, self._batch_size, size=size or self._size
            ):
                names = [name.decode() for name in batch["name"].numpy()]
                kept = [k for k, name in enumerate(names) if is_selected(name)]
                if kept:
                    images = batch["image"].numpy()[kept]
                    yield Batch([names[k] for k in kept], images, {})

    def shape(self) -> None:
        """Returns None: records do not keep the shapes of the files."""


class FileImages:
    """The images of a folder, zip, glob pattern or list: a `Source`."""

    def __init__(self, settings: Prediction, trained: Training):
        """Lists the images.

        Args:
          settings: images and their order.
          trained: settings of the run.

        Raises:
          InputError: there are no images, or some of the sample submission are missing.
        """
        available = image_files.find(settings.images)
        sample = settings.sample_submission
        self.orders, header = {}, STANDARD
        if sample:
            self.orders, header = _label_orders(sample, trained.labels)
        self.header = _header(settings, header, trained.labels)
        self.names = list(self.orders or available)
        paths = image_files.pick(available, self.names, sample, settings.images)
        self.paths = dict(zip(self.names, paths, strict=True))
        self._batch_size, self._trained = settings.batch_size, trained
        self.place, self.total = _absolute(settings.images), len(self.names)
        identity = json.dumps([self.names, self.orders])
        self.checksum = hashlib.sha256(identity.encode()).hexdigest()

    def batches(self, is_selected, size=None) -> Iterator[Batch]:
        """Yields batches of selected images, as for `Source`."""
        read = self._reader(size)

        def load(name: str) -> np.ndarray | str:
            try:
                return read(self.paths[name])
            except InputError as error:
                return str(error)

        all_batches = (
            self.names[first : first + self._batch_size]
            for first in range(0, self.total, self._batch_size)
        )
        selected = (list(filter(is_selected, batch)) for batch in all_batches)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            pending = collections.deque()
            last = [None] * _BATCHES_AHEAD
            for batch in itertools.chain(filter(None, selected), last):
                pending.append(batch and (batch, pool.map(load, batch)))
                if len(pending) > _BATCHES_AHEAD and (first := pending.popleft()):
                    yield _batch(*first)

    def shape(self) -> tuple[int, int] | None:
        """Returns height and width of the first image; None if it is unreadable."""
        try:
            return reading.shape(self.paths[self.names[0]])
        except InputError:
            return None

    def _reader(self, size: tuple[int, int] | None = None) -> Read:
        trained = self._trained
        sizes = (size, None) if size else (trained.size, trained.records_size)
        exact = trained.decode == "exact"
        return reading.reader(trained.bands, *sizes, exact=exact)


def _batch(names: list[str], loaded: Iterator) -> Batch:
    loaded = dict(zip(names, loaded, strict=True))
    faults = {name: fault for name, fault in loaded.items() if isinstance(fault, str)}
    names = [name for name in names if name not in faults]
    images = np.stack([loaded[name] for name in names]) if names else np.empty(0)
    return Batch(names, images, faults)


def _label_orders(
    path: str, labels: tuple[str, ...]
) -> tuple[dict[str, list[int]], Header]:
    """Returns the order of the labels of each image in a sample submission."""
    sample = annotations.read(path, labels)
    # Labels without a row come last.
    rows = np.where(sample.rows > 0, sample.rows, sample.rows.max() + 1)
    last = sample.rows.max(axis=1)
    for name, first, end in zip(sample.images, rows.min(axis=1), last, strict=True):
        if end - first >= len(labels):
            raise InputError(
                f"{path}, rows {first} and {end}: the rows of {name} must be "
                "consecutive. Sort the csv by its first column."
            )
    orders = rows.argsort(axis=1, kind="stable").tolist()
    return dict(zip(sample.images, orders, strict=True)), sample.header


def _header(settings: Prediction, found: Header, labels: tuple[str, ...]) -> Header:
    form = settings.submission_format
    header = found if form in (None, found.form) else HEADERS[form]
    if header.form == "image" and len(labels) > 1:
        raise InputError(
            f"A submission with the columns {','.join(header.columns)} has one label, "
            f"and the run has {', '.join(labels)}. Give another --submission-format."
        )
    return header


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())
