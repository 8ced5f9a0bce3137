"""Labelled images, and what runs predict of them: what is evaluated and tuned on.

Runs of one fold are averaged. Runs of several folds each predict the fold that they
were not trained on, so that every image is predicted by runs that have not seen it,
and all are judged together.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from clouds import schema
from clouds.data import manifest, pipeline
from clouds.data.manifest import Manifest
from clouds.errors import InputError
from clouds.runs import network as run_network
from clouds.runs import run_folder
from clouds.runtime import files, progress


class Batch(NamedTuple):
    """Some images of a trial.

    Attributes:
      names: of the images.
      images: uint8[B, h, w, 3], at the network's size.
      masks: uint8[B, h, w, C], the truth at that size.
      truth: uint8[B, H, W, C], the truth on the submission's grid.
      probabilities: float32[B, h, w, C].
    """

    names: list[str]
    images: np.ndarray
    masks: np.ndarray
    truth: np.ndarray
    probabilities: np.ndarray


@dataclass(frozen=True)
class Part:
    """Runs that are averaged, and what they predict.

    Attributes:
      runs: their folders.
      fold: that they were not trained on; None where the records have no folds.
      records: the manifest, that fold held out.
    """

    runs: tuple[str, ...]
    fold: int | None
    records: Manifest


@dataclass(frozen=True)
class Trial:
    """Images of a split, and the runs that predict them.

    Attributes:
      folder: of the records.
      split: `train` or `val`.
      parts: one, or one a fold.
      batch_size: images a step.
      flips: whether four views are averaged (see `ensemble.load`).
    """

    folder: str
    split: str
    parts: tuple[Part, ...]
    batch_size: int = 16
    flips: bool = False

    @property
    def images(self) -> int:
        """How many images there are."""
        return sum(part.records.examples(self.split) for part in self.parts)

    @property
    def runs(self) -> tuple[str, ...]:
        """The folders of all runs."""
        return tuple(folder for part in self.parts for folder in part.runs)

    @property
    def truth_size(self) -> tuple[int, int]:
        """Height and width of the truth."""
        return self.parts[0].records.truth_size

    @functools.cached_property
    def facts(self) -> dict:
        """Which images these are, to be kept with what is found on them."""
        return {
            "records": self.folder,
            "sha256": files.checksum(f"{self.folder}/{manifest.FILE}"),
            "split": self.split,
            "folds": [part.fold for part in self.parts],
            "images": self.images,
            "runs": list(self.runs),
            "weights": [run_folder.weights_checksum(folder) for folder in self.runs],
            "flips": self.flips,
        }

    def batches(self, title: str) -> Iterator[Batch]:
        """Predicts one batch after another, in the records' order.

        Args:
          title: of the progress bar.

        Yields:
          Batches, the last of each part maybe smaller.

        Raises:
          InputError: a run or a shard cannot be read, or a probability is no number
            from 0 to 1.
        """
        with progress.bar(desc=title, unit="image", total=self.images) as bar:
            for part, network in zip(self.parts, self._networks, strict=True):
                batches = pipeline.evaluation_batches(
                    self.folder,
                    part.records,
                    self.split,
                    self.batch_size,
                    size=network.input_shape[1:3],
                )
                with pipeline.damage_named(self.folder, part.records):
                    for fields in batches.as_numpy_iterator():
                        yield _predicted(fields, network, part)
                        bar.update(len(fields["name"]))

    def pick(self, names: Sequence[str]) -> Iterator[Batch]:
        """Predicts some images only.

        Args:
          names: of the images.

        Yields:
          Batches, in the records' order.

        Raises:
          InputError: as `batches`.
        """
        for part, network in zip(self.parts, self._networks, strict=True):
            batches = pipeline.named_batches(
                self.folder,
                part.records,
                self.split,
                names,
                self.batch_size,
                size=network.input_shape[1:3],
            )
            with pipeline.damage_named(self.folder, part.records):
                for fields in batches.as_numpy_iterator():
                    yield _predicted(fields, network, part)

    def truths(self) -> Iterator[tf.Tensor]:
        """The truth alone, uint8[B, H, W, C], in the same batches."""
        for part in self.parts:
            yield from pipeline.truth_batches(
                self.folder, part.records, self.split, self.batch_size
            )

    @functools.cached_property
    def _networks(self) -> list[keras.Model]:
        return [run_network.load(part.runs, flips=self.flips) for part in self.parts]


def of(
    runs: Sequence[str],
    records: str,
    *,
    split: str = "val",
    batch_size: int = 16,
    flips: bool = False,
) -> Trial:
    """Finds which of the runs predicts which images.

    Args:
      runs: their folders.
      records: folder of the records.
      split: whose images; of records in folds, those of the runs' own.
      batch_size: images a step.
      flips: whether four views are averaged (see `ensemble.load`).

    Returns:
      The trial.

    Raises:
      InputError: runs or records cannot be read or do not go together, or the split
        has no images.
    """
    run_network.settings(runs)
    there = manifest.load(records)
    # Runs of folds can also be measured on other records, without folds.
    in_folds = bool(there and there.folds)
    by_fold = {}
    for folder in runs:
        fold = run_folder.settings(folder).fold if in_folds else None
        if in_folds and fold is None:
            raise InputError(
                f"Runs must be trained on a fold of the records. Received: '{folder}', "
                f"trained without --fold, and '{records}', made in {there.folds} "
                "folds. What it has not seen cannot be told; give other records."
            )
        by_fold.setdefault(fold, []).append(folder)
    if len(by_fold) > 1 and split != "val":
        raise InputError(
            f"--split must be val with runs of several folds. Received: {split}, of "
            f"folds {', '.join(map(str, by_fold))}. Give runs of one fold."
        )
    parts = tuple(
        Part(tuple(folders), fold, manifest.read(records, fold=fold))
        for fold, folders in by_fold.items()
    )
    trial = Trial(records, split, parts, batch_size, flips)
    if not trial.images:
        raise InputError(
            f"The split must hold images. Received: {split}, of '{records}', without "
            "any. Give another --split, or other records."
        )
    return trial


def _predicted(fields: dict, network: keras.Model, part: Part) -> Batch:
    names = [name.decode() for name in fields["name"]]
    probabilities = np.asarray(network.predict_on_batch(fields["image"]))
    # Of NaN, no comparison holds.
    if not (probabilities.min() >= 0 and probabilities.max() <= 1):
        in_range = (probabilities >= 0) & (probabilities <= 1)
        first = tuple(np.argwhere(~in_range)[0])
        raise InputError(
            "Probabilities must be numbers from 0 to 1. Received: "
            f"{probabilities[first]}, for {schema.LABELS[first[-1]]} of "
            f"{names[first[0]]}, from {', '.join(part.runs)}. The weights are damaged, "
            "or the precision is too low for them: train again."
        )
    masks, truth = fields["masks"], fields["truth"]
    return Batch(names, fields["image"], masks, truth, probabilities)
