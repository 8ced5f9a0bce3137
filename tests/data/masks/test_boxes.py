from pathlib import Path

import numpy as np
import pytest

from clouds.data.masks import boxes
from clouds.errors import InputError

LABELS = ("Fish", "Flower", "Gravel", "Sugar")
SIZE = (14, 21)


def write(tmp_path, text):
    path = tmp_path / "boxes.csv"
    path.write_text(text)
    return str(path)


def test_rows_without_a_header_are_of_one_annotator(tmp_path):
    text = "1,R/a.jpg,1,2,5,6,Fish\n2,R/b.jpg,,,,,\n3,R/a.jpg,21,0,21,3,Sugar\n"
    text += "4,R/a.jpg,-2,0,3,3,Sugar\n"
    (one,) = boxes.read(write(tmp_path, text), LABELS, SIZE).values()
    assert one.images == {"a.jpg": [(0, 1, 2, 5, 6), (3, 0, 0, 3, 3)], "b.jpg": []}
    assert (one.dropped, one.clipped) == (1, 1)


def test_a_table_numbers_its_users_and_matches_labels_by_name(tmp_path):
    text = "user_name,fn,x,y,width,height,tool_label\n"
    text += "ann,R/a.jpg,1,2,4,4,Flowers\nbob,R/a.jpg,,,,,\nann,R/b.jpg,0,0,1,1,fish\n"
    text += "not-logged-in-1a2b,R/b.jpg,0,0,9,9,Fish\n,R/b.jpg,0,0,9,9,Fish\n"
    read = boxes.read(write(tmp_path, text), LABELS, SIZE)
    assert read["1"].images == {"a.jpg": [(1, 1, 2, 5, 6)], "b.jpg": [(0, 0, 0, 1, 1)]}
    assert set(read) == {"1", "2"}
    assert read["2"].images == {"a.jpg": []}


def test_a_header_and_empty_lines_are_skipped(tmp_path):
    text = "index,path,x1,y1,x2,y2,label\n1,R/a.jpg,1,2,5,6,Fish\n\n"
    (one,) = boxes.read(write(tmp_path, text), LABELS, SIZE).values()
    assert one.images == {"a.jpg": [(0, 1, 2, 5, 6)]}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,a.jpg,1,2,5,6,Fisch\n", "row 1: unknown label 'Fisch'. Expected one of"),
        ("1,a.jpg,1,x,5,6,Fish\n", "row 1: x1,y1,x2,y2 must be numbers. Received"),
        ("1,a.jpg,1,2,5,6,Fish\n1,a.jpg\n", "row 2: 2 values, not 7"),
        ("a,b\n", "row 1: expected index,path,x1,y1,x2,y2,label"),
        ("", "has no rows"),
    ],
)
def test_another_form_is_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        boxes.read(write(tmp_path, text), LABELS, SIZE)


def test_a_cell_is_drawn_if_its_centre_is_in_a_box():
    masks = boxes.draw([(1, 1, 2, 5, 6), (1, 0, 0, 1, 1)], 2, (14, 20), (7, 10))
    expected = np.zeros((7, 10), bool)
    # x from 0.5 to 2.5, y from 1 to 3; the cell at 0, 0 has its centre at 0.5.
    expected[1:3, 0:2] = True
    assert (masks[..., 1] == expected).all()
    assert not masks[..., 0].any()


def test_the_published_boxes_are_read():
    path = Path(__file__).parents[4] / "shared/data/science/boxes_irchecked.csv.xz"
    if not path.exists():
        pytest.skip("the published boxes are not here")
    (one,) = boxes.read(str(path), LABELS, (1400, 2100)).values()
    assert len(one.images) == 8686
    assert sum(map(len, one.images.values())) + one.dropped == 36055 - 3568
