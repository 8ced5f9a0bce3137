import gzip
import zipfile

import pytest

from clouds.errors import InputError
from clouds.runtime import archives


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("a.zip", ("a.zip", "")),
        ("x/A.ZIP/b/c.jpg", ("x/A.ZIP", "b/c.jpg")),
        ("my.zipped/a.Zip/b", ("my.zipped/a.Zip", "b")),
        ("a.zipped/b", ("", "a.zipped/b")),
        ("gs://b/a.zip/c/", ("gs://b/a.zip", "c")),
    ],
)
def test_a_zip_ends_a_part_of_a_path_in_any_case(path, parts):
    assert archives.split(path) == parts


def test_a_folder_called_like_a_zip_is_a_folder(tmp_path):
    (tmp_path / "a.zip").mkdir()
    path = f"{tmp_path}/a.zip/b.zip"
    assert archives.split(path) == (path, "")


def test_a_file_of_a_zip_is_read_and_a_missing_one_named(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("b\\c.csv", "text")
        file.writestr("__MACOSX/b/._c.csv", "")
    assert archives.read(f"{path}/b/c.csv", "The csv") == b"text"
    assert archives.decompress(path.read_bytes(), str(path)) == b"text"
    with pytest.raises(InputError, match="does not exist: the zip has no d.csv"):
        archives.read(f"{path}/d.csv", "The csv")
    with pytest.raises(InputError, match="The csv '.*b.csv' does not exist"):
        archives.read(f"{tmp_path}/b.csv", "The csv")


def test_a_file_that_unpacks_to_too_much_is_refused(monkeypatch):
    monkeypatch.setattr(archives, "_MOST_BYTES", 1000)
    with pytest.raises(InputError, match="more than 1,000 bytes"):
        archives.decompress(gzip.compress(bytes(1001)), "a.gz")
