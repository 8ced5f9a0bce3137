"""Figures of an evaluation, from what was counted of its images (NumPy).

N counts images, F weightings of them: all alike for the figures themselves, and one a
resample for their intervals. A figure that is not defined, such as the recall of a
label that no image has, is NaN.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from clouds import schema
from clouds.evaluation.counts import Bins, Images

RESAMPLES = 1000
INTERVAL = 0.95

_AT_ONCE = 4_000_000
"""Weights of images in memory at a time."""


def dice(truth: np.ndarray, predicted: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """The competition's Dice of masks from their areas; 1 where both are empty.

    Args:
      truth: int[...], pixels of the truth.
      predicted: int[...], those of the prediction.
      shared: int[...], those in both.

    Returns:
      float64[...].
    """
    total = truth + predicted
    return np.where(total > 0, 2 * shared / np.maximum(total, 1), 1.0)


def figures(images: Images, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Works out the figures of each label.

    Args:
      images: N of them.
      weights: float[F, N].

    Returns:
      float64[F, C] by name, those of masks once with `_plain` and once with `_post`:
      `present`, the share of images that have the label; `dice`, the competition's;
      `dice_non_empty`, the same of images that have the label; `empty_found`, of
      images without the label the share with an empty mask; `empty_right`, of images
      with an empty mask the share without the label; `iou`, `precision` and
      `recall`, of the pixels of all images together; `average_precision` of the
      label's presence by its score.
    """
    absent = images.truth == 0
    found = {
        "present": _mean(weights, ~absent),
        "average_precision": average_precision(~absent, images.score, weights),
    }
    for kind in ("plain", "post"):
        area, shared = getattr(images, kind), getattr(images, f"{kind}_shared")
        scores, empty = dice(images.truth, area, shared), area == 0
        hit, drawn = weights @ shared, weights @ area
        truth = weights @ images.truth
        of_masks = {
            "dice": _mean(weights, scores),
            "dice_non_empty": _mean(weights, scores, ~absent),
            "empty_found": _mean(weights, empty, absent),
            "empty_right": _mean(weights, absent, empty),
            "iou": _quotient(hit, drawn + truth - hit),
            "precision": _quotient(hit, drawn),
            "recall": _quotient(hit, truth),
        }
        found |= {f"{name}_{kind}": value for name, value in of_masks.items()}
    return found


