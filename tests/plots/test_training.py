import cv2
import numpy as np
import pandas as pd
import pytest
from helpers.figures import legends_beside_their_panels

from clouds import schema
from clouds.plots import common, training

COLUMNS = [prefix + name for name in training.METRICS for prefix in ("", "val_")]
PER_LABEL = [f"val_dice_{label.lower()}" for label in schema.CLOUDS.labels]


def history(epochs, columns=COLUMNS):
    values = np.random.default_rng(0).random((epochs, len(columns)))
    table = pd.DataFrame(values, columns=columns)
    return table.rename_axis("epoch").reset_index()


@pytest.mark.parametrize("columns", [COLUMNS, COLUMNS + PER_LABEL])
@pytest.mark.parametrize("epochs", [1, 2])
def test_a_history_becomes_a_picture(tmp_path, epochs, columns):
    training.draw_history(history(epochs, columns), tmp_path / "history.png")
    assert [path.name for path in tmp_path.iterdir()] == ["history.png"]
    picture = cv2.imread(str(tmp_path / "history.png"))
    assert picture.shape == (800, 1200, 3)
    assert len(set(map(tuple, picture.reshape(-1, 3)))) > 10


@pytest.mark.parametrize("epochs", [1, 60])
def test_legends_do_not_cover_curves(epochs):
    panels = training.panels(history(epochs, COLUMNS + PER_LABEL))
    figure = common.arrange(panels, columns=2, size=(6, 4))
    assert legends_beside_their_panels(figure) == 4


def test_epochs_count_from_one():
    table = history(3)
    (ax,) = common.arrange(training.panels(table)[:1], columns=1, size=(4, 3)).axes
    own, validation = ax.lines
    assert (own.get_label(), validation.get_label()) == ("training", "validation")
    assert list(validation.get_xdata()) == [1, 2, 3]
    assert list(validation.get_ydata()) == list(table["val_loss"])
    assert all(tick == int(tick) for tick in ax.get_xticks())


def test_the_runs_of_a_comparison_differ_by_their_dashes():
    runs = {"a": history(3), "b": history(5)}
    panels = training.comparison(runs)
    assert len(panels) == len(training.METRICS)
    (ax,) = common.arrange(panels[1:2], columns=1, size=(4, 3)).axes
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    assert list(ax.lines[1].get_ydata()) == list(runs["b"]["val_dice_coef"])
    assert ax.lines[0].get_linestyle() != ax.lines[1].get_linestyle()
