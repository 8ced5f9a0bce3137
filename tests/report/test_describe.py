import json

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers.annotated import GRID, noise, write_csv

from clouds import schema
from clouds.cli import main
from clouds.config.data import Description
from clouds.data import annotations
from clouds.report import describe


def test_counts_are_those_of_a_walk_over_the_images(tmp_path):
    masks = noise()
    tables = describe.count(annotations.read(write_csv(tmp_path, masks)).present)
    labels, both = tables["labels"], tables["both"]
    sets = [[n for n, label in enumerate(m.T) if label.any()] for m in masks]
    assert sum(map(len, sets)) == labels["masks"].sum()
    for row, label in enumerate(schema.CLOUDS.labels):
        having = [each for each in sets if row in each]
        assert labels["masks"][label] == len(having)
        assert labels["of_images"][label] == len(having) / 40
        assert labels["of_masks"][label] == len(having) / labels["masks"].sum()
        for column, other in enumerate(schema.CLOUDS.labels):
            count = sum(column in each for each in having)
            assert both.loc[label, other] == count
            share = tables["both_share"].loc[label, other]
            assert share == count / len(having)
    for number in range(5):
        images = sum(len(each) == number for each in sets)
        assert tables["labels_per_image"]["images"][number] == images
    names = [
        " + ".join(schema.CLOUDS.labels[n] for n in each) or "none" for each in sets
    ]
    assert tables["sets"]["images"].to_dict() == {n: names.count(n) for n in names}
    assert tables["sets"]["images"].is_monotonic_decreasing
    assert tables["sets"]["share"].sum() == pytest.approx(1)


def test_specks_and_patches_are_listed_separately(tmp_path):
    # 10 of 100x100 pixels are just a patch, 9 just a speck.
    texts = [["1 10 21 9 201 40 350 1", "1 9", "1 10", ""]]
    path = write_csv(tmp_path, None, texts=texts)
    settings = Description(csv=path, out=str(tmp_path), grid=(100, 100))
    tables = describe.describe(settings)
    assert tables["components"]["specks"].tolist() == [2, 1, 0, 0]
    assert tables["components"]["patches"].tolist() == [2, 0, 1, 0]
    assert tables["patch_area"]["50%"].tolist() == [25, pd.NA, 10, pd.NA]
    assert tables["patch_area_share"]["max"].iloc[0] == 0.004


def test_text_json_and_picture_agree(tmp_path, capsys):
    masks = noise()
    out = tmp_path / "new" / "folder"
    flags = ["--csv", write_csv(tmp_path, masks), "--out", str(out), "--grid", "12x9"]
    assert main.main(["describe", *flags]) == 0
    assert {path.name for path in out.iterdir()} == {
        "statistics.json",
        "statistics.png",
    }
    assert cv2.imread(str(out / "statistics.png")).shape == (900, 1500, 3)
    written = json.loads((out / "statistics.json").read_text())
    assert (written["rows"], written["images"]) == (160, 40)
    areas = masks.sum((1, 2))
    for label, name in enumerate(schema.CLOUDS.labels):
        present = areas[:, label][areas[:, label] > 0]
        quantiles = np.quantile(present, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
        assert list(written["area"][name].values()) == np.round(quantiles).tolist()
        shares = list(written["area_share"][name].values())
        np.testing.assert_allclose(shares, quantiles / 108)
    shown = capsys.readouterr().out
    assert "160 rows, 40 images" in shown
    line = next(line for line in shown.splitlines() if line.startswith("Sugar "))
    assert line.split()[1] == str(written["labels"]["Sugar"]["masks"])
    assert "label" not in map(str.strip, shown.splitlines())
    assert "nan" not in shown.lower()


def test_a_csv_without_a_mask_is_described(tmp_path, capsys):
    path = write_csv(tmp_path, np.zeros((2, *GRID, 4), bool))
    assert main.main(["describe", "--csv", path, "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "statistics.json").read_text())
    assert written["masks"] == 0
    assert written["sets"] == {"none": {"images": 2, "share": 1.0}}
    assert written["area"]["Fish"]["50%"] is None
    assert "nan" not in capsys.readouterr().out.lower()


def test_a_broken_text_is_named_by_row_and_run(tmp_path, capsys):
    path = write_csv(tmp_path, None, texts=[["1 2", "", "5 1 4 1", ""]])
    out = tmp_path / "out"
    flags = ["--csv", path, "--out", str(out), "--grid", "12x9"]
    assert main.main(["describe", *flags]) == 2
    shown = capsys.readouterr().err
    assert "run 2" in shown
    assert "train.csv, row 4" in shown
    assert not out.exists()


def test_images_without_rows_are_counted(sample, tmp_path, capsys):
    rows = (sample / "train.csv").read_text().splitlines(keepends=True)
    csv = tmp_path / "some.csv"
    csv.write_text("".join(rows[: 1 + 4 * 17]))
    flags = ["--csv", csv, "--images", sample / "train_images", "--out", tmp_path]
    assert main.main(["describe", *map(str, flags)]) == 0
    shown = capsys.readouterr().out
    assert "train_images: 3 images without rows, which are not counted below" in shown


def test_an_unlikely_grid_is_warned_of(tmp_path, capsys):
    masks = np.zeros((1, 70, 105, 4), bool)
    masks[:, 10:30, 20:50] = True
    flags = ["--csv", write_csv(tmp_path, masks), "--out", str(tmp_path)]
    assert main.main(["describe", *flags]) == 0
    warned = capsys.readouterr().err
    assert "describe: warning: " in warned and "most runs start about 70" in warned
    assert main.main(["describe", *flags, "--grid", "70x105"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_the_real_csv_counts_as_is_known(real_data):
    table = annotations.read(str(real_data / "train.csv.xz"))
    assert (table.texts.size, len(table.images)) == (12852, 3213)
    tables = describe.count(table.present)
    assert tables["labels"]["masks"].tolist() == [1610, 1369, 1703, 2171]
    images = tables["labels_per_image"]["images"]
    assert images.tolist() == [0, 781, 1377, 902, 153]
