"""Applies a post-processing rule to probabilities that are too large for memory.

They come in blocks of columns, of which only the runs of their masks are kept:
components, areas and text are those of the whole. `apply.apply` gives the same for
images that fit into memory.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from clouds.config.rule import Rule
from clouds.errors import InputError
from clouds.postprocess import components, ops
from clouds.postprocess.components import Runs

_MOST_CELLS = 2**31 - 1


class Block(NamedTuple):
    """Some columns of an image.

    Attributes:
      probabilities: float32[H, w, C] in 0..1.
      observed: bool[H, w], False in the orbit gap.
      scores: float32[H, w, C], presence scores; None if the rule has no gate.
    """

    probabilities: np.ndarray
    observed: np.ndarray
    scores: np.ndarray | None = None


class Text(NamedTuple):
    """Run-length codes per label.

    Attributes:
      raw: masks that are thresholded only.
      cleaned: post-processed masks.
    """

    raw: list[str]
    cleaned: list[str]


def check(rule: Rule) -> None:
    """Rejects a rule whose numbers are for whole images of one size.

    Args:
      rule: rule of the masks.

    Raises:
      InputError: it cleans on the network's grid, or looks for peaks in whole images.
    """
    if rule.grid == "network":
        raise InputError(
            "Tiles cannot be combined with --clean-on network: areas of a scene are on "
            "the submission's grid. Give --clean-on submission, and --min-area on it."
        )
    if rule.tops is not None and rule.scope == "image":
        raise InputError(
            "Tiles cannot be combined with --peak-scope image, which would look for a "
            "peak anywhere in the scene. Give --peak-scope component."
        )


def apply(
    blocks: Iterable[Block], rule: Rule, size: tuple[int, int], *, wraps: bool = False
) -> Text:
    """Applies a rule to an image in blocks.

    The presence gate of the rule is applied cell by cell, before components are
    measured; the scores of a block may differ from cell to cell.

    Args:
      blocks: the columns of the image, from left to right.
      rule: a rule that `check` accepts.
      size: height and width of the image.
      wraps: whether the last column is next to the first.

    Returns:
      The text of the masks, on the grid of the image.

    Raises:
      InputError: the image has too many cells.
    """
    if size[0] * (size[1] + 2) > _MOST_CELLS:
        raise InputError(
            f"A scene of {size[0]}x{size[1]} cells is too large for run-length codes. "
            "Cut it, or give larger tiles."
        )
    labels = len(rule.thresholds)
    found = [[[] for _ in range(labels)] for _ in range(3)]
    first = 0
    for block in blocks:
        for kind, runs in zip(found, _block_runs(block, rule), strict=True):
            for label in range(labels):
                kind[label].append(_of_label(runs, label, first))
        first += block.probabilities.shape[1]
    raw, masked, peaks = (
        [np.concatenate(parts, axis=1) for parts in kind] for kind in found
    )
    cleaned = [
        _kept(masked[label], peaks[label], rule, label, size[1] if wraps else None)
        for label in range(labels)
    ]
    return Text(*([_text(runs, size) for runs in kind] for kind in (raw, cleaned)))


def _block_runs(block: Block, rule: Rule) -> tuple[Runs, Runs, Runs]:
    """Returns the runs of a block: thresholded, masked by gap and gate, and peaks."""
    planes = tf.constant(block.probabilities[None])
    shape = tf.constant([1, planes.shape[3]])
    raw = columns = ops.threshold(planes, _limits(rule.thresholds), shape)
    if rule.gap:
        columns &= components.pack(tf.constant(block.observed[None, ..., None]))
    if rule.presence is not None:
        columns &= components.pack(tf.constant(_passed(block.scores, rule)[None]))
    above = tf.zeros_like(raw)
    if rule.tops is not None:
        tops = np.maximum(rule.thresholds, rule.tops)
        above = ops.threshold(planes, _limits(tops), shape) & columns
    return tuple(map(components.runs, (raw, columns, above)))


def _limits(numbers: Sequence[float]) -> tf.Tensor:
    return tf.constant(numbers, tf.float64)


def _passed(scores: np.ndarray, rule: Rule) -> np.ndarray:
    passed = scores > np.float32(rule.presence)
    if rule.force_best:
        best = scores >= scores.max(axis=-1, keepdims=True)
        passed |= best & ~passed.any(axis=-1, keepdims=True)
    return passed


def _of_label(runs: Runs, label: int, first: int) -> np.ndarray:
    """Returns column, start and end of a label's runs, int32[3, R]."""
    parts = np.stack([runs.column, runs.start, runs.end])[
        :, runs.plane.numpy() == label
    ]
    return parts + np.array([[first], [0], [0]], np.int32)


def _kept(
    runs: np.ndarray, peaks: np.ndarray, rule: Rule, label: int, width: int | None
) -> np.ndarray:
    """Returns the runs of the large components, and of those with a high peak."""
    if not runs.size:
        return runs
    owners = components.label_runs(_as_runs(runs)).numpy()
    if width is not None:
        owners = _united(owners, runs, width)
    areas = np.bincount(owners, weights=runs[2] - runs[1])
    kept = areas[owners] > rule.min_sizes[label]
    if rule.tops is not None:
        has_peak = np.zeros(len(areas), bool)
        if peaks.size:
            within = components.containing(_as_runs(runs), _as_runs(peaks)).numpy()
            has_peak[owners[within]] = True
        kept &= has_peak[owners]
    return runs[:, kept]


def _united(owners: np.ndarray, runs: np.ndarray, width: int) -> np.ndarray:
    """Unites components that touch across the seam of the last and first column."""
    column, start, end = runs
    lasts, firsts = np.flatnonzero(column == width - 1), np.flatnonzero(column == 0)
    touch = start[lasts][:, None] <= end[firsts]
    touch &= start[firsts] <= end[lasts][:, None]
    parents = {}

    def root(owner: int) -> int:
        while (parent := parents.get(owner, owner)) != owner:
            owner = parent
        return owner

    for last, first in np.argwhere(touch):
        one, other = sorted((root(owners[lasts[last]]), root(owners[firsts[first]])))
        parents[other] = one
    united = owners.copy()
    for owner in parents:
        united[owners == owner] = root(owner)
    return united


def _as_runs(runs: np.ndarray) -> Runs:
    return Runs(tf.zeros(runs.shape[1], tf.int32), *map(tf.constant, runs))


def _text(runs: np.ndarray, size: tuple[int, int]) -> str:
    text = ops.to_text(_as_runs(runs), tf.constant([1, 1]), tf.constant(size))
    return text.numpy()[0, 0].decode()
