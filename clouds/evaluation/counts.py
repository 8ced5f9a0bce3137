"""Counts of an evaluation, image by image (NumPy).

`Tally` keeps a few numbers per image and label, and two histograms of all pixels, so
that memory does not grow with the size of the images. Probabilities are float[B, H, W,
C] in 0..1 and masks {0, 1} [B, H, W, C], all on the truth's grid. Plain masks are
thresholded only, post masks are post-processed.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clouds import schema

BINS = 20
"""Number of equal bins of 0..1 for the probabilities of pixels."""

_LABELS = len(schema.LABELS)
_SETS = 1 << _LABELS


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
    """

    names: list[str]
    score: np.ndarray
    truth: np.ndarray
    plain: np.ndarray
    plain_shared: np.ndarray
    post: np.ndarray
    post_shared: np.ndarray


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
      bins: all pixels, by probability.
      sets: `int64[2**C, 2**C]`, pixels by their set of true labels (bit c is label
        c), then by that of the post-processed masks.
    """

    def __init__(self):
        zeros = np.zeros((_LABELS, BINS), np.int64)
        self.bins = Bins(zeros, zeros.astype(np.float64), zeros)
        self.sets = np.zeros((_SETS, _SETS), np.int64)
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
            sets = _sets(*masks)
            self.sets += sets.sum(axis=1)
            self._names.append(name)
            self._numbers.append((row, *_areas(sets)))

    @property
    def images(self) -> Images:
        """Counts of the images so far."""
        numbers = np.array(self._numbers or np.zeros((0, 6, _LABELS)))
        score, *areas = numbers.transpose(1, 0, 2)
        return Images(self._names, score, *(area.astype(np.int64) for area in areas))


def _sets(*masks):
    """Counts an image's pixels by their sets of labels: int64[truth, plain, post]."""
    bits = 1 << np.arange(_LABELS, dtype=np.uint8)
    shape = (_SETS,) * len(masks)
    codes = np.ravel_multi_index([(mask > 0) @ bits for mask in masks], shape)
    return np.bincount(codes.reshape(-1), minlength=_SETS**3).reshape(shape)


def _areas(sets):
    """Yields the areas of `Images`, from truth on, int64[C] each."""
    has = np.arange(_SETS)[:, None] >> np.arange(_LABELS) & 1
    with_plain, with_post = sets.sum(axis=2), sets.sum(axis=1)
    yield has.T @ with_plain.sum(axis=1)
    for pairs in (with_plain, with_post):
        yield has.T @ pairs.sum(axis=0)
        yield np.einsum("tp,tc,pc->c", pairs, has, has)
