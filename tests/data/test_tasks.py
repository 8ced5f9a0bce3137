import numpy as np
import pytest

from clouds.data import tasks
from clouds.data.annotations import Table
from clouds.data.tasks import Task


@pytest.mark.parametrize("labelled", [True, False])
def test_tasks_read_from_json_equal_those_that_were_written(labelled):
    texts = np.array([["1 3", "", "5 2 9 1", ""]], object) if labelled else None
    rows = np.array([[2, 3, 4, 5]]) if labelled else None
    table = Table(["ä.jpg"], texts, rows, "train.csv")
    task = Task("/images/\udce4.jpg", table, (64, 96), (1400, 2100), True)
    (read,) = tasks.from_json(tasks.to_json([task]))
    assert read._replace(table=None) == task._replace(table=None)
    assert (read.table.images, read.table.path) == (table.images, table.path)
    np.testing.assert_array_equal(read.table.texts, texts)
    np.testing.assert_array_equal(read.table.rows, rows)
    if labelled:
        assert read.table.where(0, 2) == "train.csv, row 4"
        np.testing.assert_array_equal(read.table.present, table.present)
