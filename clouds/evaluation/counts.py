"""What an evaluation counts, image by image (NumPy).

`Tally` adds up batches and keeps of each image a few numbers a label, and of all
pixels together two histograms, so that its memory grows by these few numbers only.
Probabilities are float[B, H, W, C] in 0..1 and masks {0, 1} [B, H, W, C], all on the
truth's grid. Plain masks are what lies above the thresholds, post what the
post-process leaves of them.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from clouds import schema
from clouds.errors import InputError

BINS = 20
"""Equal parts of 0..1 that pixels are put in by their probability."""

_LABELS = len(schema.LABELS)
_SETS = 1 << _LABELS


class Images(NamedTuple):
    """A few numbers of N images.

    Attributes:
      names: of the images.
      score: float64[N, C], how sure the label is in the image.
      truth: int64[N, C], the pixels of the truth.
      plain: int64[N, C], those of the plain mask.
      plain_shared: int64[N, C], those of it that are in the truth.
      post: int64[N, C], those of the post-processed mask.
      post_shared: int64[N, C], those of it that are in the truth.
    """

    names: list[str]
    score: np.ndarray
    truth: np.ndarray
    plain: np.ndarray
    plain_shared: np.ndarray
    post: np.ndarray
    post_shared: np.ndarray


class Bins(NamedTuple):
    """Pixels, or images, by probability, in equal parts of 0..1; the last has its end.

    Attributes:
      count: int64[C, K], how many.
      total: float64[C, K], the sum of their probabilities.
      present: int64[C, K], how many are of the label.
    """

    count: np.ndarray
    total: np.ndarray
    present: np.ndarray


def bins(probabilities: np.ndarray, present: np.ndarray, count: int) -> Bins:
    """Puts probabilities into equal parts of 0..1.

    Args:
      probabilities: float[..., C] in 0..1.
      present: {0, 1} [..., C], what they should have told.
      count: K, of the parts.

    Returns:
      The bins.
    """
    labels = probabilities.shape[-1]
    place = np.minimum((probabilities * count).astype(np.int64), count - 1)
    place += count * np.arange(labels)
    number = labels * count
    counts = np.bincount((2 * place + (present > 0)).reshape(-1), minlength=2 * number)
    absent, there = counts.reshape(labels, count, 2).transpose(2, 0, 1)
    total = np.bincount(place.reshape(-1), probabilities.reshape(-1), number)
    return Bins(absent + there, total.reshape(labels, count), there)


class Tally:
    """Counts batch after batch.

    Attributes:
      bins: of all pixels, by probability.
      sets: `int64[2**C, 2**C]`, pixels by the labels that are true there (bit c is
        label c), then by those of the post-processed masks.
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
          names: of its images.
          score: float[B, C], how sure the labels are in them.
          probabilities: float[B, H, W, C].
          plain: {0, 1} [B, H, W, C].
          post: {0, 1} [B, H, W, C].
          truth: {0, 1} [B, H, W, C].

        Raises:
          InputError: the arrays are not of one shape [B, H, W, C].
        """
        _check(names, probabilities, plain, post, truth)
        added = bins(probabilities, truth, BINS)
        pairs = zip(self.bins, added, strict=True)
        self.bins = Bins(*(old + new for old, new in pairs))
        for name, row, *masks in zip(names, score, truth, plain, post, strict=True):
            sets = _sets(*masks)
            self.sets += sets.sum(axis=1)
            self._names.append(name)
            self._numbers.append((row, *_areas(sets)))

    @property
    def images(self) -> Images:
        """The numbers of the images so far."""
        empty = np.zeros((0, 6, _LABELS))
        numbers = np.array(self._numbers) if self._numbers else empty
        score, *areas = numbers.transpose(1, 0, 2)
        return Images(self._names, score, *(area.astype(np.int64) for area in areas))


def _sets(truth, plain, post):
    """Counts an image's pixels by their sets of labels: int64[truth, plain, post]."""
    codes = np.zeros(truth.shape[:2], np.int64)
    for masks in (truth, plain, post):
        for label in reversed(range(_LABELS)):
            codes = 2 * codes + (masks[..., label] > 0)
    counts = np.bincount(codes.reshape(-1), minlength=_SETS**3)
    return counts.reshape(_SETS, _SETS, _SETS)


def _areas(sets):
    has = np.arange(_SETS)[:, None] >> np.arange(_LABELS) & 1
    with_plain, with_post = sets.sum(axis=2), sets.sum(axis=1)
    yield has.T @ with_plain.sum(axis=1)
    for pairs in (with_plain, with_post):
        yield has.T @ pairs.sum(axis=0)
        yield np.einsum("tp,tc,pc->c", pairs, has, has)


def _check(names, probabilities, *masks):
    shapes = {array.shape for array in (probabilities, *masks)}
    expected = len(names), *probabilities.shape[1:3], _LABELS
    if probabilities.ndim != 4 or shapes != {expected}:
        received = ", ".join(map(str, (probabilities.shape, *(m.shape for m in masks))))
        raise InputError(
            "Probabilities, masks and truth must be of one shape [B, H, W, "
            f"{_LABELS}], B that of the names. Received: {received}, and {len(names)} "
            "names, in tally.Tally.add. Give one image as image[None]."
        )
