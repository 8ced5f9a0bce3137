import numpy as np
import pytest
from helpers.edits import flip

from clouds.prediction.tiling import geometry
from clouds.prediction.tiling.mosaic import Mosaic

ROWS = geometry.place(30, 12, 12, 0.5, wraps=False)
COLUMNS = geometry.place(50, 16, 16, 0.5, wraps=True)


def field(rows, columns):
    """A value for each cell: what every tile says about it."""
    y, x = np.meshgrid(rows, columns, indexing="ij")
    return np.stack([(y * 50 + x) % 97 / 97, (y + 3 * x) % 31 / 31], -1)


def write(mosaic, row):
    with mosaic.writing(row) as add:
        for column in range(len(COLUMNS)):
            cells = ROWS.covered(row), COLUMNS.covered(column)
            observed = np.ones((12, 16), bool)
            observed[:, cells[1] < 10] = False
            add(column, field(*cells).astype(np.float32), observed, [row, column])


@pytest.fixture
def mosaic(tmp_path):
    return Mosaic(tmp_path / "m", ROWS, COLUMNS, 2)


@pytest.mark.parametrize("memory", [0, 100])
def test_tiles_that_agree_are_blended_to_what_they_say(mosaic, memory):
    for row in mosaic.missing():
        write(mosaic, row)
    assert mosaic.missing() == []
    blocks = list(mosaic.blocks(memory))
    assert len(blocks) == (7 if memory == 0 else 1)
    probabilities = np.concatenate([block.probabilities for block in blocks], axis=1)
    expected = field(np.arange(30), np.arange(50))
    assert probabilities == pytest.approx(expected, abs=1e-6)
    observed = np.concatenate([block.observed for block in blocks], axis=1)
    assert (observed == (np.arange(50) >= 10)).all()


def test_a_row_exists_only_when_it_is_finished(mosaic):
    write(mosaic, 1)
    with pytest.raises(KeyError), mosaic.writing(2) as add:
        add(0, np.ones((12, 16, 2), np.float32), np.ones((12, 16)), [0, 0])
        raise KeyError
    assert mosaic.missing() == [0, 2, 3]
    again = Mosaic(mosaic._folder, ROWS, COLUMNS, 2)
    assert again.missing() == [0, 2, 3]


@pytest.mark.parametrize("kind", ["row", "scores"])
def test_a_damaged_row_is_missing(mosaic, kind):
    for row in mosaic.missing():
        write(mosaic, row)
    flip(mosaic._path(2, kind), 200)
    assert mosaic.missing() == [2]


def test_scores_of_tiles_are_blended_cell_by_cell(mosaic):
    for row in mosaic.missing():
        write(mosaic, row)
    blocks = list(mosaic.blocks(0, with_scores=True))
    scores = np.concatenate([block.scores for block in blocks], axis=1)
    expected = np.zeros((30, 50, 2))
    for row in range(len(ROWS)):
        for column in range(len(COLUMNS)):
            weights = np.outer(ROWS.weights[row], COLUMNS.weights[column])
            cells = np.ix_(ROWS.covered(row), COLUMNS.covered(column))
            expected[cells] += weights[..., None] * [row, column]
    assert scores == pytest.approx(expected, abs=1e-5)
    assert mosaic.scores().shape == (len(ROWS), len(COLUMNS), 2)
