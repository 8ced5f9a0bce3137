import pandas as pd
import pytest

from clouds.errors import InputError
from clouds.plots import training
from clouds.report import sources

COLUMNS = ["epoch", *(p + name for name in training.METRICS for p in ("", "val_"))]


def test_a_history_is_read(tmp_path):
    assert sources.read_history(str(tmp_path)) is None
    table = pd.DataFrame([[0, *range(6)], [1, *range(6)]], columns=COLUMNS)
    table.to_csv(tmp_path / "history.csv", index=False)
    pd.testing.assert_frame_equal(sources.read_history(str(tmp_path)), table)


def test_a_damaged_history_is_refused(tmp_path):
    (tmp_path / "history.csv").write_text("epoch,loss\n0,1\n")
    with pytest.raises(InputError, match="without val_loss, dice_coef, val_dice_coef"):
        sources.read_history(str(tmp_path))
    (tmp_path / "history.csv").write_text("")
    with pytest.raises(InputError, match="history.csv is damaged"):
        sources.read_history(str(tmp_path))


def test_a_json_file_must_have_all_keys(tmp_path):
    assert sources.read_json(str(tmp_path), "a.json", ["x"]) is None
    (tmp_path / "a.json").write_text('{"x": 1}')
    assert sources.read_json(str(tmp_path), "a.json", ["x"]) == {"x": 1}
    with pytest.raises(InputError, match="without y, z"):
        sources.read_json(str(tmp_path), "a.json", ["x", "y", "z"])
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match="a.json is damaged"):
        sources.read_json(str(tmp_path), "a.json", ["x"])
