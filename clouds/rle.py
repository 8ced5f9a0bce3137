"""Masks to runs to text and back, on the host, in the competition's format.

A text lists `start length start length …`: 1-based starts, pixels counted
down the columns (column-major), sorted, not overlapping; an empty mask is an
empty text. Masks are bool[H, W]. Runs are int64[R, 2], as in the text.
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
_NUMBERS_AT_ONCE = 2**14
_SHOWN = 40


def encode(mask: np.ndarray) -> str:
    """Writes a mask as text.

    Args:
      mask: bool or {0, 1}, [H, W].

    Returns:
      The text; empty for an empty mask.

    Raises:
      InputError: the mask has another shape or other values.
    """
    pixels = _down_columns(_checked(np.asarray(mask)))
    if not pixels.size:
        return ""
    borders = np.empty(pixels.size + 1, bool)
    borders[0], borders[-1] = pixels[0], pixels[-1]
    np.not_equal(pixels[1:], pixels[:-1], out=borders[1:-1])
    numbers = np.flatnonzero(borders)
    numbers[1::2] -= numbers[::2]
    numbers[::2] += 1
    # Few enough numbers at once stay in the cache while they are written.
    return " ".join(
        _words(numbers[first : first + _NUMBERS_AT_ONCE])
        for first in range(0, numbers.size, _NUMBERS_AT_ONCE)
    )


def decode(text: str | None, shape: Size, *, where: str = "") -> np.ndarray:
    """Paints the mask that a text describes.

    Args:
      text: the runs; None or NaN, as pandas reads an empty field, is an empty mask.
      shape: height and width of the mask.
      where: what an error names as the place of the text.

    Returns:
      bool[H, W].

    Raises:
      InputError: the text breaks the format, or the shape is no height and width.
    """
    return paint(parse(text, shape, where=where), shape)


def parse(text: str | None, shape: Size, *, where: str = "") -> np.ndarray:
    """Reads a text strictly.

    Args:
      text: the runs; none if it is None or NaN.
      shape: height and width of the mask.
      where: what an error names as the place of the text.

    Returns:
      int64[R, 2], the 1-based start and the length of each run.

    Raises:
      InputError: a number that is no integer, a missing length, a start below
        1, a length below 1, a run past the end, unsorted or overlapping runs: the
        message names the run. Or the text is none, or the shape no height and width.
    """
    height, width = _height_and_width(shape)
    text = _text(text, where)
    numbers = _integers(text, where)
    if numbers.size % 2:
        raise _error(
            "Runs must be pairs of a start and a length",
            f"{counted(numbers.size, 'number')}, '{_end(text)}'",
            numbers.size // 2,
            where,
        )
    runs = numbers.reshape(-1, 2)
    starts, lengths = runs.T
    pixels = height * width
    # A start too large to add to is caught before the sum could overflow.
    ends = np.minimum(starts, pixels + 1) + np.minimum(lengths, pixels + 1)
    for expected, broken in (
        ("Starts must be 1 or more", starts < 1),
        ("Lengths must be 1 or more", lengths < 1),
        (f"Runs must end within {height}x{width} pixels", ends > pixels + 1),
        (
            "Runs must be sorted and must not overlap",
            np.append(False, starts[1:] < ends[:-1]),
        ),
    ):
        if broken.any():
            run = int(np.argmax(broken))
            received = f"'{starts[run]} {lengths[run]}'"
            raise _error(expected, received, run, where, of_grid="within" in expected)
    return runs


def paint(runs: np.ndarray, shape: Size) -> np.ndarray:
    """Paints runs.

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
    """Paints the runs of all labels on other grids, by their nearest pixels.

    Equal to `paint(runs, grid)` of each, sampled at the centres of the target's
    pixels, without painting the full grid: the borders of all labels are sorted
    together, and one plane is painted once.

    Args:
      labels: int64[R, 2] for each of at most 8 labels, valid for `grid` (see
        `parse`).
      grid: height and width that the runs count on.
      sizes: height and width of each result.

    Returns:
      uint8[h, w] for each size, bit c set where label c is.
    """
    borders = np.cumsum(np.concatenate(labels), axis=1).reshape(-1) - 1
    bits = np.repeat(1 << np.arange(len(labels)), [2 * len(runs) for runs in labels])
    order = np.argsort(borders, kind="stable")
    values = np.bitwise_xor.accumulate(bits[order].astype(np.uint8))
    values = np.append(np.uint8(0), values)
    columns, rows = np.divmod(borders[order], grid[0])

    def painted(size: Size) -> np.ndarray:
        if size[0] > grid[0] or size[1] > grid[1]:
            nearest = (_nearest(grid[axis], size[axis]) for axis in (0, 1))
            return painted(grid)[np.ix_(*nearest)]
        columns_before = _sampled_before(grid[1], size[1])
        in_own = np.diff(columns_before, append=size[1])[columns]
        # Sampled pixels before a border: whole columns, then rows of its own column.
        before = columns_before[columns] * size[0]
        before += in_own * _sampled_before(grid[0], size[0])[rows]
        lengths = np.diff(before, prepend=0, append=size[0] * size[1])
        return np.repeat(values, lengths).reshape(size[::-1]).T

    return [painted(size) for size in sizes]


