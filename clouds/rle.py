"""Run-length codes of masks, in the competition's format, on the host (NumPy).

A text lists `start length start length …`: 1-based starts, pixels counted down the
columns (column-major), sorted, not overlapping; an empty mask is an empty text. Masks
are bool[H, W]. Runs are int64[R, 2], with starts and lengths as in the text.
"""

import functools
import re
from collections.abc import Iterable

import cv2
import numpy as np

from clouds.errors import InputError
from clouds.text import counted

Size = tuple[int, int]

_HUGE = 2**62
_SHOWN = 40
_WRITTEN_FOR_EMPTY = {"-1", "nan", "none", "na", "n/a", "null", "1 0", "0 0", "0", "[]"}
_MOST_DIGITS = 20
_BEYOND_ANY_MASK = 1 << 40
SPREADSHEET_CELL = 32_767
"""Length at which spreadsheets cut the text of a cell."""


def encode(mask: np.ndarray) -> str:
    """Encodes a mask as text.

    Args:
      mask: bool or {0, 1}, [H, W].

    Returns:
      The text; empty for an empty mask.

    Raises:
      InputError: the mask has another shape or other values.
    """
    pixels = _column_major(_checked_mask(np.asarray(mask)))
    if not pixels.size:
        return ""
    borders = np.empty(pixels.size + 1, bool)
    borders[0], borders[-1] = pixels[0], pixels[-1]
    np.not_equal(pixels[1:], pixels[:-1], out=borders[1:-1])
    numbers = np.flatnonzero(borders)
    numbers[1::2] -= numbers[::2]
    numbers[::2] += 1
    return " ".join(map(str, numbers.tolist()))


def decode(text: str | None, shape: Size, *, where: str = "") -> np.ndarray:
    """Decodes a text to a mask.

    Args:
      text: run-length codes; None and NaN, pandas' empty field, are an empty mask.
      shape: height and width of the mask.
      where: place of the text, for errors, such as "train.csv, row 17".

    Returns:
      bool[H, W].

    Raises:
      InputError: as for `parse`.
    """
    return paint(parse(text, shape, where=where), shape)


def parse(
    text: str | None, shape: Size, *, where: str = "", base: int = 1
) -> np.ndarray:
    """Parses a text strictly.

    Args:
      text: run-length codes; None and NaN are an empty mask.
      shape: height and width of the mask.
      where: place of the text, for errors.
      base: number of the first pixel in the text.

    Returns:
      int64[R, 2], the 1-based start and the length of each run.

    Raises:
      InputError: a number is not an integer, a length is missing, a start or length is
        below 1, a run exceeds the mask, or runs are unsorted or overlap; the message
        names the run. Or the text is no text, or the shape not (height, width).
    """
    shape, text = _checked_shape(shape), _checked_text(text, where)
    try:
        return _parse(text, shape, where, base)
    except InputError as error:
        if text.strip().lower() in _WRITTEN_FOR_EMPTY:
            raise InputError(f"{error} An empty mask is an empty field.") from None
        if len(text) == SPREADSHEET_CELL:
            raise InputError(
                f"{error} The text has exactly {SPREADSHEET_CELL:,} characters, at "
                "which spreadsheets cut a cell: write the csv without one."
            ) from None
        raise


def from_relative(text: str, *, where: str = "") -> str:
    """Converts starts that count from the end of the previous run to absolute ones.

    Args:
      text: run-length codes; the first start counts from the first pixel.
      where: place of the text, for errors.

    Raises:
      InputError: a number is not an integer.
    """
    # Clipped, so that sums of huge numbers do not overflow.
    numbers = np.minimum(_integers(text, where), _BEYOND_ANY_MASK)
    if numbers.size % 2:
        # `parse` reports it.
        return text
    runs = numbers.reshape(-1, 2)
    runs[1:, 0] += np.cumsum(runs.sum(axis=1))[:-1]
    return " ".join(map(str, runs.reshape(-1).tolist()))


