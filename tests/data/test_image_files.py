import zipfile

import cv2
import numpy as np
import pytest
import tensorflow as tf

from clouds.data import image_files
from clouds.errors import InputError

picture = np.random.default_rng(0).integers(0, 256, (8, 9, 3), np.uint8)


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


def test_a_tiff_becomes_a_png_of_the_same_pixels(tmp_path):
    contents = cv2.imencode(".tiff", picture)[1].tobytes()
    png = image_files.read(str(write(tmp_path / "a.tif", contents)))
    assert (tf.io.decode_png(png).numpy() == picture[..., ::-1]).all()


def test_a_broken_tiff_is_left_to_the_decoder(tmp_path):
    assert image_files.read(str(write(tmp_path / "a.tif", b"II*\0 no picture"))) == b""


def test_images_are_picked_in_the_order_of_the_names():
    found = {"a": "1", "b": "2", "c": "3"}
    assert image_files.pick(found, ["c", "a"], "x.csv", "folder") == ["3", "1"]
    with pytest.raises(InputError, match="2 of 3 images .* first z. .* from the csv"):
        image_files.pick(found, ["a", "z", "y"], "x.csv", "folder")


def test_names_without_their_ending_are_told_so():
    found = {"0011165.JPG": "1", "b.jpg": "2"}
    with pytest.raises(
        InputError, match=r"There is 0011165.JPG: .* suffixes in the csv"
    ):
        image_files.pick(found, ["0011165", "b"], "x.csv", "folder")


def test_a_file_that_cannot_be_read_is_told_without_tensorflows_own_words(tmp_path):
    (tmp_path / "a.jpg").mkdir()
    for name, reason in (("a.jpg", "Is a directory"), ("b.tif", "No such file or dir")):
        message = str(image_files.undecodable(f"{tmp_path}/{name}"))
        assert f"{tmp_path}/{name} cannot be read (" in message
        assert reason in message
        assert not set("{[") & set(message)
    message = str(image_files.undecodable(str(write(tmp_path / "c.jpg"))))
    assert message.endswith(
        f"Received: {tmp_path}/c.jpg, 3 bytes, which cannot be decoded. Replace the "
        "file, or leave it out."
    )
