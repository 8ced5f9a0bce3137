"""95 % intervals by the bootstrap over images or groups of images (NumPy)."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

RESAMPLES = 1000
INTERVAL = 0.95

_WEIGHTS_PER_BATCH = 4_000_000


def intervals(
    compute: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    images: int,
    *,
    groups: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Adds the mean of the labels, and 95 % intervals.

    The ends are percentiles over resamples, each of which draws as many images with
    replacement (Efron, 1979). A seed draws the same images for any metric. Images of a
    group, such as those of a day, are not independent: with groups, as many groups are
    drawn, each with all of its images.

    Args:
      compute: function from image weights float64[F, N] to metrics float64[F, C].
      images: N, at least 1.
      groups: group of each image; None to draw images.
      resamples: number of resamples.
      seed: seed of the draws.

    Returns:
      float64[C + 1, 3] by name: value, low and high of each label, and of the mean of
      the labels for which the metric is defined.
    """
    values = _with_mean(compute(np.ones((1, images))))
    names = groups if groups is not None else np.arange(images)
    _, group_of = np.unique(names, return_inverse=True)
    batch = max(_WEIGHTS_PER_BATCH // images, 1)
    batches = _draw_weights(group_of.max() + 1, resamples, batch, seed)
    drawn = [_with_mean(compute(weights[:, group_of])) for weights in batches]
    tail = (1 - INTERVAL) / 2
    with_ends = {}
    for name, value in values.items():
        samples = np.concatenate([batch[name] for batch in drawn])
        with warnings.catch_warnings():
            # A metric that no resample defines has no interval either.
            warnings.simplefilter("ignore", RuntimeWarning)
            ends = np.nanquantile(samples, [tail, 1 - tail], axis=0)
        if groups is not None and group_of.max() == 0:
            # One group always draws itself.
            ends = np.full_like(ends, np.nan)
        with_ends[name] = np.stack([value[0], *ends], axis=1)
    return with_ends


def named(metrics: Mapping[str, np.ndarray], labels: Sequence[str]) -> dict:
    """Names the numbers of metrics, as JSON files hold them.

    Args:
      metrics: from `intervals`.
      labels: names of the labels.

    Returns:
      {name: {label or mean: {value, low, high}}}.
    """
    keys, rows = ("value", "low", "high"), (*labels, "mean")
    return {
        name: {
            row: dict(zip(keys, numbers, strict=True))
            for row, numbers in zip(rows, values.tolist(), strict=True)
        }
        for name, values in metrics.items()
    }


def _draw_weights(
    count: int, resamples: int, batch: int, seed: int
) -> Iterator[np.ndarray]:
    generator = np.random.default_rng(seed)
    probabilities = np.full(count, 1 / count)
    for first in range(0, resamples, batch):
        drawn = min(batch, resamples - first)
        yield generator.multinomial(count, probabilities, drawn).astype(np.float64)


def _with_mean(metrics: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return {
            name: np.append(value, np.nanmean(value, axis=1, keepdims=True), axis=1)
            for name, value in metrics.items()
        }
