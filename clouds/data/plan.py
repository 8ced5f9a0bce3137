"""Which image goes to which shard: the split, and the order within it."""

import hashlib
from pathlib import Path

import numpy as np

from clouds import schema
from clouds.config.data import Records
from clouds.data import annotations, splits
from clouds.data.manifest import Manifest, Shard
from clouds.runtime import files

_SHARD_BYTES = 100e6
_BYTES_A_PIXEL = 0.5


def make(settings: Records, source: annotations.Table) -> tuple[list, Manifest]:
    """Plans the shards; the plan follows from settings, names and labels alone.

    Args:
      settings: sizes, split and seed.
      source: the csv, or the images without labels.

    Returns:
      For each shard the indices of its images, int64[N], and the manifest as it is
      before any shard is written.
    """
    order, shards = [], []
    members = _splits(settings, source)
    for split, of_split in members.items():
        parts = np.array_split(of_split, _shard_count(settings, split, len(of_split)))
        order += parts
        shards += [
            Shard(f"{split}-{index:05d}-of-{len(parts):05d}.tfrecord", split, len(part))
            for index, part in enumerate(parts)
        ]
    return order, Manifest(
        size=settings.size,
        grid=settings.grid,
        truth_size=schema.SUBMISSION_SIZE,
        labels=schema.LABELS,
        decode=settings.decode,
        seed=settings.seed,
        val_fraction=settings.val_fraction if "val" in members else 0,
        folds=settings.folds,
        source={"name": Path(source.path).name, "sha256": _checksum(settings, source)},
        shards=tuple(shards),
    )


def _checksum(settings: Records, source: annotations.Table) -> str:
    if settings.csv:
        return files.checksum(settings.csv)
    return hashlib.sha256("\n".join(source.images).encode()).hexdigest()


def _splits(
    settings: Records, source: annotations.Table
) -> dict[str, np.ndarray]:
    """The images of each split; those to train on in random order."""
    if settings.unlabelled:
        return {"test": np.arange(len(source.images))}
    by_name = np.argsort(source.images)
    present = source.present[by_name]
    if settings.folds:
        folds = splits.folds(present, settings.folds, seed=settings.seed)
        members = {f"fold{k}": by_name[folds == k] for k in range(settings.folds)}
    else:
        held = splits.holdout(present, settings.val_fraction, seed=settings.seed)
        members = {"train": by_name[~held], "val": by_name[held]}
    random = np.random.default_rng(settings.seed)
    return {
        split: images if split == "val" else random.permutation(images)
        for split, images in members.items()
    }


def _shard_count(settings: Records, split: str, images: int) -> int:
    if settings.shards and split != "val":
        return min(settings.shards, images)
    pixels = settings.size[0] * settings.size[1]
    return min(images, int(-(-images * pixels * _BYTES_A_PIXEL // _SHARD_BYTES)))
