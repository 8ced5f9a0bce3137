import pandas as pd
import pytest

from clouds.errors import InputError
from clouds.report import series

COLUMNS = ["epoch", *(p + name for name in series.HISTORY for p in ("", "val_"))]


def test_a_history_counts_its_epochs_from_one(tmp_path):
    table = pd.DataFrame([[0, *range(6)], [1, *range(6)]], columns=COLUMNS)
    table.to_csv(tmp_path / "history.csv", index=False)
    line = series.history(series.read_history(str(tmp_path)), "val_loss", "a", dash=2)
    assert (list(line.x), list(line.y), line.dash) == ([1, 2], [1, 1], 2)


def test_without_a_history_there_is_none_and_a_damaged_one_is_told(tmp_path):
    assert series.read_history(str(tmp_path)) is None
    (tmp_path / "history.csv").write_text("epoch,loss\n0,1\n")
    with pytest.raises(InputError, match="without dice_coef, mean_dice, val_dice"):
        series.read_history(str(tmp_path))
    (tmp_path / "history.csv").write_text("")
    with pytest.raises(InputError, match="Remove it, or train again"):
        series.read_history(str(tmp_path))


def test_precision_holds_until_the_next_image():
    curve = {"precision": [1, 0.5, 0.6], "recall": [0.3, 0.3, 1], "score": [3, 2, 1]}
    facts = {"precision_recall": {"Fish": curve, "Sugar": None}}
    line = series.precision_recall(facts, "Fish", "a", colour=0)
    steps = [(0, 1), (0, 1), (0.3, 1), (0.3, 0.5), (0.3, 0.5), (0.3, 0.6), (1, 0.6)]
    assert list(zip(line.x, line.y, strict=True)) == steps
    assert series.precision_recall(facts, "Sugar", "a").x == []


def test_bins_without_pixels_are_left_out():
    found = {"probability": [0.1, None, 0.9], "frequency": [0, None, 1]}
    facts = {"calibration": {"pixels": {"Fish": found}}}
    line = series.calibration(facts, "pixels", "Fish", "a")
    assert (list(line.x), list(line.y)) == ([0.1, 0.9], [0, 1])
    found |= {"probability": [None], "frequency": [None]}
    assert list(series.calibration(facts, "pixels", "Fish", "a").x) == []
