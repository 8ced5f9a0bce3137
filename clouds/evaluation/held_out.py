"""Held-out predictions: labelled images, and what runs predict for them.

Runs of one fold are averaged. Runs of several folds each predict the fold that they
were not trained on, so that every image is predicted by runs that have not seen it.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from clouds.data import manifest, pipeline, split_files
from clouds.data.manifest import Manifest
from clouds.errors import InputError
from clouds.runs import network, run_folder
from clouds.runtime import files, progress
from clouds.schema import MaskSpec


class Batch(NamedTuple):
    """Images with their truth and their predictions.

    Attributes:
      names: names of the images.
      images: [B, h, w, K] of the runs' bands, at the network's size.
      masks: uint8[B, h, w, C], the truth at that size.
      truth: uint8[B, H, W, C], the truth on the submission's grid.
      probabilities: float32[B, h, w, C].
      class_scores: float32[B, C] of the class head; None without one.
    """

    names: list[str]
    images: np.ndarray
    masks: np.ndarray
    truth: np.ndarray
    probabilities: np.ndarray
    class_scores: np.ndarray | None = None


@dataclass(frozen=True)
class Part:
    """Runs that are averaged, and the images that they predict.

    Attributes:
      runs: folders of the runs.
      fold: fold that they were not trained on; None if the records have no folds.
      records: manifest, with that fold held out.
    """

    runs: tuple[str, ...]
    fold: int | None
    records: Manifest


@dataclass(frozen=True)
class Predictions:
    """Images of a split, predicted on demand.

    Attributes:
      folder: folder of the records.
      split: `train` or `val`.
      parts: one part, or one per fold.
      batch_size: number of images per batch.
      flips: whether four views are averaged (see `network.load`).
    """

    folder: str
    split: str
    parts: tuple[Part, ...]
    batch_size: int = 16
    flips: bool = False

    @property
    def images(self) -> int:
        """Number of images."""
        return sum(part.records.examples(self.split) for part in self.parts)

    @property
    def runs(self) -> tuple[str, ...]:
        """Folders of all runs."""
        return tuple(folder for part in self.parts for folder in part.runs)

    @property
    def spec(self) -> MaskSpec:
        """Labels and grid of the masks."""
        return self.parts[0].records.spec

    @property
    def truth_size(self) -> tuple[int, int]:
        """Height and width of the truth."""
        return self.spec.grid

    @functools.cached_property
    def groups(self) -> dict[str, str] | None:
        """Group of each image by name; None if the records have no groups."""
        return split_files.read_groups(self.folder, self.parts[0].records)

    @functools.cached_property
    def facts(self) -> dict:
        """Identity of the images and runs, to be stored with results."""
        return {
            "records": self.folder,
            "sha256": files.checksum(f"{self.folder}/{manifest.FILE}"),
            "split": self.split,
            "folds": [part.fold for part in self.parts],
            "images": self.images,
            "runs": list(self.runs),
            "weights": [run_folder.weights_checksum(folder) for folder in self.runs],
            "flips": self.flips,
            "class_head": network.has_class_head(self.runs),
            **self._grouping,
        }

    @property
    def _grouping(self) -> dict[str, str]:
        split = self.parts[0].records.split or {}
        return {name: split[name] for name in ("group_by",) if name in split}

    def batches(self, title: str) -> Iterator[Batch]:
        """Predicts all images, in the records' order.

        Args:
          title: title of the progress bar.

        Yields:
          Batches; the last one of each part may be smaller.

        Raises:
          InputError: a run or a shard cannot be read, or a probability is not from 0
            to 1.
        """
        with progress.bar(desc=title, unit="image", total=self.images) as bar:
            for batch in self._predict(pipeline.evaluation_batches):
                yield batch
                bar.update(len(batch.names))

    def pick(self, names: Sequence[str]) -> Iterator[Batch]:
        """Predicts some images, in the records' order.

        Args:
          names: names of the images.

        Raises:
          InputError: as for `batches`.
        """
        yield from self._predict(functools.partial(pipeline.named_batches, names=names))

    def truths(self) -> Iterator[tf.Tensor]:
        """Yields the truth alone, uint8[B, H, W, C], in the same batches."""
        for part in self.parts:
            yield from pipeline.truth_batches(
                self.folder, part.records, self.split, self.batch_size
            )

    def _predict(self, read: Callable[..., tf.data.Dataset]) -> Iterator[Batch]:
        for part, model in zip(self.parts, self._models, strict=True):
            options = {"batch_size": self.batch_size, "size": model.input_shape[1:3]}
            batches = read(self.folder, part.records, self.split, **options)
            with pipeline.naming_damaged_shards(self.folder, part.records):
                for fields in batches.as_numpy_iterator():
                    yield _predict_batch(fields, model, part)

    @functools.cached_property
    def _models(self) -> list[keras.Model]:
        # Before loading: results must not claim the weights of a later training.
        weights = self.facts["weights"]
        models = [network.load(part.runs, flips=self.flips) for part in self.parts]
        network.check_unchanged(self.runs, weights)
        return models


def load(
    runs: Sequence[str],
    records: str,
    *,
    split: str = "val",
    batch_size: int = 16,
    flips: bool = False,
) -> Predictions:
    """Matches runs with the images that they predict.

    Args:
      runs: folders of the runs.
      records: folder of the records.
      split: split of the images; with records in folds, that of the runs' folds.
      batch_size: number of images per batch.
      flips: whether four views are averaged (see `network.load`).

    Raises:
      InputError: runs or records cannot be read or do not match, or the split has no
        images.
    """
    trained = network.settings(runs)
    stored = manifest.load(records)
    if stored and stored.labels != trained.labels:
        raise InputError(
            f"The records in '{records}' must have the labels of {runs[0]}, "
            f"{', '.join(trained.labels)}. Received: {', '.join(stored.labels)}. Make "
            f"them with --labels {','.join(trained.labels)}."
        )
    if stored and stored.bands != trained.bands:
        raise InputError(
            f"The records in '{records}' must have the images of {runs[0]}, of "
            f"{trained.bands}. Received: {stored.bands}. Make them with the same "
            "--bands and --band-names."
        )
    # Runs of folds can also be evaluated on other records, without folds.
    in_folds = bool(stored and stored.folds)
    by_fold = {}
    for folder in runs:
        fold = run_folder.settings(folder).fold if in_folds else None
        if in_folds and fold is None:
            raise InputError(
                f"'{folder}' was trained without --fold, and '{records}' has "
                f"{stored.folds} folds, so the images it has not seen are unknown. "
                "Give other records, or runs of folds."
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
    predictions = Predictions(records, split, parts, batch_size, flips)
    if not predictions.images:
        raise InputError(
            f"The {split} split of '{records}' has no images. Give another --split, or "
            "other records."
        )
    return predictions


def _predict_batch(fields: dict, model: keras.Model, part: Part) -> Batch:
    names = [name.decode() for name in fields["name"]]
    probabilities, class_scores = network.predict(model, fields["image"])
    # False for NaN.
    in_range = (probabilities >= 0) & (probabilities <= 1)
    if not in_range.all():
        first = tuple(np.argwhere(~in_range)[0])
        raise InputError(
            f"{', '.join(part.runs)} predicted a probability of {probabilities[first]} "
            f"for {part.records.labels[first[-1]]} in {names[first[0]]}. The weights "
            "are damaged, or the precision is too low for them: train again."
        )
    return Batch(
        names,
        fields["image"],
        fields["masks"],
        fields["truth"],
        probabilities,
        class_scores,
    )
