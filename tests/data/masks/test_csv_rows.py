import pytest

from clouds.data.masks import csv_rows
from clouds.data.masks.csv_rows import HEADERS, Header
from clouds.errors import InputError


def write(tmp_path, text):
    path = tmp_path / "train.csv"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("text", "form", "columns", "expected"),
    [
        ("Image_Label,EncodedPixels\na.jpg_Fish,1 2\n", "image_label", (0, 1), "Fish"),
        ("ImageId_ClassId,EncodedPixels\na.jpg_3,1 2\n", "image_label", (0, 1), "3"),
        ("ImageId,ClassId,EncodedPixels\na.jpg,3,1 2\n", "image_class", (0, 1, 2), "3"),
        (",EncodedPixels,ImageId,ClassId\n7,1 2,a.jpg,3.0\n", "image_class", 0, "3"),
        ("id,rle\na.jpg,1 2\n", "image", (0, 1), "mask"),
        (" ImageId , encoding\na.jpg,1 2\n", "image", (0, 1), "mask"),
    ],
)
def test_the_form_is_found_by_the_columns(tmp_path, text, form, columns, expected):
    rows, faults, header = csv_rows.read_rows(write(tmp_path, text))
    assert faults == [] and header.form == form
    assert rows == [(2, "a.jpg", expected, "1 2")]


def test_a_form_can_be_given_for_columns_that_fit_another(tmp_path):
    path = write(tmp_path, "image,class,rle\na.jpg_Fish,1,1 2\n")
    rows, _, header = csv_rows.read_rows(path, form="image_label")
    assert rows[0][1:3] == ("a.jpg", "Fish") and header.columns == ("image", "rle")
    rows, _, _ = csv_rows.read_rows(path, form="image", labels=("ship",))
    assert rows[0][1:3] == ("a.jpg_Fish", "ship")


def test_rows_are_written_in_the_columns_of_the_file(tmp_path):
    path = write(tmp_path, "EncodedPixels,n,ClassId,ImageId\n1 2,0,3,a.jpg\n")
    header = csv_rows.read_rows(path)[2]
    assert header.arrange(header.columns) == ["EncodedPixels", "ClassId", "ImageId"]
    assert header.row("b.jpg", "4", "5 6") == ["5 6", "4", "b.jpg"]


@pytest.mark.parametrize("form", list(HEADERS))
def test_a_submission_needs_exactly_its_columns(tmp_path, form):
    header = HEADERS[form]
    good = ",".join(header.columns) + "\n" + ",".join(header.row("a", "b", "1 2"))
    rows, faults, _ = csv_rows.read_rows(write(tmp_path, good + "\n"), strict=header)
    assert faults == [] and rows[0].text == "1 2"
    bad = good.replace("Encoded", "encoded")
    faults = csv_rows.read_rows(write(tmp_path, bad + "\n"), strict=header)[1]
    assert "the columns must be" in faults[0].message


def test_a_sample_with_other_columns_is_the_measure_of_a_submission(tmp_path):
    sample = Header("image_class", ("ImageId", "ClassId", "EncodedPixels"), (0, 2, 1))
    path = write(tmp_path, "ImageId,EncodedPixels,ClassId\na.jpg,1 2,3\n")
    rows, faults, _ = csv_rows.read_rows(path, strict=sample)
    assert faults == [] and rows == [(2, "a.jpg", "3", "1 2")]


def test_columns_of_no_form_are_refused(tmp_path):
    with pytest.raises(
        InputError, match="must be Image_Label,EncodedPixels .*own-data"
    ):
        csv_rows.read_rows(write(tmp_path, "x,y\n1,2\n"))
    with pytest.raises(InputError, match="must be ImageId,ClassId,EncodedPixels. Rec"):
        csv_rows.read_rows(write(tmp_path, "ImageId,rle\n1,2\n"), form="image_class")
