import json

import cv2
import numpy as np
import pandas as pd
import pytest
from helpers import references

from clouds import config, rle, schema
from clouds.cli import main
from clouds.data import annotations
from clouds.errors import InputError
from clouds.report import describe

GRID = (12, 9)


def write(folder, masks, *, texts=None) -> str:
    """A csv of masks bool[N, H, W, C], or of the texts given."""
    if texts is None:
        texts = [[rle.encode(m[..., c]) for c in range(4)] for m in masks]
    rows = [
        f"{image}.jpg_{label},{text}\n"
        for image, row in enumerate(texts)
        for label, text in zip(schema.LABELS, row, strict=True)
    ]
    path = folder / "train.csv"
    path.write_text("Image_Label,EncodedPixels\n" + "".join(rows))
    return str(path)


def noise(images: int = 40) -> np.ndarray:
    """Speckled masks, among them full, empty and nasty ones."""
    draw = np.random.default_rng(0).random
    masks = draw((images, *GRID, 4)) < draw((images, 1, 1, 4))
    masks &= draw((images, 1, 1, 4)) < [0.9, 0.4, 0.6, 0.7]
    masks[1:3], masks[3] = True, False
    for image, plane in enumerate(references.NASTY.values(), 4):
        masks[image, ..., 1] = plane(*GRID)
    return masks


def test_counts_are_those_of_a_walk_over_the_images(tmp_path):
    masks = noise()
    counts = describe.count(annotations.read(write(tmp_path, masks)))
    sets = [[n for n, label in enumerate(m.T) if label.any()] for m in masks]
    assert (counts.rows, counts.images) == (160, 40)
    assert counts.masks == sum(map(len, sets)) == counts.labels["masks"].sum()
    for row, label in enumerate(schema.LABELS):
        having = [labels for labels in sets if row in labels]
        assert counts.labels["masks"][label] == len(having)
        assert counts.labels["of_images"][label] == len(having) / 40
        assert counts.labels["of_masks"][label] == len(having) / counts.masks
        for column, other in enumerate(schema.LABELS):
            both = sum(column in labels for labels in having)
            assert counts.both.loc[label, other] == both
            assert counts.both_share.loc[label, other] == both / len(having)
    for number in range(5):
        images = sum(len(labels) == number for labels in sets)
        assert counts.labels_per_image["images"][number] == images
    names = [" + ".join(schema.LABELS[n] for n in labels) or "none" for labels in sets]
    assert counts.sets["images"].to_dict() == {n: names.count(n) for n in names}
    assert counts.sets["images"].is_monotonic_decreasing
    assert counts.sets["share"].sum() == pytest.approx(1)


@pytest.mark.parametrize("at_once", [1, 7, 1000])
def test_areas_are_those_of_painted_masks(tmp_path, monkeypatch, at_once):
    monkeypatch.setattr(describe, "_MASKS_AT_ONCE", at_once)
    masks = noise()
    read = annotations.read(write(tmp_path, masks))
    areas = describe.measure(read, GRID)
    rows, found = [], []
    for image, label in np.argwhere(masks.any((1, 2))):
        numbers = references.components(masks[image, ..., label])
        sizes = [(numbers == n).sum() for n in range(1, numbers.max() + 1)]
        rows.append((schema.LABELS[label], sum(sizes), len(sizes)))
        found += [(schema.LABELS[label], size) for size in sorted(sizes)]
    columns = ["label", "area", "components"]
    assert list(areas.masks[columns].itertuples(index=False, name=None)) == rows
    assert sorted(areas.components.itertuples(index=False, name=None)) == sorted(found)


def test_runs_that_touch_are_one_and_masks_end_to_end_are_two(tmp_path):
    # In one column: a run in three parts. Then up to the last pixel, then from the
    # first one on; a run over two columns and a half.
    texts = [["1 2 3 1 4 2", "97 12", "1 3", "2 29"]]
    areas = describe.measure(annotations.read(write(tmp_path, None, texts=texts)), GRID)
    assert areas.masks["area"].tolist() == [5, 12, 3, 29]
    assert areas.masks["components"].tolist() == [1, 1, 1, 1]
    assert areas.components["area"].tolist() == [5, 12, 3, 29]


