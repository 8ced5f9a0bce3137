import cv2
import numpy as np
import pytest
from helpers.figures import legends_beside_their_panels

from clouds import schema
from clouds.plots import common, evaluation
from clouds.plots.evaluation import Line

_OF_MASKS = ("dice", "dice_non_empty", "empty_found", "empty_right", "iou")
_OF_MASKS += ("precision", "recall")
_OTHERS = ("dice_all_empty", "dice_all_full", "dice_best_constant", "present")
_OTHERS += ("average_precision", "ece_pixels", "ece_presence")


def measured(value=0.6):
    """Contents of metrics.json; without a value, nothing is defined."""
    names = [f"{name}_{kind}" for name in _OF_MASKS for kind in ("plain", "post")]
    interval = dict.fromkeys(("value", "low", "high"))
    if value is not None:
        interval = {"value": value, "low": value - 0.1, "high": value + 0.1}
    rows = dict.fromkeys((*schema.CLOUDS.labels, "mean"), interval)
    figures = dict.fromkeys((*names, *_OTHERS), rows)
    # These are always defined.
    certain = {"value": 0.1, "low": None, "high": None}
    for name in ("present", "ece_pixels", "ece_presence"):
        figures[name] = dict.fromkeys((*schema.CLOUDS.labels, "mean"), certain)
    steps = np.linspace(0.1, 0.9, 9)
    curve = {"precision": (1 - steps).tolist(), "recall": steps.tolist()}
    bins = {"probability": steps.tolist(), "frequency": (steps**2).tolist()}
    shares = np.eye(5).tolist()
    if value is None:
        curve, shares = None, [[None] * 5] * 5
        bins = {"probability": [None] * 9, "frequency": [None] * 9}
    of_labels = dict.fromkeys(schema.CLOUDS.labels, bins)
    return {
        "figures": figures,
        "precision_recall": dict.fromkeys(schema.CLOUDS.labels, curve),
        "calibration": {"pixels": of_labels, "presence": of_labels},
        "confusion": {"labels": [*schema.CLOUDS.labels, "none"], "shares": shares},
    }


def axes_of(panels):
    return common.arrange(list(panels), columns=1, size=(5, 4)).axes


def colours_of(path):
    picture = cv2.imread(str(path))[..., ::-1]
    return picture.shape, set(map(tuple, picture.reshape(-1, 3).tolist()))


def rgb(colour):
    return tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))


def test_an_evaluation_becomes_a_picture_in_the_colours_of_the_labels(tmp_path):
    evaluation.draw_evaluation(measured(), tmp_path / "metrics.png", title="val")
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.png"]
    shape, colours = colours_of(tmp_path / "metrics.png")
    assert shape == (900, 1500, 3)
    assert {rgb(colour) for colour in schema.CLOUDS.colours} <= colours


def test_legends_do_not_cover_panels():
    panels = evaluation.panels(measured())
    figure = common.arrange(panels, columns=len(panels), size=(5, 4.5))
    assert legends_beside_their_panels(figure) == 5


@pytest.mark.parametrize("value", [None, 0.0])
def test_metrics_that_are_not_defined_leave_gaps(value, tmp_path):
    evaluation.draw_evaluation(measured(value), tmp_path / "metrics.png", title="val")
    assert (tmp_path / "metrics.png").exists()


def test_an_interval_without_its_value_is_drawn(tmp_path):
    metrics = measured()
    metrics["figures"]["dice_post"]["Fish"] |= {"low": 0.65}
    evaluation.draw_evaluation(metrics, tmp_path / "metrics.png", title="val")


def test_bars_show_the_dice_and_marks_the_baselines():
    metrics = measured()
    metrics["figures"]["dice_post"] = {
        row: {"value": k / 10, "low": 0, "high": 1}
        for k, row in enumerate((*schema.CLOUDS.labels, "mean"))
    }
    (ax,) = axes_of([evaluation.panels(metrics)[0]])
    heights = [bar.get_height() for bar in ax.patches]
    assert heights == [0.6] * 5 + [0, 0.1, 0.2, 0.3, 0.4]
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names[:2] == ["thresholded only", "post-processed"]
    assert names[2:] == ["all empty", "best constant", "all full"]


def test_precision_holds_until_the_next_image():
    curve = {"precision": [1, 0.5, 0.6], "recall": [0.3, 0.3, 1]}
    metrics = measured()
    metrics["precision_recall"] |= {"Fish": curve, "Sugar": None}
    lines = [Line("a", metrics, 0, 0), Line("b", metrics, 3, 1)]
    (ax,) = axes_of([evaluation.precision_recall("Presence", lines)])
    curves = [line for line in ax.lines if line.get_label() in "ab"]
    assert list(curves[0].get_xdata()) == [0, 0.3, 0.3, 1]
    assert list(curves[0].get_ydata()) == [1, 1, 0.5, 0.6]
    assert curves[0].get_drawstyle() == "steps-pre"
    assert len(curves[1].get_xdata()) == 0
    colours = [line.get_color() for line in curves]
    assert colours == [schema.CLOUDS.colours[0], schema.CLOUDS.colours[3]]


def test_empty_bins_are_left_out_of_a_calibration():
    metrics = measured()
    bins = {"probability": [0.1, None, 0.9], "frequency": [0, None, 1]}
    metrics["calibration"]["pixels"] = {"Fish": bins}
    line = Line("a", metrics, 0, 0)
    (ax,) = axes_of([evaluation.calibration("Calibration", "pixels", [line])])
    assert list(ax.lines[1].get_xdata()) == [0.1, 0.9]
    assert list(ax.lines[1].get_ydata()) == [0, 1]


def test_points_at_the_edge_are_not_cut():
    axes = axes_of(evaluation.panels(measured(1.0)))
    lines = [line for ax in axes for line in ax.lines if line.get_marker() == "o"]
    points = [line for line in lines if 1 in line.get_xdata()]
    assert points
    assert not any(line.get_clip_on() for line in points)
