"""Which image goes where: training, validation or fold, then shard and order."""

import hashlib
from pathlib import Path

import numpy as np
import tensorflow as tf

from clouds.config.data import Records
from clouds.data.manifest import Manifest, Shard
from clouds.data.masks.table import Table
from clouds.errors import InputError
from clouds.runtime import files
from clouds.schema import CLOUDS
from clouds.text import counted

_SHARD_BYTES = 100e6
_BYTES_PER_PIXEL = 0.5


def folds(present: np.ndarray, count: int, *, seed: int = 0) -> np.ndarray:
    """Assigns images to folds, stratified by their set of labels.

    Images in random order, sorted by their set of labels, are dealt to the folds in
    turn: the sizes of the folds, and their shares of each set, differ by at most one
    image.

    Args:
      present: bool[N, C], whether an image has a label.
      count: number of folds, from 2 to N.
      seed: random seed of the order.

    Returns:
      int64[N], the fold of each image, from 0 to count - 1.

    Raises:
      InputError: there are fewer images than folds, or fewer than 2 folds.
    """
    if not 2 <= count <= len(present):
        raise InputError(
            "The number of folds must be from 2 to the number of images. Received: "
            f"{count}, with {counted(len(present), 'image')}."
        )
    assigned = np.empty(len(present), np.int64)
    assigned[_by_label_set(present, seed)] = np.arange(len(present)) % count
    return assigned


def holdout(present: np.ndarray, fraction: float, *, seed: int = 0) -> np.ndarray:
    """Selects images to hold out, stratified by their set of labels.

    Args:
      present: bool[N, C], whether an image has a label.
      fraction: fraction of the images to hold out, in (0, 1).
      seed: random seed.

    Returns:
      bool[N], True for held-out images: `fraction` of all and of each set of labels,
      within one image; at least one, and not all.

    Raises:
      InputError: the fraction is out of range, or there are fewer than 2 images.
    """
    total = len(present)
    if not 0 < fraction < 1:
        raise InputError(
            "The held-out fraction must be above 0 and below 1. "
            f"Received: {fraction}. The notebook holds out 0.2."
        )
    if total < 2:
        raise InputError(
            f"A split needs at least 2 images. Received: {total}. Give more images."
        )
    held = min(max(round(fraction * total), 1), total - 1)
    # An image is held out where the line of slope held/total reaches a new integer.
    steps = (np.arange(total + 1) * held + total // 2) // total
    selected = np.empty(total, bool)
    selected[_by_label_set(present, seed)] = np.diff(steps) == 1
    return selected


def plan_shards(settings: Records, table: Table) -> tuple[list, Manifest]:
    """Plans the shards, from settings, names and labels alone.

    Args:
      settings: sizes, split and seed.
      table: the csv, or the images without labels.

    Returns:
      For each shard the indices of its images, int64[N], and the manifest before any
      shard is written.
    """
    members, shards = [], []
    splits = _split(settings, table)
    for split, images in splits.items():
        parts = np.array_split(images, _shard_count(settings, split, len(images)))
        members += parts
        shards += [
            Shard(f"{split}-{index:05d}-of-{len(parts):05d}.tfrecord", split, len(part))
            for index, part in enumerate(parts)
        ]
    if settings.csv:
        sha256 = _checksum(settings.csv)
    else:
        sha256 = hashlib.sha256("\n".join(table.images).encode()).hexdigest()
    return members, Manifest(
        size=settings.size,
        grid=table.grid,
        truth_size=settings.truth_size or _truth_size(table),
        labels=table.labels,
        decode=settings.decode,
        seed=settings.seed,
        val_fraction=settings.val_fraction if "val" in splits else 0,
        folds=settings.folds,
        source={"name": Path(table.path).name, "sha256": sha256},
        shards=tuple(shards),
    )


def _checksum(path: str) -> str:
    """Returns the SHA-256 of a file, or of the files of a folder and their names."""
    if not tf.io.gfile.isdir(path):
        return files.checksum(path)
    names = sorted(tf.io.gfile.listdir(path))
    lines = (f"{name} {files.checksum(f'{path}/{name}')}" for name in names)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _truth_size(table: Table) -> tuple[int, int]:
    return CLOUDS.grid if table.labels == CLOUDS.labels else table.grid


def _by_label_set(present: np.ndarray, seed: int) -> np.ndarray:
    """Returns the images in random order, sorted by their set of labels."""
    shuffled = np.random.default_rng(seed).permutation(len(present))
    label_set = present @ (1 << np.arange(present.shape[1]))
    return shuffled[np.argsort(label_set[shuffled], kind="stable")]


def _split(settings: Records, table: Table) -> dict[str, np.ndarray]:
    """Returns the images of each split, training images in random order."""
    if settings.unlabelled:
        return {"test": np.arange(len(table.images))}
    by_name = np.argsort(table.images)
    present = table.present[by_name]
    if settings.folds:
        assigned = folds(present, settings.folds, seed=settings.seed)
        splits = {f"fold{k}": by_name[assigned == k] for k in range(settings.folds)}
    else:
        held = holdout(present, settings.val_fraction, seed=settings.seed)
        splits = {"train": by_name[~held], "val": by_name[held]}
    random = np.random.default_rng(settings.seed)
    return {
        split: images if split == "val" else random.permutation(images)
        for split, images in splits.items()
    }


def _shard_count(settings: Records, split: str, images: int) -> int:
    if settings.shards and split != "val":
        return min(settings.shards, images)
    pixels = settings.size[0] * settings.size[1]
    return min(images, int(-(-images * pixels * _BYTES_PER_PIXEL // _SHARD_BYTES)))
