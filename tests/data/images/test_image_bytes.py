import errno
import zipfile

import pytest
import tensorflow as tf

from clouds.data.images import image_bytes
from clouds.errors import InputError


def test_bytes_are_read_from_folders_zips_and_remote_places(tmp_path):
    (tmp_path / "a.png").write_bytes(b"local")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inside/a.png", b"zipped")
    with tf.io.gfile.GFile("ram://bytes/a.png", "wb") as file:
        file.write(b"remote")
    paths = [f"{tmp_path}/a.png", f"{tmp_path}/a.zip/inside/a.png", "ram://bytes/a.png"]
    assert list(map(image_bytes.load, paths)) == [b"local", b"zipped", b"remote"]


def test_a_missing_file_of_a_zip_is_an_error(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.png", b"zipped")
    with pytest.raises(InputError, match=r"a\.zip has no b\.png"):
        image_bytes.load(f"{tmp_path}/a.zip/b.png")


def test_reasons_are_one_line_without_names_of_operations():
    error = tf.errors.InvalidArgumentError(None, None, "{{node x}} bad [Op:Y]\nmore")
    assert image_bytes.reason(error) == "bad"
    missing = FileNotFoundError(errno.ENOENT, "No such file or directory")
    assert image_bytes.reason(missing) == "No such file or directory"
    assert "rename it" in str(image_bytes.unreadable("a\\xe4.png", missing))
