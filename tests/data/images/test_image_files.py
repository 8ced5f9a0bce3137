import os
import zipfile

import pytest
import tensorflow as tf

from clouds.data.images import image_bytes, image_files
from clouds.errors import InputError


def write(path, contents=b"abc"):
    path.write_bytes(contents)
    return path


def test_images_of_a_folder_are_found_by_name(tmp_path):
    for name in ("b.JPG", "a.png", "notes.txt", "c.tif"):
        write(tmp_path / name)
    found = image_files.find(str(tmp_path))
    assert list(found) == ["a.png", "b.JPG", "c.tif"]
    assert image_files.read(found["a.png"]) == b"abc"


def zipped(path, *names):
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name.encode())
    return str(path)


def test_images_of_a_zip_are_read_in_place(tmp_path):
    archive = zipped(tmp_path / "a.zip", "train/1.jpg", "test/2.jpg", "train.csv")
    found = image_files.find(archive)
    assert list(found) == ["1.jpg", "2.jpg"]
    assert image_files.read(found["2.jpg"]) == b"test/2.jpg"
    assert list(image_files.find(f"{archive}/train")) == ["1.jpg"]


def test_one_name_in_two_folders_of_a_zip_is_refused(tmp_path):
    archive = zipped(tmp_path / "a.zip", "train/1.jpg", "test/1.jpg")
    with pytest.raises(InputError, match="two images named 1.jpg.*a.zip/test"):
        image_files.find(archive)
    assert (
        image_files.read(image_files.find(f"{archive}/train")["1.jpg"])
        == b"train/1.jpg"
    )


def test_a_folder_may_be_called_like_a_zip(tmp_path):
    (tmp_path / "a.zip").mkdir()
    write(tmp_path / "a.zip" / "1.jpg")
    found = image_files.find(str(tmp_path / "a.zip"))
    assert image_files.read(found["1.jpg"]) == b"abc"


def test_images_lie_on_any_file_system_of_tensorflow():
    with tf.io.gfile.GFile("ram://images/1.jpg", "wb") as file:
        file.write(b"abc")
    assert image_files.read(image_files.find("ram://images")["1.jpg"]) == b"abc"


@pytest.mark.parametrize("broken", [b"", b"PK no zip"])
def test_a_broken_zip_is_refused(broken, tmp_path):
    with pytest.raises(InputError, match="is not a readable zip"):
        image_files.find(str(write(tmp_path / f"{len(broken)}.zip", broken)))


def test_a_pattern_finds_images_in_folders_within_folders(tmp_path):
    for name in ("a/1.jpg", "a/b/2.png", "a/b/3.txt", "4.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        write(tmp_path / name)
    assert list(image_files.find(f"{tmp_path}/a/*.jpg")) == ["1.jpg"]
    found = image_files.find(f"{tmp_path}/**/*")
    assert list(found) == ["1.jpg", "2.png", "4.jpg"]
    assert image_files.read(found["2.png"]) == b"abc"
    with pytest.raises(InputError, match="holds no images"):
        image_files.find(f"{tmp_path}/*.bmp")


def test_a_pattern_may_lie_on_a_file_system_of_tensorflow():
    tf.io.gfile.makedirs("ram://pattern/a/b")
    for name in ("1.jpg", "a/2.jpg", "a/b/3.jpg"):
        with tf.io.gfile.GFile(f"ram://pattern/{name}", "wb") as file:
            file.write(b"abc")
    assert list(image_files.find("ram://pattern/a/*.jpg")) == ["2.jpg"]
    assert list(image_files.find("ram://pattern/**/*.jpg")) == [
        "1.jpg",
        "2.jpg",
        "3.jpg",
    ]


def test_a_list_keeps_its_order_and_counts_from_its_own_folder(tmp_path):
    (tmp_path / "a").mkdir()
    write(tmp_path / "a" / "1.jpg")
    lines = ["a/1.jpg", "", f"{tmp_path}/b/0.jpg", "gs://bucket/2.jpg"]
    write(tmp_path / "list.txt", "\r\n".join(lines).encode("utf-8-sig"))
    found = image_files.find(str(tmp_path / "list.txt"))
    assert list(found) == ["1.jpg", "0.jpg", "2.jpg"]
    assert found["2.jpg"] == "gs://bucket/2.jpg"
    assert image_files.read(found["1.jpg"]) == b"abc"


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"\n\n", "holds no images"),
        (b"F\xefsh.jpg", "is not a list in UTF-8 text"),
        (b"a/1.jpg\nb/1.jpg", "two images named 1.jpg: .*a/1.jpg and .*b/1.jpg"),
    ],
)
def test_a_list_that_names_no_images_or_two_of_one_name_is_refused(
    tmp_path, contents, message
):
    with pytest.raises(InputError, match=message):
        image_files.find(str(write(tmp_path / "list.txt", contents)))


def test_images_are_read_within_a_pipeline(tmp_path):
    archive = zipped(tmp_path / "a.zip", "1.jpg", "2.jpg")
    paths = list(image_files.find(archive).values())
    paths.append(str(write(tmp_path / "3.jpg")))
    read = tf.data.Dataset.from_tensor_slices(paths).map(image_files.read)
    assert list(read.as_numpy_iterator()) == [b"1.jpg", b"2.jpg", b"abc"]


def test_no_folder_and_no_images_are_refused(tmp_path):
    with pytest.raises(InputError, match="which is none of these"):
        image_files.find(str(tmp_path / "none"))
    with pytest.raises(InputError, match="is not a readable zip"):
        image_files.find(str(tmp_path / "none.zip"))
    with pytest.raises(InputError, match="holds no images"):
        image_files.find(str(tmp_path))