def _parse(text: str, shape: Size, where: str, base: int) -> np.ndarray:
    height, width = shape
    numbers = _integers(text, where)
    if numbers.size % 2:
        received = f"{counted(numbers.size, 'number')}, '{_end(text)}'"
        raise _error("the last run has no length", received, numbers.size // 2, where)
    runs = numbers.reshape(-1, 2)
    runs[:, 0] += 1 - base
    starts, lengths = runs.T
    pixels = height * width
    # Clipped, so that the sum of huge numbers does not overflow.
    ends = np.minimum(starts, pixels + 1) + np.minimum(lengths, pixels + 1)
    overlaps = np.append(False, starts[1:] < ends[:-1])
    for problem, is_wrong in (
        (f"a start must be {base} or more", starts < 1),
        ("a length must be 1 or more", lengths < 1),
        (f"the run exceeds the {height}x{width} grid; check --grid", ends > pixels + 1),
        ("runs must be sorted and must not overlap", overlaps),
    ):
        if is_wrong.any():
            run = int(np.argmax(is_wrong))
            start = starts[run] - 1 + base
            raise _error(problem, f"'{start} {lengths[run]}'", run, where)
    return runs


def unite(runs: np.ndarray) -> np.ndarray:
    """Sorts runs, and joins those that touch or overlap.

    Args:
      runs: int64[R, 2], in any order.

    Returns:
      int64[R', 2], as from `parse`.
    """
    if not len(runs):
        return runs
    starts, lengths = runs[np.argsort(runs[:, 0], kind="stable")].T
    ends = np.maximum.accumulate(starts + lengths)
    first = np.append(True, starts[1:] > ends[:-1])
    starts, ends = starts[first], ends[np.append(first[1:], True)]
    return np.stack([starts, ends - starts], axis=1)


def paint(runs: np.ndarray, shape: Size) -> np.ndarray:
    """Draws runs as a mask.

    Args:
      runs: int64[R, 2], valid for `shape` (see `parse`).
      shape: height and width of the mask.

    Returns:
      bool[H, W].
    """
    height, width = shape
    starts = runs[:, 0] - 1
    return _fill(starts, starts + runs[:, 1], height * width).reshape(width, height).T


def resample(
    labels: list[np.ndarray], grid: Size, sizes: Iterable[Size]
) -> list[np.ndarray]:
    """Draws the runs of all labels on other grids, by nearest neighbour.

    Equal to `paint(runs, grid)` sampled at the centres of the target's pixels, without
    drawing the full grid: the borders of all labels are sorted together, and one plane
    is drawn once.

    Args:
      labels: runs of each of at most 32 labels, int64[R, 2], valid for `grid`.
      grid: height and width of the grid of the runs.
      sizes: height and width of each result.

    Returns:
      For each size [h, w] of the smallest unsigned integers with a bit per label, and
      bit c set in the mask of label c.
    """
    dtype = plane_dtype(len(labels))
    borders = np.cumsum(np.concatenate(labels), axis=1).reshape(-1) - 1
    bits = np.repeat(1 << np.arange(len(labels)), [2 * len(runs) for runs in labels])
    order = np.argsort(borders, kind="stable")
    values = np.bitwise_xor.accumulate(bits[order].astype(dtype))
    values = np.append(dtype.type(0), values)
    columns, rows = np.divmod(borders[order], grid[0])

    def sampled(size: Size) -> np.ndarray:
        if size[0] > grid[0] or size[1] > grid[1]:
            places = (nearest(grid[axis], size[axis]) for axis in (0, 1))
            return sampled(grid)[np.ix_(*places)]
        columns_before = _sampled_before(grid[1], size[1])
        in_column = np.diff(columns_before, append=size[1])[columns]
        # Sampled pixels before a border: entire columns, then rows of its own column.
        before = columns_before[columns] * size[0]
        before += in_column * _sampled_before(grid[0], size[0])[rows]
        lengths = np.diff(before, prepend=0, append=size[0] * size[1])
        return np.repeat(values, lengths).reshape(size[::-1]).T

    return [sampled(size) for size in sizes]


def plane_dtype(labels: int) -> np.dtype:
    """Returns the smallest unsigned integer with a bit per label."""
    return np.dtype(next(f"uint{bits}" for bits in (8, 16, 32) if labels <= bits))


def _checked_mask(mask: np.ndarray) -> np.ndarray:
    if mask.ndim != 2:
        raise InputError(
            f"A mask must be [H, W]. Received: shape {mask.shape}, in rle.encode. "
            "Encode the masks of several labels or images one by one."
        )
    pixels = mask.astype(bool, copy=False)
    # Four times as fast as a comparison of a uint8 mask.
    if mask.dtype == np.uint8:
        is_wrong = mask.max(initial=0) > 1
    else:
        is_wrong = mask.dtype != bool and (mask != pixels).any()
    if is_wrong:
        first = mask[mask != pixels][0]
        raise InputError(
            f"A mask must be bool or {{0, 1}}. Received: {mask.dtype} with {first}, in "
            "rle.encode. Compare it with a threshold first, such as mask > 0.5."
        )
    return pixels


def _checked_shape(shape: Size) -> Size:
    try:
        height, width = shape
    except (TypeError, ValueError):
        raise InputError(
            f"A shape must be (height, width). Received: {shape}, in rle.decode or "
            "rle.parse. Give the grid of the runs, such as (350, 525)."
        ) from None
    return height, width


def _checked_text(text: str | None, where: str) -> str:
    if text is None or (isinstance(text, float | np.floating) and np.isnan(text)):
        return ""
    if not isinstance(text, str):
        raise InputError(
            f"{where or 'rle.parse'}: run-length codes must be text. Received: "
            f"{text!r}. Expected 'start length start length …', or '' for an empty "
            "mask."
        )
    return text


def _column_major(mask: np.ndarray) -> np.ndarray:
    if mask.flags.f_contiguous:
        return mask.T.reshape(-1)
    # OpenCV transposes by tiles, several times as fast as NumPy.
    pixels = np.ascontiguousarray(mask).view(np.uint8)
    return cv2.transpose(pixels).reshape(-1).view(bool)


def _integers(text: str, where: str) -> np.ndarray:
    if not text.strip():
        return np.empty(0, np.int64)
    if not text.encode().translate(None, b"0123456789 "):
        return np.fromstring(text, np.int64, sep=" ")
    numbers = []
    for index, word in enumerate(text.split()):
        if not re.fullmatch(r"-?[0-9]+", word):
            raise _error("not an integer", f"'{_end(word)}'", index // 2, where)
        # int() rejects thousands of digits.
        numbers.append(np.clip(int(word[:_MOST_DIGITS]), -_HUGE, _HUGE))
    return np.array(numbers, np.int64)


def _end(text: str) -> str:
    return text if len(text) <= _SHOWN else f"…{text[-_SHOWN:]}"


def _error(problem: str, received: str, run: int, where: str) -> InputError:
    place = f"{where}, run {run + 1}" if where else f"Run {run + 1}"
    return InputError(
        f"{place}: {problem}. Received: {received}. Expected 'start length start "
        "length …', with 1-based starts counted down the columns."
    )


def _fill(starts: np.ndarray, ends: np.ndarray, pixels: int) -> np.ndarray:
    borders = np.column_stack([starts, ends]).reshape(-1)
    lengths = np.diff(borders, prepend=0, append=pixels)
    return np.repeat(np.arange(lengths.size) % 2 == 1, lengths)


def nearest(source: int, target: int) -> np.ndarray:
    """Returns the pixel of a line of `source` at each of `target` pixels, int64[T]."""
    return (2 * np.arange(target) + 1) * source // (2 * target)


@functools.lru_cache(maxsize=8)
def _sampled_before(source: int, target: int) -> np.ndarray:
    """int64[source + 1], the number of sampled positions before each position."""
    return np.searchsorted(nearest(source, target), np.arange(source + 1))
