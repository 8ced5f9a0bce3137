import cv2
import numpy as np
import pytest
from helpers.figures import legends_beside_their_panels

from clouds import schema
from clouds.config.rule import NOTHING, Rule
from clouds.plots import evaluation

_NAMES = ("dice", "dice_non_empty", "empty_found", "empty_right", "iou", "precision")


def found(value=0.6):
    names = [f"{n}_{k}" for n in (*_NAMES, "recall") for k in ("plain", "post")]
    names += ["dice_all_empty", "dice_all_full", "dice_best_constant"]
    names += ["average_precision", "present"]
    return {name: np.tile([value, value - 0.1, value + 0.1], (5, 1)) for name in names}


def evaluated(value=0.6, curve=True):
    steps = np.linspace(0.1, 0.9, 9)
    of_labels = np.tile(steps, (4, 1))
    bins = of_labels, of_labels**2, np.full(4, 0.1)
    if not curve:
        bins = tuple(np.full_like(part, np.nan) for part in bins)
    return {
        "figures": found(value),
        "curves": [(1 - steps, steps) if curve else None] * 4,
        "reliability": {"pixels": bins, "presence": bins},
        "confusion": np.eye(5) * bool(curve) * 1e6,
    }


def colours_of(path):
    picture = cv2.imread(str(path))[..., ::-1]
    return picture.shape, set(map(tuple, picture.reshape(-1, 3).tolist()))


def rgb(colour):
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def test_an_evaluation_becomes_a_picture_in_the_colours_of_the_labels(tmp_path):
    evaluation.evaluation(**evaluated(), path=tmp_path / "metrics.png", title="val")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.png"]
    shape, colours = colours_of(tmp_path / "metrics.png")
    assert shape == (900, 1500, 3)
    assert {rgb(colour) for colour in schema.COLOURS} <= colours


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would have become files."""
    drawn = []
    monkeypatch.setattr(
        evaluation.common, "save", lambda figure, path: drawn.append(figure)
    )
    return drawn


def test_no_legend_lies_in_a_panel(drawn, tmp_path):
    evaluation.evaluation(**evaluated(), path=tmp_path / "metrics.png", title="val")
    assert legends_beside_their_panels(drawn[0]) == 4


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_figures_that_are_not_defined_leave_gaps(value, tmp_path):
    fields = evaluated(value, curve=False)
    evaluation.evaluation(**fields, path=tmp_path / "metrics.png", title="val")
    assert (tmp_path / "metrics.png").exists()


def test_an_interval_beside_its_value_is_no_mistake(tmp_path):
    fields = evaluated()
    fields["figures"]["dice_post"][:, 1] = 0.65
    evaluation.evaluation(**fields, path=tmp_path / "metrics.png", title="val")


def test_a_tuning_becomes_a_heat_map_a_label(tmp_path):
    thresholds, sizes = np.arange(1, 32) / 32, range(0, 31000, 1000)
    grid = np.random.default_rng(0).random((4, 31, 31))
    chosen = Rule(
        thresholds=(0.3, 0.4, 0.5, 0.6),
        min_sizes=(5, 9, 90000, NOTHING),
        tops=(0, 0, 0.7, 0),
    )
    path = tmp_path / "tuning.png"
    evaluation.tuning(grid, thresholds, sizes, chosen, path)
    assert [path.name for path in tmp_path.iterdir()] == ["tuning.png"]
    shape, colours = colours_of(path)
    assert shape[1] == 1500 and len(colours) > 200
    assert {rgb(colour) for colour in schema.COLOURS} <= colours


def test_an_arrow_and_the_area_tell_of_what_lies_beyond_the_axis(drawn, tmp_path):
    sizes = (5, 30000, 90000, NOTHING)
    grid = np.random.default_rng(0).random((4, 31, 31))
    thresholds, shown = np.arange(1, 32) / 32, range(0, 31000, 1000)
    chosen = Rule(min_sizes=sizes)
    evaluation.tuning(grid, thresholds, shown, chosen, tmp_path / "tuning.png")
    panels = drawn[0].axes[:4]
    marks = [[line.get_marker() for line in ax.lines] for ax in panels]
    assert marks == [["o", "*"], ["o", "*"], ["o", ">"], ["o", ">"]]
    texts = [[text.get_text() for text in ax.texts] for ax in panels]
    assert texts == [[], [], ["chosen: 90,000"], ["chosen: nothing drawn"]]


def test_points_at_the_edge_are_whole(drawn, tmp_path):
    evaluation.evaluation(**evaluated(1.0), path=tmp_path / "metrics.png", title="val")
    points = [
        line
        for ax in drawn[0].axes
        for line in ax.lines
        if line.get_marker() == "o" and 1 in line.get_ydata()
    ]
    assert points
    assert not any(line.get_clip_on() for line in points)


def test_a_flat_map_is_drawn_as_well(tmp_path):
    thresholds, sizes = np.arange(1, 32) / 32, range(0, 31000, 1000)
    grid = np.ones((4, 31, 31))
    evaluation.tuning(grid, thresholds, sizes, Rule(), tmp_path / "tuning.png")
    assert (tmp_path / "tuning.png").exists()
