"""Metrics of an evaluation, from the counts of its images (NumPy).

N counts images, F weightings of them: equal weights give the metrics themselves, the
weights of resamples their intervals. A metric that is not defined, such as the recall
of a label that no image has, is NaN.
"""

from collections.abc import Mapping

import numpy as np
import sklearn.metrics

from clouds.evaluation.counts import Bins, Images


def dice(truth: np.ndarray, predicted: np.ndarray, shared: np.ndarray) -> np.ndarray:
    """Returns the competition's Dice from areas; 1 where both masks are empty.

    Args:
      truth: int[...], pixels of the truth.
      predicted: int[...], pixels of the prediction.
      shared: int[...], pixels in both.

    Returns:
      float64[...].
    """
    total = truth + predicted
    return np.where(total > 0, 2 * shared / np.maximum(total, 1), 1.0)


def compute(images: Images, weights: np.ndarray) -> dict[str, np.ndarray]:
    """Computes the metrics of each label.

    Args:
      images: counts of N images.
      weights: float[F, N].

    Returns:
      float64[F, C] by name. `present`: the share of images with the label.
      `average_precision`: of the label's presence, by its score. Then with `_plain`
      for thresholded masks and with `_post` for post-processed ones: `dice`, the
      competition's; `dice_non_empty`, the same over images with the label;
      `empty_found`, the true-negative rate: the share of empty masks among images
      without the label; `empty_right`, the precision of empty masks: the share of
      images without the label among those with an empty mask; and `iou`, `precision`
      and `recall`, over the pixels of all images together.
    """
    absent = images.truth == 0
    metrics = {
        "present": _mean(weights, ~absent),
        "average_precision": average_precision(~absent, images.score, weights),
    }
    truth = weights @ images.truth
    for kind in ("plain", "post"):
        area, shared = getattr(images, kind), getattr(images, f"{kind}_shared")
        per_image, empty = dice(images.truth, area, shared), area == 0
        predicted, hits = weights @ area, weights @ shared
        of_masks = {
            "dice": _mean(weights, per_image),
            "dice_non_empty": _mean(weights, per_image, ~absent),
            "empty_found": _mean(weights, empty, absent),
            "empty_right": _mean(weights, absent, empty),
            "iou": _ratio(hits, predicted + truth - hits),
            "precision": _ratio(hits, predicted),
            "recall": _ratio(hits, truth),
        }
        metrics |= {f"{name}_{kind}": value for name, value in of_masks.items()}
    return metrics


def average_precision(
    present: np.ndarray, score: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Returns the average precision of each label's presence.

    Args:
      present: bool[N, C].
      score: float[N, C].
      weights: float[F, N].

    Returns:
      float64[F, C]; NaN where no weighted image has the label.
    """
    # Of few images, many resamples are the same.
    weights, rows = np.unique(weights, axis=0, return_inverse=True)
    result = np.full((len(weights), present.shape[1]), np.nan)
    for row, label in np.argwhere(weights @ present > 0):
        result[row, label] = sklearn.metrics.average_precision_score(
            present[:, label], score[:, label], sample_weight=weights[row]
        )
    return result[rows]


def precision_recall(
    present: np.ndarray, score: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the precision and recall of one label by the threshold on its score.

    Args:
      present: bool[N], true for at least one image.
      score: float[N].

    Returns:
      float64[K] each, by falling score: precision and recall where images of this
      score or more count as positive, and the score.
    """
    precision, recall, scores = sklearn.metrics.precision_recall_curve(present, score)
    # Without the last point, which has no score.
    return precision[-2::-1], recall[-2::-1], scores[::-1]


def reliability(bins: Bins) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compares probabilities with frequencies.

    Args:
      bins: K bins per label.

    Returns:
      float64[C, K], the mean probability of each bin; float64[C, K], the frequency of
      the label; both NaN for empty bins. float64[C], the expected calibration error:
      the mean distance of the two, weighted by count (Naeini et al., 2015).
    """
    distance = np.abs(bins.total - bins.present).sum(axis=1)
    return (
        _ratio(bins.total, bins.count),
        _ratio(bins.present, bins.count),
        _ratio(distance, bins.count.sum(axis=1)),
    )


def confusion(sets: Mapping[tuple[int, int], int], labels: int) -> np.ndarray:
    """Returns the confusion matrix of pixels that may have several labels.

    A pixel counts once for each of its true labels. If that label was predicted, it
    counts there; if not, in equal parts for the labels that were predicted wrongly,
    or for none. A pixel without a true label counts in equal parts for the labels
    predicted, or for none. With at most one true and one predicted label, this is the
    usual matrix with `none` as a class.

    Args:
      sets: pixels by their true and predicted sets of labels, bit c is label c.
      labels: C, number of labels.

    Returns:
      float64[C + 1, C + 1], pixels by true and predicted label, the last none.
    """
    matrix = np.zeros((labels + 1, labels + 1))
    for (true, predicted), pixels in sorted(sets.items()):
        wrong = [k for k in range(labels) if predicted & ~true & 1 << k] or [labels]
        for row in [k for k in range(labels) if true & 1 << k] or [labels]:
            right = row < labels and predicted & 1 << row
            columns = [row] if right else wrong
            matrix[row, columns] += pixels / len(columns)
    return matrix


def _mean(weights, values, where=None):
    """Returns weighted means over images, float64[F, C]."""
    where = np.ones_like(values, bool) if where is None else where
    return _ratio(weights @ (values * where), weights @ where)


def _ratio(part, whole):
    whole = np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
