import pandas as pd
import pytest

from clouds.errors import InputError
from clouds.plots import training
from clouds.report import sources
from clouds.runs import run_facts

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


@pytest.mark.parametrize("value", ["", "x", "1e999"])
def test_a_history_without_numbers_is_refused(tmp_path, value):
    table = pd.DataFrame([[0, *range(6)], [1, *range(5), value]], columns=COLUMNS)
    table.to_csv(tmp_path / "history.csv", index=False)
    with pytest.raises(InputError, match="history.csv is damaged"):
        sources.read_history(str(tmp_path))


def test_a_history_that_is_not_utf_8_is_refused(tmp_path):
    (tmp_path / "history.csv").write_bytes(",".join(COLUMNS).encode() + b"\n\xff")
    with pytest.raises(InputError, match="history.csv is damaged"):
        sources.read_history(str(tmp_path))


def test_a_history_that_has_changed_since_the_training_is_refused(tmp_path):
    path = tmp_path / "history.csv"
    table = pd.DataFrame([[0, *range(6)]], columns=COLUMNS)
    with run_facts.replacing(path) as part:
        table.to_csv(part, index=False)
    pd.testing.assert_frame_equal(sources.read_history(str(tmp_path)), table)
    path.write_text(path.read_text().replace("5", "4"))
    with pytest.raises(InputError, match="history.csv is damaged or was replaced"):
        sources.read_history(str(tmp_path))


def test_a_json_file_must_have_all_fields_with_their_types(tmp_path):
    assert sources.read_json(str(tmp_path), "a.json", {"x": int}) is None
    (tmp_path / "a.json").write_text('{"x": 1}')
    assert sources.read_json(str(tmp_path), "a.json", {"x": int}) == {"x": 1}
    with pytest.raises(InputError, match="without y"):
        sources.read_json(str(tmp_path), "a.json", {"x": int, "y": int})
    with pytest.raises(InputError, match="x is int, not str"):
        sources.read_json(str(tmp_path), "a.json", {"x": str})
    for contents in (b"{", b"\xff", b"[" * 100_000, b"[]"):
        (tmp_path / "a.json").write_bytes(contents)
        with pytest.raises(InputError, match="a.json is damaged"):
            sources.read_json(str(tmp_path), "a.json", {"x": int})