def _checked(mask: np.ndarray) -> np.ndarray:
    if mask.ndim != 2:
        raise InputError(
            f"Mask must be [H, W]. Received: shape {mask.shape}, in rle.encode. Give "
            "the masks of several labels or images one by one."
        )
    pixels = mask.astype(bool, copy=False)
    # A comparison would take a quarter of the time of a uint8 mask.
    if mask.dtype == np.uint8:
        broken = mask.max(initial=0) > 1
    else:
        broken = mask.dtype != bool and (mask != pixels).any()
    if broken:
        first = mask[mask != pixels][0]
        raise InputError(
            f"Mask must be bool or {{0, 1}}. Received: {mask.dtype} that holds {first}"
            ", in rle.encode. Compare it with a threshold first, such as mask > 0.5."
        )
    return pixels


def _height_and_width(shape: Size) -> Size:
    try:
        height, width = shape
    except (TypeError, ValueError):
        raise InputError(
            f"Shape must be (height, width). Received: {shape}, in rle.decode or "
            "rle.parse. Give that of the runs' grid, such as (350, 525)."
        ) from None
    return height, width


def _text(text: str | None, where: str) -> str:
    if text is None or (isinstance(text, float | np.floating) and np.isnan(text)):
        return ""
    if not isinstance(text, str):
        place = f", in {where}" if where else ""
        raise InputError(
            f"Runs must be text. Received: {text!r}{place}. Give it as 'start length "
            "start length …', and an empty mask as ''."
        )
    return text


def _down_columns(mask: np.ndarray) -> np.ndarray:
    if mask.flags.f_contiguous:
        return mask.T.reshape(-1)
    # OpenCV goes by tiles, which is several times faster than NumPy's copy.
    pixels = np.ascontiguousarray(mask).view(np.uint8)
    return cv2.transpose(pixels).reshape(-1).view(bool)


def _words(numbers: np.ndarray) -> str:
    """Writes numbers above 0, four digits at a time: several times `str`'s speed."""
    digits, largest = _digits(), int(numbers.max())
    if largest < 2**32:
        numbers = numbers.astype(np.uint32)
    groups = (len(str(largest)) + 3) // 4
    words = np.empty((numbers.size, groups + 1), np.uint32)
    words[:, groups] = np.frombuffer(b" \0\0\0", np.uint32)
    for group in range(groups - 1, 0, -1):
        above = numbers // 10_000
        # The entry with leading zeros, if there are digits above.
        entries = numbers - above * 10_000
        entries += (above > 0) * np.uint32(10_000)
        words[:, group] = digits.take(entries)
        numbers = above
    words[:, 0] = digits.take(numbers)
    return words.tobytes().translate(None, b"\0")[:-1].decode("ascii")


@functools.lru_cache
def _digits() -> np.ndarray:
    """uint32[20000]: 0 to 9999 as four bytes, NUL for leading zeros; then with them."""
    quotients = np.arange(10_000)[:, None] // [1000, 100, 10, 1]
    zeros = quotients % 10 + ord("0")
    entries = np.concatenate([np.where(quotients > 0, zeros, 0), zeros])
    return entries.astype(np.uint8).view(np.uint32).reshape(-1)


def _integers(text: str, where: str) -> np.ndarray:
    if not text.encode().translate(None, b"0123456789 "):
        return np.fromstring(text, np.int64, sep=" ")
    numbers = []
    for index, token in enumerate(text.split()):
        if not re.fullmatch(r"-?[0-9]+", token):
            raise _error("Runs must be integers", f"'{_end(token)}'", index // 2, where)
        numbers.append(np.clip(int(token), -_HUGE, _HUGE))
    return np.array(numbers, np.int64)


def _end(text: str) -> str:
    return text if len(text) <= _SHOWN else f"…{text[-_SHOWN:]}"


def _error(
    expected: str, received: str, run: int, where: str, *, of_grid: bool = False
) -> InputError:
    place = f", in {where}" if where else ""
    grid = "this is the runs' grid, and that " if of_grid else ""
    return InputError(
        f"{expected}. Received: {received}, in run {run + 1}{place}. "
        f"Check that {grid}the text reads 'start length start length …', with 1-based "
        "starts counted down the columns."
    )


def _fill(starts: np.ndarray, ends: np.ndarray, pixels: int) -> np.ndarray:
    borders = np.column_stack([starts, ends]).reshape(-1)
    lengths = np.diff(borders, prepend=0, append=pixels)
    return np.repeat(np.arange(lengths.size) % 2 == 1, lengths)


def _nearest(source: int, target: int) -> np.ndarray:
    return (2 * np.arange(target) + 1) * source // (2 * target)


@functools.lru_cache(maxsize=8)
def _sampled_before(source: int, target: int) -> np.ndarray:
    """int64[source + 1], how many sampled positions lie before each position."""
    return np.searchsorted(_nearest(source, target), np.arange(source + 1))
