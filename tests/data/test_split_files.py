import pytest

from clouds.data import split_files
from clouds.errors import InputError

IMAGES = ["b.jpg", "a.jpg", "c.jpg"]


def read(tmp_path, text):
    path = tmp_path / "split.csv"
    path.write_text(text)
    return split_files.read(str(path), IMAGES)


def test_a_file_like_our_own_is_read_by_name(tmp_path):
    rows = [("a.jpg", "val", "x"), ("b.jpg", "train", "y"), ("c.jpg", "val", "z")]
    text = split_files.to_csv([*rows, ("other.jpg", "train", "x")])
    assert text.startswith("image,split,group\na.jpg,val,x\n")
    assert read(tmp_path, text) == ["train", "val", "val"]


def test_folds_are_read_too(tmp_path):
    text = "split,image\nfold1,a.jpg\nfold0,b.jpg\nfold0,c.jpg\n"
    assert read(tmp_path, text) == ["fold0", "fold1", "fold0"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,split\na.jpg,val\nb.jpg,train\n", "1 of 3 images have no row, first c"),
        ("image,split\na.jpg,test\n", "row 2: split must be .* Received: 'test'"),
        ("image,split\na.jpg,\n", "row 2: split must be .* Received: ''"),
        ("image,split\na.jpg,val\na.jpg,val\n", "row 3: a.jpg has another row"),
        ("image,fold\na.jpg,val\n", "row 1: no column split"),
        ("", "row 1: no column image"),
        ("image,split\n\n\na.jpg,nowhere\n", "row 4: split must be"),
        (
            "image,split\na.jpg,fold0\nb.jpg,fold2\nc.jpg,fold0\n",
            "without a gap. Received: fold0, fold2",
        ),
        ("image,split\na.jpg,val\nb.jpg,val\nc.jpg,val\n", "Received: val"),
    ],
)
def test_wrong_files_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, text)


def test_rows_of_other_images_and_more_columns_do_not_matter(tmp_path):
    rows = ["a.jpg,val,", "b.jpg,train,", "c.jpg,val,", "z.jpg,test,"]
    text = "image,split,note\r\n" + "\r\n".join(rows)
    assert read(tmp_path, text) == ["train", "val", "val"]
