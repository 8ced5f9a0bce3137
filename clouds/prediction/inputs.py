"""The images to predict, in batches: of files, or of records without masks.

A file that cannot be read or decoded is left out of its batch, and reported with it.
"""

import collections
import concurrent.futures
import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from clouds import schema
from clouds.config.prediction import Prediction
from clouds.config.training import Training
from clouds.data import annotations, image_files, manifest, pipeline, preprocessing
from clouds.errors import InputError
from clouds.runtime import files

_AHEAD = 2


class Batch(NamedTuple):
    """Some images that belong together.

    Attributes:
      names: of B images.
      images: uint8[B, H, W, 3].
      faults: what is wrong with others, by their names.
    """

    names: list[str]
    images: np.ndarray
    faults: dict[str, str]


class Source(NamedTuple):
    """Where images come from.

    Attributes:
      place: the folder, the zip or whatever else it is.
      batches: from a function of a name, whether the image is wanted, to batches of
        these, of the size given, or else of the network's; which images come together
        does not depend on what is wanted.
      shape: height and width of the first image in its file; None where that cannot
        be read, and of records, which keep no file's.
      total: how many images there are.
      names: of all, in order; of records they are not known before.
      orders: from an image to the order of its labels; `schema.LABELS`' if it has
        none.
      checksum: of the names and orders, or of the records.
    """

    place: str
    batches: Callable[..., Iterator[Batch]]
    shape: Callable[[], tuple[int, int] | None]
    total: int
    names: list[str] | None
    orders: dict[str, list[int]]
    checksum: str


def of_records(settings: Prediction, trained: Training) -> Source:
    """The images of records.

    Args:
      settings: which records.
      trained: what the network was trained with.

    Raises:
      InputError: they cannot be read, or hold masks.
    """
    folder = settings.records
    read = manifest.read(folder, labelled=False)

    def batches(wanted: Callable[[str], bool], size=trained.size) -> Iterator[Batch]:
        with pipeline.damage_named(folder, read):
            for batch in pipeline.test_batches(
                folder, read, settings.batch_size, size=size
            ):
                names = [name.decode() for name in batch["name"].numpy()]
                kept = [k for k, name in enumerate(names) if wanted(name)]
                if kept:
                    shown = batch["image"].numpy()[kept]
                    yield Batch([names[k] for k in kept], shown, {})

    checksum = files.checksum(f"{folder}/{manifest.FILE}")
    place = _absolute(folder)
    total = read.examples("test")
    return Source(place, batches, lambda: None, total, None, {}, checksum)


def of_files(settings: Prediction, trained: Training) -> Source:
    """The images of a folder, a zip, a pattern or a list.

    Args:
      settings: which images, in which order.
      trained: what the network was trained with.

    Raises:
      InputError: there are none, or not those that are named.
    """
    found = image_files.find(settings.images)
    sample = settings.sample_submission
    orders = _orders(sample) if sample else {}
    names = list(orders or found)
    files = image_files.pick(found, names, sample, settings.images)
    files = dict(zip(names, files, strict=True))

    def decode(file: tf.Tensor, size: tuple[int, int]) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.device("CPU:0"):
            exact = trained.decode == "exact"
            return preprocessing.decode(image_files.read(file), size, exact=exact)

    def shape() -> tuple[int, int] | None:
        try:
            _, of_file = decode(tf.constant(files[names[0]]), trained.size)
        except tf.errors.OpError:
            return None
        height, width = of_file.numpy().tolist()
        return height, width

    def batches(wanted: Callable[[str], bool], size=trained.size) -> Iterator[Batch]:
        # Traced here: threads that begin together would each trace it.
        traced = tf.function(lambda file: decode(file, size)[0])
        traced = traced.get_concrete_function(tf.TensorSpec([], tf.string))

        def load(name: str) -> np.ndarray | str:
            try:
                return traced(tf.constant(files[name])).numpy()
            except tf.errors.OpError:
                return str(image_files.undecodable(files[name]))

        of_all = (
            names[first : first + settings.batch_size]
            for first in range(0, len(names), settings.batch_size)
        )
        of_wanted = (list(filter(wanted, batch)) for batch in of_all)
        with concurrent.futures.ThreadPoolExecutor() as pool:
            waiting = collections.deque()
            for batch in itertools.chain(filter(None, of_wanted), [None] * _AHEAD):
                waiting.append(batch and (batch, pool.map(load, batch)))
                if len(waiting) > _AHEAD and (first := waiting.popleft()):
                    yield _gathered(*first)

    checksum = hashlib.sha256(json.dumps([names, orders]).encode()).hexdigest()
    place = _absolute(settings.images)
    return Source(place, batches, shape, len(names), names, orders, checksum)


def _gathered(names: list[str], loaded: Iterator) -> Batch:
    loaded = dict(zip(names, loaded, strict=True))
    faults = {name: fault for name, fault in loaded.items() if isinstance(fault, str)}
    names = [name for name in names if name not in faults]
    shown = np.stack([loaded[name] for name in names]) if names else np.empty(0)
    return Batch(names, shown, faults)


def _orders(path: str) -> dict[str, list[int]]:
    """The images of a sample submission, each with the order of its labels."""
    sample = annotations.read(path)
    for name, rows in zip(sample.images, sample.rows, strict=True):
        if rows.max() - rows.min() >= len(schema.LABELS):
            raise InputError(
                "The rows of one image must stand together. Received: those of "
                f"{name} apart, in {path}, rows {rows.min()} and {rows.max()}. "
                "Sort the csv by its first column."
            )
    orders = sample.rows.argsort(axis=1).tolist()
    return dict(zip(sample.images, orders, strict=True))


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())
