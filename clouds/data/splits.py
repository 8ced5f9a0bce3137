"""Which image goes where: training, validation or fold, then shard and order."""

import hashlib
from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from clouds.config.data import Records
from clouds.data import sources, split_files
from clouds.data.manifest import Manifest, Shard
from clouds.data.masks.table import Table
from clouds.errors import InputError
from clouds.schema import CLOUDS, RGB, Bands
from clouds.text import counted

_SHARD_BYTES = 100e6
_BYTES_PER_PIXEL = 0.5
"""Of a JPEG; other bands are stored without loss."""
_PARTS = 20


def folds(
    present: np.ndarray,
    count: int,
    *,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> np.ndarray:
    """Assigns images to folds, stratified by their set of labels.

    Images in random order, sorted by their set of labels, are dealt to the folds in
    turn: the sizes of the folds, and their shares of each set, differ by at most one
    image. With groups, scikit-learn's `StratifiedGroupKFold` keeps each together, and
    the folds are as even as the groups allow.

    Args:
      present: bool[N, C], whether an image has a label.
      count: number of folds, from 2 to N.
      seed: random seed of the order.
      groups: group of each image; images of a group are in one fold.

    Returns:
      int64[N], the fold of each image, from 0 to count - 1.

    Raises:
      InputError: there are fewer images or groups than folds, or fewer than 2 folds.
    """
    if groups is not None:
        return _grouped_folds(present, count, seed, groups)
    if not 2 <= count <= len(present):
        raise InputError(
            "The number of folds must be from 2 to the number of images. Received: "
            f"{count}, with {counted(len(present), 'image')}."
        )
    assigned = np.empty(len(present), np.int64)
    assigned[_by_label_set(present, seed)] = np.arange(len(present)) % count
    return assigned


def holdout(
    present: np.ndarray,
    fraction: float,
    *,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> np.ndarray:
    """Selects images to hold out, stratified by their set of labels.

    Args:
      present: bool[N, C], whether an image has a label.
      fraction: fraction of the images to hold out, in (0, 1).
      seed: random seed.
      groups: group of each image; no group is divided.

    Returns:
      bool[N], True for held-out images: `fraction` of all and of each set of labels,
      within one image; at least one, and not all. With groups it is one of several
      folds of which some hold about `fraction`, so only near it.

    Raises:
      InputError: the fraction is out of range, or there are fewer than 2 images or
        groups.
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
    if groups is not None:
        parts = min(_PARTS, len(set(groups)))
        assigned = _grouped_folds(present, parts, seed, groups)
        return np.isin(assigned, _nearest(np.bincount(assigned), fraction, seed))
    held = min(max(round(fraction * total), 1), total - 1)
    # An image is held out where the line of slope held/total reaches a new integer.
    steps = (np.arange(total + 1) * held + total // 2) // total
    selected = np.empty(total, bool)
    selected[_by_label_set(present, seed)] = np.diff(steps) == 1
    return selected


def plan_shards(
    settings: Records,
    table: Table,
    groups: Sequence[str] | None = None,
    bands: Bands = RGB,
) -> tuple[list, Manifest]:
    """Plans the shards, from settings, names, labels and groups alone.

    Args:
      settings: sizes, split and seed.
      table: the csv, or the images without labels.
      groups: group of each image, if they are to be kept together.
      bands: bands of the images.

    Returns:
      For each shard the indices of its images, int64[N], and the manifest before any
      shard is written.
    """
    members, shards = [], []
    splits = _split(settings, table, groups)
    for split, images in splits.items():
        parts = np.array_split(
            images, _shard_count(settings, split, len(images), bands)
        )
        members += parts
        shards += [
            Shard(f"{split}-{index:05d}-of-{len(parts):05d}.tfrecord", split, len(part))
            for index, part in enumerate(parts)
        ]
    has_val = "val" in splits
    plan = Manifest(
        size=settings.size,
        grid=table.grid,
        truth_size=settings.truth_size or _truth_size(table),
        labels=table.labels,
        decode=settings.decode,
        seed=settings.seed,
        val_fraction=0 if settings.split_file else settings.val_fraction * has_val,
        folds=sum(split.startswith("fold") for split in splits),
        source=sources.identity(settings, table),
        shards=tuple(shards),
        bands=bands,
    )
    if not (groups or settings.split_file):
        return members, plan
    contents = split_files.text(table, members, plan, groups)
    split = {"sha256": hashlib.sha256(contents.encode()).hexdigest()}
    if groups:
        split["group_by"] = settings.group_by
    return members, plan._replace(split=split)


def _truth_size(table: Table) -> tuple[int, int]:
    return CLOUDS.grid if table.labels == CLOUDS.labels else table.grid


def _by_label_set(present: np.ndarray, seed: int) -> np.ndarray:
    """Returns the images in random order, sorted by their set of labels."""
    shuffled = np.random.default_rng(seed).permutation(len(present))
    label_set = present @ (1 << np.arange(present.shape[1]))
    return shuffled[np.argsort(label_set[shuffled], kind="stable")]


def _split(
    settings: Records, table: Table, groups: Sequence[str] | None
) -> dict[str, np.ndarray]:
    """Returns the images of each split, training images in random order."""
    if settings.unlabelled:
        return {"test": np.arange(len(table.images))}
    by_name = np.argsort(table.images)
    present = table.present[by_name]
    groups = groups and [groups[k] for k in by_name]
    if settings.split_file:
        images = [table.images[k] for k in by_name]
        given = np.array(split_files.read(settings.split_file, images))
        # As below: train before val, folds by number.
        ordered = sorted(set(given), key=lambda name: (name == "val", len(name), name))
        splits = {split: by_name[given == split] for split in ordered}
    elif settings.folds:
        assigned = folds(present, settings.folds, seed=settings.seed, groups=groups)
        splits = {f"fold{k}": by_name[assigned == k] for k in range(settings.folds)}
    else:
        held = holdout(
            present, settings.val_fraction, seed=settings.seed, groups=groups
        )
        splits = {"train": by_name[~held], "val": by_name[held]}
    random = np.random.default_rng(settings.seed)
    return {
        split: images if split == "val" else random.permutation(images)
        for split, images in splits.items()
    }


def _grouped_folds(
    present: np.ndarray, count: int, seed: int, groups: Sequence[str]
) -> np.ndarray:
    different = len(set(groups))
    if not 2 <= count <= different:
        raise InputError(
            "With --group-by, the number of folds or splits must be from 2 to the "
            f"number of groups. Received: {max(count, 2)}, with "
            f"{counted(different, 'group')}."
        )
    _, sets, sizes = np.unique(
        present @ (1 << np.arange(present.shape[1])),
        return_inverse=True,
        return_counts=True,
    )
    # Scikit-learn warns of classes with fewer images than folds: rare sets are one.
    sets[sizes[sets] < count] = -1
    if (sets == -1).sum() < count:
        sets[sets == -1] = sizes.argmax()
    folder = StratifiedGroupKFold(count, shuffle=True, random_state=seed)
    assigned = np.empty(len(present), np.int64)
    for fold, (_, held) in enumerate(folder.split(present, sets, groups)):
        assigned[held] = fold
    return assigned


def _nearest(sizes: np.ndarray, fraction: float, seed: int) -> list[int]:
    """Returns parts, not all, that together have about a fraction of the images."""
    target, chosen, held = fraction * sizes.sum(), [], 0
    for part in np.random.default_rng(seed).permutation(len(sizes)):
        is_nearer = abs(held + sizes[part] - target) < abs(held - target)
        if is_nearer and len(chosen) < len(sizes) - 1:
            chosen.append(part)
            held += sizes[part]
    return chosen or [int(sizes.argmin())]


def _shard_count(settings: Records, split: str, images: int, bands: Bands) -> int:
    if settings.shards and split != "val":
        return min(settings.shards, images)
    pixels = settings.size[0] * settings.size[1]
    per_pixel = _BYTES_PER_PIXEL if bands == RGB else bands.bytes_per_pixel
    return min(images, int(-(-images * pixels * per_pixel // _SHARD_BYTES)))
