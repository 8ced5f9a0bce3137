import pytest

from clouds.errors import InputError
from clouds.geo import tables


def write(tmp_path, *rows, header="image,time,west,south,east,north"):
    path = tmp_path / "places.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


def test_rows_are_read_by_their_columns(tmp_path):
    header = "west,south,east,north,image,satellite"
    path = write(tmp_path, "-61,10,-40,24,a.jpg,Aqua", header=header)
    row = tables.read(path)["a.jpg"]
    assert row.box == (-61, 10, -40, 24)
    assert (row.time, row.satellite, row.fault) == (None, "Aqua", "")
    assert row.source == f"{path}, row 2"


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2015-02-05", "2015-02-05"),
        ("20150205", "2015-02-05"),
        ("2015-02-05T13:30", "2015-02-05T13:30:00Z"),
        ("2015-02-05 13:30:05Z", "2015-02-05T13:30:05Z"),
        ("2015-02-05T00:30+02:00", "2015-02-04T22:30:00Z"),
    ],
)
def test_times_are_in_utc(text, time):
    assert tables.to_utc(text) == time


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ("a.jpg,,x,10,-40,24", "row 2: west,south,east,north must be numbers. Rec"),
        ("a.jpg,,-61,10,-40", "must be numbers. Received: -61,10,-40,."),
        ("a.jpg,yesterday,-61,10,-40,24", "time must be as 2015-02-05 or"),
        ("a.jpg,,-61,10,-40,24,7", "more values than columns"),
    ],
)
def test_a_row_that_cannot_be_used_says_why_and_the_others_are_read(
    tmp_path, row, fault
):
    rows = tables.read(write(tmp_path, row, "b.jpg,,-61,10,-40,24"))
    assert fault in rows["a.jpg"].fault
    assert not rows["b.jpg"].fault


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,west,south\n", "row 1: no column east and no north"),
        ("", "row 1: no column image"),
        (
            "image,west,south,east,north\na,1,2,3,4\na,1,2,3,4\n",
            r"row 3: a has a place in .*row 2, too",
        ),
        ('image,west,south,east,north\n"a,1', "is not a csv in UTF-8"),
    ],
)
def test_a_csv_of_another_form_is_refused(tmp_path, content, message):
    path = tmp_path / "places.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        tables.read(str(path))
