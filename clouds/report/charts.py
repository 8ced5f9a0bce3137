"""Geometry of charts: numbers become places on a small canvas, which templates draw.

Places are in units of the SVG's viewBox, x to the right and y down. Colours are told
by the number of a label, in the order of `schema.LABELS`, or None for the text's own
colour; the page's style sheet knows them.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.ticker import MaxNLocator

WIDTH, HEIGHT = 360, 250
LEFT, RIGHT, TOP, BOTTOM = 58, 336, 10, 202
"""The canvas, and on it the frame that values lie in."""

DASHES = ("", "7 3", "2 3", "9 3 2 3", "12 4", "5 2 1 2 1 2")
"""Of lines, so that their colour is not the only cue: SVG's stroke-dasharray."""

_ROW = 48
_HEIGHTS = {"hollow": 9, "full": 22}
_BASELINE = 36


class Line(NamedTuple):
    """Values of y over x.

    Attributes:
      name: what the legend calls it.
      x: N numbers.
      y: N numbers; None or NaN where there is none.
      colour: a label's number, or None.
      dash: number of its pattern, any.
      dots: whether each value has one.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    colour: int | None = None
    dash: int = 0
    dots: bool = False

    @property
    def pattern(self) -> str:
        """The line's dashes."""
        return DASHES[self.dash % len(DASHES)]


class Drawn(NamedTuple):
    """A line on the canvas.

    Attributes:
      line: what it shows.
      pieces: lists of (x, y), parted where a value is missing.
    """

    line: Line
    pieces: list[list[tuple[float, float]]]


class Chart(NamedTuple):
    """Lines on the canvas.

    Attributes:
      title: above it.
      axes: titles of x and y.
      x_ticks: (place, text) each.
      y_ticks: (place, text) each.
      drawn: the lines.
      described: a sentence for those who do not see it.
    """

    title: str
    axes: tuple[str, str]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    drawn: list[Drawn]
    described: str


class Mark(NamedTuple):
    """A value of a row and its interval, on the canvas.

    Attributes:
      name: what the legend calls it.
      shape: of the mark: hollow or full, or that of a baseline.
      x: of the value.
      ends: of the interval; None without one.
      y: of all three.
      colour: a label's number, or None.
    """

    name: str
    shape: str
    x: float
    ends: tuple[float, float] | None
    y: float
    colour: int | None


class Rows(NamedTuple):
    """Marks in rows on a canvas as high as it takes.

    Attributes:
      title: above it.
      height: of the canvas.
      names: (y, text) of the rows.
      x_ticks: (place, text) each.
      marks: all of them.
    """

    title: str
    height: float
    names: list[tuple[float, str]]
    x_ticks: list[tuple[float, str]]
    marks: list[Mark]


class Cell(NamedTuple):
    """A cell of a heat map; its shade is from 0 to 1."""

    x: float
    y: float
    width: float
    height: float
    shade: float


class HeatMap(NamedTuple):
    """Cells of a grid on the canvas.

    Attributes:
      title: above it.
      cells: those that are shaded.
      x_ticks: (place, text) each.
      y_ticks: (place, text) each.
      marks: (name, x, y, beyond) each; beyond, its x lies further right.
      ends: the values of shades 0 and 1.
    """

    title: str
    cells: list[Cell]
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    marks: list[tuple[str, float, float, bool]]
    ends: tuple[float, float]


def lines(
    title: str,
    shown: Sequence[Line],
    axes: tuple[str, str],
    *,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    whole: bool = False,
) -> Chart:
    """Places lines.

    Args:
      title: of the chart.
      shown: the lines.
      axes: titles of x and y.
      x_range: of the frame; that of the values if None.
      y_range: the same.
      whole: whether x counts, so that its ticks are whole numbers.

    Returns:
      The chart.
    """
    shown = [line._replace(y=_floats(line.y)) for line in shown]
    x_range = x_range or _range([line.x for line in shown])
    y_range = y_range or _range([line.y for line in shown])
    # Ticks may reach beyond the values, and the frame then does.
    y_ticks = _ticks(y_range)
    y_range = min(y_range[0], y_ticks[0]), max(y_range[1], y_ticks[-1])
    x_ticks = [t for t in _ticks(x_range, whole) if x_range[0] <= t <= x_range[1]]
    across, down = _place(x_range, (LEFT, RIGHT)), _place(y_range, (BOTTOM, TOP))
    return Chart(
        title,
        axes,
        [(across(tick), f"{tick:g}") for tick in x_ticks],
        [(down(tick), f"{tick:g}") for tick in y_ticks],
        [Drawn(line, _pieces(line, across, down)) for line in shown],
        _described(shown, axes),
    )


