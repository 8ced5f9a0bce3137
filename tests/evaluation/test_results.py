import json
import shutil

import numpy as np
import pandas as pd
import pytest

from clouds import schema
from clouds.errors import InputError
from clouds.evaluation import results, scores


def test_what_was_written_is_read_again(evaluated):
    found = results.read(str(evaluated / "a"))
    assert len(found.images.names) == found.facts["images"] == 4
    figures = scores.figures(found.images, np.ones((1, 4)))
    for name, values in figures.items():
        written = found.facts["figures"][name]
        expected = [written[label]["value"] for label in schema.LABELS]
        expected = [np.nan if value is None else value for value in expected]
        np.testing.assert_allclose(values[0], expected, err_msg=name)
    np.testing.assert_allclose(found.dice.mean(), figures["dice_post"][0])
    assert found.dice.index.tolist() == found.images.names


def test_a_folder_without_an_evaluation_has_none(tmp_path):
    assert results.read(str(tmp_path)) is None


@pytest.mark.parametrize("damage", ["json", "old", "no table", "short", "labels"])
def test_a_damaged_one_is_told(evaluated, tmp_path, damage):
    folder = tmp_path / "run"
    shutil.copytree(evaluated / "a", folder)
    path, table = folder / "metrics.json", folder / "metrics_images.csv"
    rows = pd.read_csv(table)
    if damage == "json":
        path.write_text("{")
    elif damage == "old":
        path.write_text(json.dumps({"images": 4, "mean_dice": {}}))
    elif damage == "no table":
        table.unlink()
    else:
        rows = rows[:-4] if damage == "short" else rows[::-1]
        rows.to_csv(table, index=False)
    with pytest.raises(InputError, match="as bin/evaluate writes it.*Evaluate again"):
        results.read(str(folder))
