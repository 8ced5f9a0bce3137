import numpy as np
import pytest
from helpers import references
from helpers.annotated import GRID, noise, write_csv

from clouds import schema
from clouds.data import annotations
from clouds.errors import InputError
from clouds.report import areas


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_areas_are_those_of_painted_masks(tmp_path, monkeypatch, size):
    monkeypatch.setattr(areas, "_MASKS_PER_BATCH", size)
    masks = noise()
    read = annotations.read(write_csv(tmp_path, masks))
    measured = areas.measure(read, GRID)
    rows, found = [], []
    for image, label in np.argwhere(masks.any((1, 2))):
        numbers = references.components(masks[image, ..., label])
        sizes = [(numbers == n).sum() for n in range(1, numbers.max() + 1)]
        rows.append((schema.CLOUDS.labels[label], sum(sizes), len(sizes)))
        found += [(schema.CLOUDS.labels[label], size) for size in sorted(sizes)]
    columns = ["label", "area", "components"]
    assert list(measured.masks[columns].itertuples(index=False, name=None)) == rows
    assert sorted(measured.components.itertuples(index=False, name=None)) == sorted(
        found
    )


def test_runs_that_touch_are_one_and_masks_end_to_end_are_two(tmp_path):
    # In one column: a run in three parts. Then up to the last pixel, then from the
    # first one on; a run over two columns and a half.
    texts = [["1 2 3 1 4 2", "97 12", "1 3", "2 29"]]
    path = write_csv(tmp_path, None, texts=texts)
    measured = areas.measure(annotations.read(path), GRID)
    assert measured.masks["area"].tolist() == [5, 12, 3, 29]
    assert measured.masks["components"].tolist() == [1, 1, 1, 1]
    assert measured.components["area"].tolist() == [5, 12, 3, 29]


def test_runs_of_another_grid_are_refused(tmp_path):
    path = write_csv(tmp_path, None, texts=[["108 1", "109 1", "", ""]])
    with pytest.raises(InputError, match="row 3, run 1: the run exceeds the 12x9 grid"):
        areas.measure(annotations.read(path), GRID)


def test_a_grid_too_large_for_int32_is_refused(tmp_path):
    read = annotations.read(write_csv(tmp_path, np.zeros((1, *GRID, 4), bool)))
    with pytest.raises(InputError, match="--grid must have fewer than 2"):
        areas.measure(read, (50000, 50000))


def test_components_are_specks_or_patches(tmp_path):
    # 10 of 100x100 pixels are just a patch, 9 just a speck.
    texts = [["1 10 21 9 201 40 350 1", "1 9", "1 10", ""]]
    table = annotations.read(write_csv(tmp_path, None, texts=texts))
    masks = areas.measure(table, (100, 100)).masks
    assert masks["components"].tolist() == [4, 1, 1]
    assert masks["patches"].tolist() == [2, 0, 1]