def rows(title: str, names: Sequence[str], values: Mapping, shapes: Mapping) -> Rows:
    """Places values from 0 to 1 in rows, the first ones in the labels' colours.

    Args:
      title: of the chart.
      names: of the rows.
      values: {name: {row's name: {value, low, high}}}, None where there is none.
      shapes: {name: shape} of the values to show; what is neither hollow nor full is
        a baseline, and stands below those.

    Returns:
      The chart.
    """
    across = _place((0, 1), (LEFT + 10, RIGHT))
    marks = []
    for row, label in enumerate(names):
        for name, shape in shapes.items():
            found = values[name][label]
            if found["value"] is None:
                continue
            ends = None
            if found["low"] is not None:
                ends = across(found["low"]), across(found["high"])
            y = TOP + _ROW * row + _HEIGHTS.get(shape, _BASELINE)
            colour = row if row < len(names) - 1 and shape in _HEIGHTS else None
            marks.append(Mark(name, shape, across(found["value"]), ends, y, colour))
    places = [(TOP + _ROW * row + 22, name) for row, name in enumerate(names)]
    ticks = [(across(tick), f"{tick:g}") for tick in (0, 0.2, 0.4, 0.6, 0.8, 1)]
    return Rows(title, TOP + _ROW * len(names) + 30, places, ticks, marks)


def heat_map(
    title: str,
    values: np.ndarray,
    x: Sequence[float],
    y: Sequence[float],
    *,
    marks: Mapping[str, tuple[float, float]],
    reach: float = 0.15,
) -> HeatMap:
    """Shades a grid of values, a cell about each.

    Args:
      title: of the map.
      values: float[Y, X].
      x: of the columns, rising, two at least.
      y: of the rows, the same.
      marks: x and y by name; beyond the grid they stand at its edge, and those of
        a higher x are told as such.
      reach: what lies further below the highest value is not shaded.

    Returns:
      The map.
    """
    best = float(values.max())
    shades = np.clip((values - best + reach) / reach, 0, 1).round(2)
    columns, rows = _edges(x), _edges(y)
    across = _place((columns[0], columns[-1]), (LEFT, RIGHT))
    down = _place((rows[0], rows[-1]), (BOTTOM, TOP))
    columns, rows = [across(edge) for edge in columns], [down(edge) for edge in rows]
    cells = [
        Cell(
            columns[k],
            rows[n + 1],
            round(columns[k + 1] - columns[k], 1),
            round(rows[n] - rows[n + 1], 1),
            shade,
        )
        for (n, k), shade in np.ndenumerate(shades)
        if shade > 0
    ]
    x_ticks = [t for t in _ticks((x[0], x[-1]), True) if x[0] <= t <= x[-1]]
    y_ticks = [t for t in _ticks((y[0], y[-1])) if y[0] <= t <= y[-1]]
    return HeatMap(
        title,
        cells,
        [(across(tick), f"{tick:,g}") for tick in x_ticks],
        [(down(tick), f"{tick:g}") for tick in y_ticks],
        [
            (
                name,
                RIGHT if a > x[-1] else across(max(a, x[0])),
                down(np.clip(b, y[0], y[-1])),
                a > x[-1],
            )
            for name, (a, b) in marks.items()
        ],
        (best - reach, best),
    )


def _floats(values) -> list[float]:
    return [np.nan if value is None else float(value) for value in values]


def _range(values) -> tuple[float, float]:
    joined = np.concatenate([np.asarray(v, float) for v in values] or [[]])
    joined = joined[np.isfinite(joined)]
    if not len(joined):
        return 0.0, 1.0
    low, high = float(joined.min()), float(joined.max())
    return (low, high) if low < high else (low - 0.5, high + 0.5)


def _ticks(ends, whole=False) -> list[float]:
    locator = MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=whole)
    # 0.30000000000000004 is 0.3.
    return [float(f"{tick:.10g}") for tick in locator.tick_values(*ends)]


def _edges(values) -> np.ndarray:
    """The edges of cells about values: half way to the next."""
    values = np.asarray(values, float)
    middles = (values[1:] + values[:-1]) / 2
    first, last = 2 * values[0] - middles[0], 2 * values[-1] - middles[-1]
    return np.concatenate([[first], middles, [last]])


def _place(ends, frame):
    scale = (frame[1] - frame[0]) / (ends[1] - ends[0])
    return lambda value: round(float(frame[0] + (value - ends[0]) * scale), 1)


def _pieces(line, across, down):
    pieces = [[]]
    for x, y in zip(line.x, line.y, strict=True):
        if np.isfinite(y):
            pieces[-1].append((across(x), down(y)))
        elif pieces[-1]:
            pieces.append([])
    return [piece for piece in pieces if piece]


def _described(shown, axes):
    parts = []
    for line in shown:
        there = [y for y in line.y if np.isfinite(y)]
        if not there:
            parts.append(f"{line.name}: no values")
        else:
            ends = f"from {there[0]:.3g} to {there[-1]:.3g}"
            parts.append(f"{line.name}: {ends}, highest {max(there):.3g}")
    return f"{axes[1]} over {axes[0]}. {'; '.join(parts)}."
