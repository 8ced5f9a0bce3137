"""Counts of an evaluation, image by image (NumPy).

`Tally` keeps a few numbers per image and label, and two histograms of all pixels, so
that memory does not grow with the size of the images. Probabilities are float[B, H, W,
C] in 0..1 and masks {0, 1} [B, H, W, C], all on the truth's grid. Plain masks are
thresholded only, post masks are post-processed.
"""

import collections
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clouds.schema import CLOUDS

BINS = 20
"""Number of equal bins of 0..1 for the probabilities of pixels."""

_MOST_SETS = 1 << 10
"""Number of pairs of sets of labels up to which they are counted in an array."""


class Images(NamedTuple):
    """Counts of N images. Shared pixels are also in the truth.

    Attributes:
      names: names of the images.
      score: float64[N, C], confidence that the label is present.
      truth: int64[N, C], pixels of the truth.
      plain: int64[N, C], pixels of the plain mask.
      plain_shared: int64[N, C], shared pixels of the plain mask.
      post: int64[N, C], pixels of the post-processed mask.
      post_shared: int64[N, C], shared pixels of the post-processed mask.
      groups: group of each image; None without groups.
    """

    names: list[str]
    score: np.ndarray
    truth: np.ndarray
    plain: np.ndarray
    plain_shared: np.ndarray
    post: np.ndarray
    post_shared: np.ndarray
    groups: list[str] | None = None


class Bins(NamedTuple):
    """Pixels, or images, in equal bins of probability; the last bin includes 1.

    Attributes:
      count: int64[C, K], number of pixels or images.
      total: float64[C, K], sum of their probabilities.
      present: int64[C, K], number of those with the label.
    """

    count: np.ndarray
    total: np.ndarray
    present: np.ndarray


def bins(probabilities: np.ndarray, present: np.ndarray, count: int) -> Bins:
    """Puts probabilities into equal bins of 0..1.

    Args:
      probabilities: float[..., C] in 0..1.
      present: {0, 1} [..., C], the truth.
      count: K, number of bins.
    """
    labels = probabilities.shape[-1]
    place = np.minimum((probabilities * count).astype(np.int64), count - 1)
    place += count * np.arange(labels)
    size = labels * count
    counts = np.bincount((2 * place + (present > 0)).reshape(-1), minlength=2 * size)
    negative, positive = counts.reshape(labels, count, 2).transpose(2, 0, 1)
    total = np.bincount(place.reshape(-1), probabilities.reshape(-1), size)
    return Bins(negative + positive, total.reshape(labels, count), positive)


class Tally:
    """Counts batch after batch.

    Attributes:
      labels: names of the labels.
      bins: all pixels, by probability.
      sets: pixels by their set of true labels, bit c is label c, and that of the
        post-processed masks.
    """

    def __init__(self, labels: Sequence[str] = CLOUDS.labels):
        self.labels = tuple(labels)
        zeros = np.zeros((len(labels), BINS), np.int64)
        self.bins = Bins(zeros, zeros.astype(np.float64), zeros)
        self.sets = collections.Counter()
        self._names = []
        self._numbers = []

    def add(
        self,
        names: Sequence[str],
        score: np.ndarray,
        probabilities: np.ndarray,
        plain: np.ndarray,
        post: np.ndarray,
        truth: np.ndarray,
    ) -> None:
        """Counts a batch.

        Args:
          names: names of its images.
          score: float[B, C], confidence that the labels are present.
          probabilities: float[B, H, W, C].
          plain: {0, 1} [B, H, W, C].
          post: {0, 1} [B, H, W, C].
          truth: {0, 1} [B, H, W, C].
        """
        added = bins(probabilities, truth, BINS)
        self.bins = Bins(*map(np.add, self.bins, added))
        for name, row, *masks in zip(names, score, truth, plain, post, strict=True):
            true, *predicted = masks = [mask > 0 for mask in masks]
            self.sets.update(_pairs_of_sets(true, predicted[1]))
            self._names.append(name)
            areas = ((mask, true & mask) for mask in predicted)
            areas = [true, *itertools.chain.from_iterable(areas)]
            self._numbers.append((row, *(area.sum(axis=(0, 1)) for area in areas)))

    @property
    def images(self) -> Images:
        """Counts of the images so far."""
        numbers = np.array(self._numbers or np.zeros((0, 6, len(self.labels))))
        score, *areas = numbers.transpose(1, 0, 2)
        return Images(self._names, score, *(area.astype(np.int64) for area in areas))


def _pairs_of_sets(truth: np.ndarray, post: np.ndarray) -> dict[tuple, int]:
    """Counts pixels by their sets of labels in two masks, bool[H, W, C]."""
    labels = truth.shape[-1]
    bits = (1 << np.arange(labels)).astype(np.uint64)
    codes = ((truth @ bits << np.uint64(labels)) | post @ bits).reshape(-1)
    if 1 << 2 * labels <= _MOST_SETS:
        counts = np.bincount(codes.astype(np.int64))
        codes = np.flatnonzero(counts)
        counts = counts[codes]
    else:
        codes, counts = np.unique(codes, return_counts=True)
    pairs = (divmod(code, 1 << labels) for code in codes.tolist())
    return dict(zip(pairs, counts.tolist(), strict=True))