def average_precision(
    present: np.ndarray, score: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """The area under the steps of each label's precision over its recall.

    Args:
      present: bool[N, C].
      score: float[N, C]; images of equal score come together.
      weights: float[F, N].

    Returns:
      float64[F, C]; NaN of a label without an image.
    """
    columns = []
    for there, scores in zip(present.T, score.T, strict=True):
        order, ends = _falling(scores)
        hits = np.cumsum(weights[:, order] * there[order], axis=1)[:, ends]
        drawn = np.cumsum(weights[:, order], axis=1)[:, ends]
        precision = hits / np.maximum(drawn, np.finfo(np.float64).tiny)
        gained = np.diff(hits, axis=1, prepend=0)
        columns.append(_quotient((precision * gained).sum(axis=1), weights @ there))
    return np.stack(columns, axis=1)


def precision_recall(
    present: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The precision and recall of one label by the score that is asked for.

    Args:
      present: bool[N], in one image at least.
      score: float[N].

    Returns:
      float64[K] each, by falling score: precision and recall where images of this
      score or more are taken, and the score.
    """
    order, ends = _falling(score)
    hits = np.cumsum(present[order])[ends]
    return hits / (ends + 1), hits / hits[-1], score[order][ends]


def reliability(bins: Bins) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Holds probabilities against frequencies.

    Args:
      bins: K of each label.

    Returns:
      float64[C, K], the mean probability of each bin; float64[C, K], how often the
      label was there; both NaN of empty bins. float64[C], the expected calibration
      error: the mean distance of the two, weighted by the bins' counts (Naeini et
      al., 2015).
    """
    probability = _quotient(bins.total, bins.count)
    frequency = _quotient(bins.present, bins.count)
    apart = np.abs(bins.total - bins.present).sum(axis=1)
    return probability, frequency, _quotient(apart, bins.count.sum(axis=1))


def confusion(sets: np.ndarray) -> np.ndarray:
    """Tells as what the pixels of each true label were predicted.

    A pixel counts once for each label that is true there. It goes to that label if
    it was predicted; if not, in equal parts to those predicted that are not true
    there, or to none. A pixel without a true label goes in equal parts to those
    predicted there, or to none. Where at most one label is true and at most one
    predicted, that is the usual confusion matrix, `none` being a class.

    Args:
      sets: `int64[2**C, 2**C]`, pixels by their true and predicted sets of labels,
        bit c is label c.

    Returns:
      float64[C + 1, C + 1], pixels by true and predicted label, the last none.
    """
    labels = len(sets).bit_length() - 1
    matrix = np.zeros((labels + 1, labels + 1))
    for (true, predicted), pixels in np.ndenumerate(sets):
        wrong = [k for k in range(labels) if predicted & ~true & 1 << k] or [labels]
        for row in [k for k in range(labels) if true & 1 << k] or [labels]:
            right = row < labels and predicted & 1 << row
            columns = [row] if right else wrong
            matrix[row, columns] += pixels / len(columns)
    return matrix


def intervals(
    compute: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    images: int,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Adds the mean of the labels, and 95 % intervals by the bootstrap over images.

    The percentiles of resamples that draw as many images, with replacement (Efron,
    1979). With the same seed they draw the same images, whatever the figure.

    Args:
      compute: from weights float[F, N] to float64[F, C] by name.
      images: N, 1 at least.
      resamples: how many.
      seed: of the draws.

    Returns:
      float64[C + 1, 3] by name: value, low and high of each label and of the mean of
      those labels whose figure is defined.
    """
    values = _with_mean(compute(np.ones((1, images))))
    draws = _draws(images, resamples, seed)
    drawn = [_with_mean(compute(weights)) for weights in draws]
    tail = (1 - INTERVAL) / 2
    found = {}
    for name, value in values.items():
        samples = np.concatenate([part[name] for part in drawn])
        with warnings.catch_warnings():
            # A label without a defined figure has no interval either.
            warnings.simplefilter("ignore", RuntimeWarning)
            ends = np.nanquantile(samples, [tail, 1 - tail], axis=0)
        found[name] = np.stack([value[0], *ends], axis=1)
    return found


def by_label(values: Sequence) -> dict:
    """Names what belongs to the labels and, if there is one more, to their mean."""
    return dict(zip((*schema.LABELS, "mean")[: len(values)], values, strict=True))


def named(found: Mapping[str, np.ndarray]) -> dict:
    """Names the numbers of figures.

    Args:
      found: from `intervals`.

    Returns:
      {name: {label or mean: {value, low, high}}}.
    """
    keys = ("value", "low", "high")
    return {
        name: {
            label: dict(zip(keys, numbers, strict=True))
            for label, numbers in by_label(values.tolist()).items()
        }
        for name, values in found.items()
    }


def _draws(images: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    alike = np.full(images, 1 / images)
    at_once = max(_AT_ONCE // images, 1)
    for first in range(0, resamples, at_once):
        count = min(at_once, resamples - first)
        yield generator.multinomial(images, alike, size=count).astype(np.float64)


def _with_mean(values):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return {
            name: np.append(value, np.nanmean(value, axis=1, keepdims=True), axis=1)
            for name, value in values.items()
        }


def _mean(weights, values, where=None):
    """Weighted means over images: float64[F, C]."""
    where = np.ones_like(values, bool) if where is None else where
    return _quotient(weights @ (values * where), weights @ where)


def _quotient(part, whole):
    whole = np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _falling(score):
    """The order by falling score, and the places where the score changes after."""
    order = np.argsort(-score, kind="stable")
    falling = score[order]
    return order, np.flatnonzero(np.append(falling[1:] != falling[:-1], True))
