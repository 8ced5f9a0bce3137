import json

import numpy as np
import pandas as pd
import pytest

from clouds.data.masks import boxes
from clouds.errors import InputError

LABELS = ("Fish", "Flower", "Gravel", "Sugar")
SIZE = (14, 21)


def classification(**changes):
    row = {
        "classification_id": "1",
        "user_name": "ann",
        "user_id": "7",
        "workflow_name": "Full dataset",
        "workflow_version": "13.11",
        "annotations": json.dumps(
            [
                {"task": "T1", "value": "Yes"},
                {
                    "task": "T0",
                    "value": [
                        {"x": 1, "y": 2, "width": 4, "height": 4, "tool_label": "Fish"}
                    ],
                },
            ]
        ),
        "subject_data": json.dumps({"99": {"retired": None, "fn": "Region/a.jpg"}}),
    }
    return row | changes


def export(tmp_path, *rows):
    pd.DataFrame(rows).to_csv(tmp_path / "export.csv", index=False)
    return str(tmp_path / "export.csv")


def test_an_export_of_zooniverse_is_read(tmp_path):
    nothing = json.dumps([{"task": "T0", "value": []}])
    path = export(
        tmp_path,
        classification(),
        classification(user_id="8", annotations=nothing),
        classification(user_id="", user_name="not-logged-in-1"),
    )
    read = boxes.read(path, LABELS, SIZE)
    assert {number: one.images for number, one in read.items()} == {
        "1": {"a.jpg": [(0, 1, 2, 5, 6)]},
        "2": {"a.jpg": []},
    }


def test_workflows_of_an_export_must_be_chosen(tmp_path):
    path = export(
        tmp_path, classification(), classification(workflow_version="2.1", user_id="8")
    )
    with pytest.raises(InputError, match=r"several\. .*'Full dataset 13\.11' \(1\)"):
        boxes.read(path, LABELS, SIZE)
    with pytest.raises(InputError, match="no workflow 'Practice 1'"):
        boxes.read(path, LABELS, SIZE, ("Practice 1",))
    assert len(boxes.read(path, LABELS, SIZE, ("Full dataset 2.1",))) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"annotations": "{"},
        {"annotations": '[{"task": "T0", "value": [{"tool_label": "Fish", "x": 1}]}]'},
        {"subject_data": "{}"},
        {"subject_data": '{"99": {"retired": null}}'},
    ],
)
def test_a_damaged_classification_is_named(tmp_path, changes):
    path = export(tmp_path, classification(), classification(**changes))
    with pytest.raises(InputError, match="row 3: annotations or subject_data"):
        boxes.read(path, LABELS, SIZE)


def test_netcdf_of_c3ontext_is_read(tmp_path):
    xarray = pytest.importorskip("xarray", reason="`bin/setup geo` installs it")
    columns = {
        "user_id": [7, 7, 9],
        "fn": ["R/a.jpg", "R/a.jpg", "R/a.jpg"],
        "x": [1.0, 0.0, np.nan],
        "y": [2.0, 0.0, np.nan],
        "width": [4.0, 30.0, np.nan],
        "height": [4.0, 3.0, np.nan],
        "tool_label": ["Flowers", "Sugar", "nan"],
    }
    path = tmp_path / "level1.nc"
    arrays = {name: ("index", np.array(values)) for name, values in columns.items()}
    xarray.Dataset(arrays).to_netcdf(path, engine="h5netcdf")
    read = boxes.read(str(path), LABELS, SIZE)
    assert read["1"].images == {"a.jpg": [(1, 1, 2, 5, 6), (3, 0, 0, 21, 3)]}
    assert (read["1"].clipped, read["2"].images) == (1, {"a.jpg": []})
    xarray.Dataset({"fn": arrays["fn"]}).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(InputError, match="cannot be read as NetCDF of C3ONTEXT"):
        boxes.read(str(path), LABELS, SIZE)