def test_specks_are_told_from_patches(tmp_path):
    # 10 of 100x100 pixels are just a patch, 9 just a speck.
    texts = [["1 10 21 9 201 40 350 1", "1 9", "1 10", ""]]
    path = write(tmp_path, None, texts=texts)
    settings = config.Description(csv=path, out=str(tmp_path), grid=(100, 100))
    areas = describe.measure(annotations.read(path), (100, 100))
    assert areas.masks["components"].tolist() == [4, 1, 1]
    assert areas.masks["patches"].tolist() == [2, 0, 1]
    tables = describe.describe(settings)
    assert tables["components"]["specks"].tolist() == [2, 1, 0, 0]
    assert tables["components"]["patches"].tolist() == [2, 0, 1, 0]
    assert tables["patch_area"]["50%"].tolist() == [25, pd.NA, 10, pd.NA]
    assert tables["patch_area_share"]["max"].iloc[0] == 0.004


def test_text_json_and_picture_tell_the_same(tmp_path, capsys):
    masks = noise()
    out = tmp_path / "new" / "folder"
    flags = ["--csv", write(tmp_path, masks), "--out", str(out), "--grid", "12x9"]
    assert main.main(["describe", *flags]) == 0
    assert {path.name for path in out.iterdir()} == {
        "statistics.json",
        "statistics.png",
    }
    assert cv2.imread(str(out / "statistics.png")).shape == (900, 1500, 3)
    written = json.loads((out / "statistics.json").read_text())
    assert (written["rows"], written["images"]) == (160, 40)
    areas = masks.sum((1, 2))
    for label, name in enumerate(schema.LABELS):
        present = areas[:, label][areas[:, label] > 0]
        quantiles = np.quantile(present, [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
        assert list(written["area"][name].values()) == np.round(quantiles).tolist()
        shares = list(written["area_share"][name].values())
        np.testing.assert_allclose(shares, quantiles / 108)
    shown = capsys.readouterr().out
    assert "160 rows, 40 images" in shown
    line = next(line for line in shown.splitlines() if line.startswith("Sugar "))
    assert line.split()[1] == str(written["labels"]["Sugar"]["masks"])
    assert "label\n" not in shown
    assert "nan" not in shown.lower()


def test_a_csv_without_a_mask_is_described(tmp_path, capsys):
    path = write(tmp_path, np.zeros((2, *GRID, 4), bool))
    assert main.main(["describe", "--csv", path, "--out", str(tmp_path)]) == 0
    written = json.loads((tmp_path / "statistics.json").read_text())
    assert written["masks"] == 0
    assert written["sets"] == {"none": {"images": 2, "share": 1.0}}
    assert written["area"]["Fish"]["50%"] is None
    assert "nan" not in capsys.readouterr().out.lower()


def test_a_broken_text_is_named_by_row_and_run(tmp_path, capsys):
    path = write(tmp_path, None, texts=[["1 2", "", "5 1 4 1", ""]])
    out = tmp_path / "out"
    flags = ["--csv", path, "--out", str(out), "--grid", "12x9"]
    assert main.main(["describe", *flags]) == 2
    shown = capsys.readouterr().err
    assert "run 2" in shown
    assert "train.csv, row 4" in shown
    assert not out.exists()


def test_runs_of_another_grid_are_refused(tmp_path):
    path = write(tmp_path, None, texts=[["108 1", "109 1", "", ""]])
    with pytest.raises(InputError, match="within 12x9 pixels.*row 3"):
        describe.measure(annotations.read(path), GRID)


def test_a_grid_that_the_runs_speak_against_is_warned_of(tmp_path, capsys):
    masks = np.zeros((1, 70, 105, 4), bool)
    masks[:, 10:30, 20:50] = True
    flags = ["--csv", write(tmp_path, masks), "--out", str(tmp_path)]
    assert main.main(["describe", *flags]) == 0
    warned = capsys.readouterr().err
    assert "describe: warning: --grid must be the one that the runs count on" in warned
    assert "in columns 70 high" in warned
    assert main.main(["describe", *flags, "--grid", "70x105"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_a_grid_beyond_the_numbers_is_refused(tmp_path):
    read = annotations.read(write(tmp_path, np.zeros((1, *GRID, 4), bool)))
    with pytest.raises(InputError, match="--grid must hold fewer than 2"):
        describe.measure(read, (50000, 50000))


def test_the_real_csv_counts_as_is_known(real_data):
    counts = describe.count(annotations.read(str(real_data / "train.csv.xz")))
    assert (counts.rows, counts.images, counts.masks) == (12852, 3213, 6853)
    assert counts.labels["masks"].tolist() == [1610, 1369, 1703, 2171]
    assert counts.labels_per_image["images"].tolist() == [0, 781, 1377, 902, 153]