def test_images_are_picked_in_the_order_of_the_names():
    found = {"a": "1", "b": "2", "c": "3"}
    assert image_files.pick(found, ["c", "a"], "x.csv", "folder") == ["3", "1"]
    with pytest.raises(InputError, match="2 of 3 images .* first 'z'. .* from the csv"):
        image_files.pick(found, ["a", "z", "y"], "x.csv", "folder")


@pytest.mark.parametrize(
    ("name", "existing"),
    [
        ("0011165", "0011165.JPG"),
        ("im0.jpg", "IM0.JPG"),
        ("a.jpg", "a.png"),
        ("a.jpg", "a .jpg"),
        ("caf\u00e9.jpg", "cafe\u0301.jpg"),
    ],
)
def test_a_name_that_is_written_differently_is_named(name, existing):
    with pytest.raises(InputError, match=f"first '{name}'. There is '{existing}':"):
        image_files.pick({existing: "1", "b.jpg": "2"}, [name, "b.jpg"], "x.csv", "y")


def test_files_that_macos_adds_are_no_images(tmp_path):
    names = ("a.jpg", "._a.jpg", "__MACOSX/a.jpg", "__MACOSX/._a.jpg")
    archive = zipped(tmp_path / "mac.zip", *names)
    assert list(image_files.find(archive)) == ["a.jpg"]
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "out")
    assert list(image_files.find(f"{tmp_path}/out")) == ["a.jpg"]
    assert list(image_files.find(f"{tmp_path}/out/**/*")) == ["a.jpg"]


def test_backslashes_in_a_zip_are_separators(tmp_path):
    archive = zipped(tmp_path / "dotnet.zip", "scenes\\a.jpg", "scenes\\b.jpg")
    found = image_files.find(archive)
    assert list(found) == ["a.jpg", "b.jpg"]
    assert image_files.read(found["a.jpg"]) == b"scenes\\a.jpg"
    assert list(image_files.find(f"{archive}/scenes")) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("path", ["CAPS.ZIP", "my.zipped/a.zip", "data.zip/inner.zip"])
def test_a_zip_is_known_in_any_case_and_folder(path, tmp_path):
    (tmp_path / path).parent.mkdir(exist_ok=True)
    found = image_files.find(zipped(tmp_path / path, "train/1.jpg"))
    assert image_files.read(found["1.jpg"]) == b"train/1.jpg"


def test_an_empty_zip_is_named(tmp_path):
    with pytest.raises(InputError, match="not a readable zip .it is empty."):
        image_files.find(str(write(tmp_path / "none.zip", b"")))
    with pytest.raises(InputError, match="holds no images"):
        image_files.find(zipped(tmp_path / "empty.zip"))


def test_images_one_folder_deeper_are_suggested(tmp_path):
    (tmp_path / "images").mkdir()
    write(tmp_path / "images" / "a.jpg")
    with pytest.raises(InputError, match=f"There are some in {tmp_path}/images: give"):
        image_files.find(str(tmp_path))


def test_a_name_that_is_not_utf8_is_listed_and_reported(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"abc")
    write(tmp_path / "a.jpg")
    found = image_files.find(str(tmp_path))
    assert list(found) == ["a.jpg", r"caf\xe9.jpg"]
    path = found[r"caf\xe9.jpg"]
    with pytest.raises(tf.errors.OpError):
        image_files.read(path)
    assert "its name is not UTF-8; rename it" in str(image_files.undecodable(path))


def test_pipes_devices_and_links_to_them_are_reported(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "c.zip")
    found = image_files.find(str(tmp_path))
    for path in found.values():
        with pytest.raises(tf.errors.OpError):
            image_files.read(path)
        assert "it is not a regular file" in str(image_files.undecodable(path))
    with pytest.raises(InputError, match="not a regular file"):
        image_files.find(f"{tmp_path}/c.zip")


def test_long_files_are_reported_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(image_bytes, "MOST_BYTES", 10)
    write(tmp_path / "a.jpg", b"x" * 11)
    archive = zipped(tmp_path / "a.zip", "longer_name.jpg")
    for path in (f"{tmp_path}/a.jpg", f"{archive}/longer_name.jpg"):
        assert "the maximum is 10" in str(image_files.undecodable(path))
        with pytest.raises(tf.errors.OpError):
            image_files.read(path)


def test_a_file_that_cannot_be_read_is_told_without_tensorflows_own_words(tmp_path):
    (tmp_path / "a.jpg").mkdir()
    for name, reason in (("a.jpg", "Is a directory"), ("b.tif", "No such file or dir")):
        message = str(image_files.undecodable(f"{tmp_path}/{name}"))
        assert f"{tmp_path}/{name} cannot be read (" in message
        assert reason in message
        assert not set("{[") & set(message)
    message = str(image_files.undecodable(str(write(tmp_path / "c.jpg"))))
    assert f"{tmp_path}/c.jpg (3 bytes) cannot be decoded: it is not" in message


def test_urls_that_differ_in_their_queries_have_names():
    start = "http://host/api/v1/snapshot?FORMAT=image/jpeg&TIME=2020-02-0"
    named = image_files.by_name([f"{start}1", f"{start}2"], "urls")
    assert list(named) == [
        "snapshot_FORMAT=image_jpeg&TIME=2020-02-01",
        "snapshot_FORMAT=image_jpeg&TIME=2020-02-02",
    ]
    assert list(image_files.by_name(["http://h/a%20b.jpg?x=1"], "u")) == ["a b.jpg"]
    assert list(image_files.by_name(["http://host/?x=1"], "urls")) == ["image"]
    with pytest.raises(InputError, match="two images named a.jpg"):
        image_files.by_name(["http://h/a.jpg", "http://g/a.jpg"], "urls")
