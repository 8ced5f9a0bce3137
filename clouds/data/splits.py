"""Divides images into folds that hold each set of labels in equal shares."""

import numpy as np

from clouds.errors import InputError
from clouds.text import counted


def folds(present: np.ndarray, count: int, *, seed: int = 0) -> np.ndarray:
    """Assigns images to folds, stratified by the set of labels present.

    Images are put in random order, sorted by their set of labels, and dealt out
    like cards: fold sizes, and the folds' shares of every set, differ by one
    image at most.

    Args:
      present: bool[N, C], which labels image n has.
      count: number of folds, from 2 to N.
      seed: of the random order.

    Returns:
      int64[N], the fold of each image, from 0 to count - 1.

    Raises:
      InputError: there are fewer images than folds, or fewer than 2 folds.
    """
    if not 2 <= count <= len(present):
        raise InputError(
            "The number of folds must be from 2 to that of the images. Received: "
            f"{count}, of {counted(len(present), 'image')}. Ask for other folds or "
            "give more images."
        )
    assigned = np.empty(len(present), np.int64)
    assigned[_dealt(present, seed)] = np.arange(len(present)) % count
    return assigned


def holdout(present: np.ndarray, fraction: float, *, seed: int = 0) -> np.ndarray:
    """Holds out a fraction of the images, stratified by the set of labels.

    Args:
      present: bool[N, C], which labels image n has.
      fraction: of the images that is held out, in (0, 1).
      seed: of the random order.

    Returns:
      bool[N], True for the images held out: `fraction` of all, and of each set
      of labels, to within one image; one at least, and not all.

    Raises:
      InputError: the fraction is out of range, or there are fewer than 2 images.
    """
    if not 0 < fraction < 1:
        raise InputError(
            "The held-out fraction must be above 0 and below 1. "
            f"Received: {fraction}. The notebook holds out 0.2."
        )
    total = len(present)
    if total < 2:
        raise InputError(
            f"A split needs 2 images at least. Received: {total}. Give more images."
        )
    held = min(max(round(fraction * total), 1), total - 1)
    # An image is held out where the line of slope held/total reaches a new integer.
    steps = (np.arange(total + 1) * held + total // 2) // total
    chosen = np.empty(total, bool)
    chosen[_dealt(present, seed)] = np.diff(steps) == 1
    return chosen


def _dealt(present: np.ndarray, seed: int) -> np.ndarray:
    """The order of the cards: random, then sorted by the set of labels."""
    shuffled = np.random.default_rng(seed).permutation(len(present))
    label_set = present @ (1 << np.arange(present.shape[1]))
    return shuffled[np.argsort(label_set[shuffled], kind="stable")]
