import numpy as np
import pytest

from clouds.report import charts
from clouds.report.charts import Line


def line(x=(0, 1), y=(0, 1), **style):
    return Line("a line", x, y, **style)


def test_values_stand_in_the_frame_where_the_axes_say():
    chart = charts.lines("", [line((0, 0.5, 1), (0, 1, 0.5))], ("x", "y"))
    ((pieces,),) = [drawn.pieces for drawn in chart.drawn]
    middle = (charts.LEFT + charts.RIGHT) / 2
    assert pieces[:2] == [(charts.LEFT, charts.BOTTOM), (middle, charts.TOP)]
    across = {text: place for place, text in chart.x_ticks}
    down = {text: place for place, text in chart.y_ticks}
    assert (across["1"], down["0"]) == (charts.RIGHT, charts.BOTTOM)


def test_a_missing_value_parts_the_line():
    drawn = charts.lines("", [line(range(4), (1, None, 2, np.nan))], ("x", "y")).drawn
    assert [len(piece) for piece in drawn[0].pieces] == [1, 1]


def test_lines_without_values_leave_an_empty_frame():
    for values in ([], [None]):
        chart = charts.lines("", [line([0] * len(values), values)], ("x", "y"))
        assert chart.drawn[0].pieces == []
        assert "a line: no values" in chart.described
    assert charts.lines("", [], ("x", "y")).drawn == []


def test_one_value_is_drawn_and_epochs_are_whole_numbers():
    chart = charts.lines("", [line([1], [0.3])], ("epoch", "loss"), whole=True)
    assert len(chart.drawn[0].pieces) == 1
    chart = charts.lines("", [line([1, 3], [0, 1])], ("epoch", "loss"), whole=True)
    assert [text for _, text in chart.x_ticks] == ["1", "2", "3"]


def test_lines_of_one_colour_differ_by_their_dashes():
    patterns = [line(dash=k).pattern for k in range(len(charts.DASHES) + 1)]
    assert len(set(patterns)) == len(charts.DASHES)
    assert patterns[-1] == patterns[0]


def figures(value=0.5, low=0.25, high=1.0):
    found = {"value": value, "low": low, "high": high}
    return {"dice_post": {"Fish": found, "mean": found}}


def test_a_row_shows_its_value_within_its_interval():
    chart = charts.rows("", ["Fish", "mean"], figures(), {"dice_post": "full"})
    fish, mean = chart.marks
    assert (fish.colour, mean.colour) == (0, None)
    assert fish.ends[0] < fish.x < fish.ends[1] == charts.RIGHT
    assert fish.y < mean.y < chart.height


def test_what_is_not_defined_has_no_mark_and_what_has_no_interval_no_ends():
    shapes = {"dice_post": "full"}
    assert charts.rows("", ["Fish"], figures(None, None, None), shapes).marks == []
    (mark,) = charts.rows("", ["Fish"], figures(0.5, None, None), shapes).marks
    assert mark.ends is None


def test_baselines_stand_below_what_is_measured_in_the_colour_of_the_text():
    both = figures() | {"dice_all_empty": figures()["dice_post"]}
    shapes = {"dice_post": "full", "dice_all_empty": "bar"}
    ours, baseline, *_ = charts.rows("", ["Fish", "mean"], both, shapes).marks
    assert (ours.colour, baseline.colour) == (0, None)
    assert ours.x == baseline.x
    assert ours.y + 10 < baseline.y


@pytest.fixture
def heat_map():
    values = np.array([[0.2, 0.5], [0.6, 0.45], [0.3, 0.52]])
    marks = {"chosen": (0, 0.5), "default": (99999, 0.1)}
    return charts.heat_map("", values, (0, 1000), (0.25, 0.5, 0.75), marks=marks)


def test_the_best_cell_is_darkest_and_bad_ones_are_left_out(heat_map):
    shades = sorted(cell.shade for cell in heat_map.cells)
    np.testing.assert_allclose(shades, [0.33, 0.47, 1])
    np.testing.assert_allclose(heat_map.ends, (0.45, 0.6))


def test_marks_lie_on_their_cells_or_at_the_edge(heat_map):
    (best,) = [cell for cell in heat_map.cells if cell.shade == 1]
    (_, x, y, inside), (_, far, low, beyond) = heat_map.marks
    assert (inside, beyond) == (False, True)
    assert 0 < x - best.x < best.width
    assert 0 < y - best.y < best.height
    assert x < far <= charts.RIGHT
    assert y < low <= charts.BOTTOM
