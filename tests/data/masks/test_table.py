import numpy as np

from clouds.data.masks.table import Table

TEXTS = np.array([["1 2", ""], ["", "3 4"]], object)
TABLE = Table(["a", "b"], TEXTS, np.array([[2, 3], [4, 5]]), "t.csv", ("x", "y"))


def test_a_part_of_one_image_keeps_its_labels_and_places():
    one = TABLE._replace(grid=(8, 9)).one(1)
    assert one.images == ["b"] and one.labels == ("x", "y") and one.grid == (8, 9)
    assert one.where(0, 1) == "t.csv, row 5"
    assert [len(runs) for runs in one.runs(0, (8, 9))] == [0, 1]
    assert one.present.tolist() == [[False, True]]
