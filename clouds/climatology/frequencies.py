"""Daily sums of covered and observed area, and frequencies with intervals by day.

A frequency is a ratio: the area that a pattern covers, summed over days, divided by
the area observed on the same days. A cell that is only half observed on a day thus
counts half of a day.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import psutil

from clouds.climatology import cells as geometry
from clouds.climatology.cells import Cells
from clouds.climatology.scenes import Scene
from clouds.errors import InputError
from clouds.runtime import progress

_TAIL = 0.025
_MOST_WEIGHTS = 32


@dataclasses.dataclass(frozen=True)
class Daily:
    """Sums by day; days without a map are missing.

    Attributes:
      cells: the grid.
      days: datetime64[D] of N days, ascending.
      maps: int32[N], number of maps of each day.
      covered: float32[N, R, Q, C], fraction of each cell that is covered.
      observed: float32[N, R, Q], fraction of each cell that is observed. Both are sums
        over the maps of the day, above 1 where they overlap.
    """

    cells: Cells
    days: np.ndarray
    maps: np.ndarray
    covered: np.ndarray
    observed: np.ndarray

    @property
    def domain(self) -> tuple[np.ndarray, np.ndarray]:
        """float64[N, 1, 1, C] and float64[N, 1, 1]: both sums for all cells together.

        They are fractions of the domain's area.
        """
        areas = self.cells.areas / self.cells.areas.sum()
        covered = np.einsum("nrqc,rq->nc", self.covered, areas, dtype=np.float64)
        observed = np.einsum("nrq,rq->n", self.observed, areas, dtype=np.float64)
        return covered[:, None, None], observed[:, None, None]


class Frequency(NamedTuple):
    """Frequencies over some days, NaN where nothing is observed.

    Attributes:
      value: float32[R, Q, C].
      low: float32[R, Q, C], lower end of the 95 % interval.
      high: float32[R, Q, C], upper end.
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray


def add_up(scenes: Sequence[Scene], size: float, threshold: float | None) -> Daily:
    """Adds up the maps of each day.

    Args:
      scenes: the maps by time, at least one.
      size: degrees per cell.
      threshold: a pattern is present where its probability exceeds it; None to use the
        masks.

    Raises:
      InputError: there is a threshold, but a map has no probabilities.
    """
    cells = geometry.covering((scene.grid for scene in scenes), size)
    days, positions = np.unique([scene.day for scene in scenes], return_inverse=True)
    daily, shared = None, {}
    numbered = zip(positions, scenes, strict=True)
    for day, scene in progress.bar(
        numbered, desc="climatology", unit="map", total=len(scenes)
    ):
        values = scene.read()
        if threshold is not None and values.probability is None:
            raise InputError(
                f"--threshold needs probabilities, which {scene.source} lacks. "
                "Omit it, or give --maps of bin/predict."
            )
        mask, observed = values.present(threshold), values.observed
        if daily is None:
            shape = (len(days), cells.rows, cells.columns)
            _check_memory(shape, mask.shape[-1], size)
            covered = np.zeros((*shape, mask.shape[-1]), np.float32)
            observed_sums = np.zeros(shape, np.float32)
            counts = np.bincount(positions).astype(np.int32)
            daily = Daily(cells, days, counts, covered, observed_sums)
        key = tuple(edges.tobytes() for edges in scene.grid)
        if key not in shared:
            if len(shared) == _MOST_WEIGHTS:
                del shared[next(iter(shared))]
            shared[key] = geometry.weights(cells, scene.grid)
        rows, columns = shared[key]
        daily.observed[day] += rows @ observed.astype(np.float64) @ columns
        by_label = np.moveaxis(mask, -1, 0).astype(np.float64)
        daily.covered[day] += np.moveaxis(rows @ by_label @ columns, 0, -1)
    return daily


def _check_memory(shape: tuple[int, ...], labels: int, size: float) -> None:
    needed = 4 * (labels + 1) * math.prod(shape)
    # The daily frequencies are as large again.
    if 2 * needed > 0.8 * psutil.virtual_memory().available:
        raise InputError(
            f"--cells {size:g} makes {' x '.join(f'{n:,}' for n in shape)} days, rows "
            f"and columns, which need {2 * needed / 1e9:,.0f} GB of memory. Give "
            "larger cells."
        )


def ratio(covered: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Divides sums; NaN where nothing is observed.

    Args:
      covered: float[..., C].
      observed: float[...].

    Returns:
      float64[..., C].
    """
    # Sums of overlaps differ from 0 by rounding.
    seen = np.where(observed > 1e-6, observed, np.nan)[..., None]
    return np.minimum(covered / seen, 1)


def estimate(
    covered: np.ndarray, observed: np.ndarray, *, resamples: int, seed: int = 0
) -> Frequency:
    """Returns frequencies over days, with intervals by the bootstrap over days.

    Each resample draws as many days with replacement (Efron, 1979). Days are treated as
    independent; as weather persists for several days, true intervals are wider.

    Args:
      covered: float[N, R, Q, C], by day.
      observed: float[N, R, Q].
      resamples: number of resamples.
      seed: seed of the draws.
    """
    days, rows = covered.shape[:2]
    value = ratio(covered.sum(0, np.float64), observed.sum(0, np.float64))
    drawn = np.random.default_rng(seed).multinomial(
        days, np.full(days, 1 / days), resamples
    )
    drawn = drawn.astype(np.float32)
    ends = np.empty((2, *value.shape), np.float32)
    for row in range(rows):
        samples = ratio(
            np.tensordot(drawn, covered[:, row], 1),
            np.tensordot(drawn, observed[:, row], 1),
        )
        ends[:, row] = quantiles(samples, (_TAIL, 1 - _TAIL))
    return Frequency(value.astype(np.float32), *ends)


def quantiles(samples: np.ndarray, fractions: Sequence[float]) -> np.ndarray:
    """Returns quantiles over the first axis without NaN, as `np.nanquantile` does.

    NumPy's function loops over all other axes in Python.

    Args:
      samples: float[S, ...].
      fractions: F numbers in 0..1.

    Returns:
      float[F, ...]; NaN where all samples are.
    """
    # NaN is sorted last.
    samples = np.sort(samples, axis=0)
    count = (~np.isnan(samples)).sum(0)
    found = []
    for fraction in fractions:
        position = np.maximum(fraction * (count - 1), 0)
        low = np.floor(position).astype(np.int64)
        high = np.minimum(low + 1, np.maximum(count - 1, 0))
        below, above = (
            np.take_along_axis(samples, index[None], axis=0)[0] for index in (low, high)
        )
        found.append(below + (above - below) * (position - low))
    return np.stack(found)
