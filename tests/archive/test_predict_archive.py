import csv
import shutil
import sys
import zipfile

import pytest
from helpers import tiny_export
from PIL import Image

from clouds.archive import predict_archive, results
from clouds.cli import main
from clouds.runtime import checksums
from clouds.schema import Bands

pytest.importorskip("apache_beam", reason="needs the extra beam")

NAMES = [f"{number}.jpg" for number in range(5)]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tiny_export.write(folder)
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number, name in enumerate(NAMES):
        picture = tiny_export.picture(140 + 10 * number)
        (folder / name).write_bytes(tiny_export.encoded(".jpg", picture))
    (folder / "2.jpg").write_bytes(b"broken")
    return folder


def archive(model, images, out, *flags):
    # Beam's direct runner would look for another runner on the network.
    options = "--runner-options=--prism_location=none --direct_num_workers=1"
    places = ["--model", model, "--images", images, "--out", out]
    return main.main(["predict-archive", *map(str, [*places, options, *flags])])


@pytest.fixture(scope="module")
def predicted(model, images, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    assert archive(model, images, out, "--chunk", 2, "--batch-size", 2) == 3
    return out


def rows(path):
    with path.open() as file:
        return [*csv.DictReader(file)]


def test_every_image_has_exactly_one_result(predicted):
    drawn = [row["image"] for row in rows(predicted / results.SCORES)]
    assert drawn == [name for name in NAMES if name != "2.jpg"]
    masks = [row["Image_Label"] for row in rows(predicted / results.SUBMISSION)]
    assert masks[::4] == [f"{name}_Fish" for name in drawn]
    (failed,) = rows(predicted / results.FAILED)
    assert failed["image"] == "2.jpg" and "cannot be decoded" in failed["reason"]
    assert sorted(path.name for path in predicted.iterdir()) == [
        "archive.json",
        *(f"chunk-0000{number}.json" for number in range(3)),
        "failed.csv",
        "scores.csv",
        "submission_post.csv",
    ]


def test_finished_chunks_are_not_predicted_again(
    model, images, tmp_path, monkeypatch, capsys
):
    inference = sys.modules["clouds.archive.inference"]
    run, chunks = inference.run, []

    def counting(settings, version, chunk):
        chunks.append([name for name, _ in chunk])
        if len(chunks) == 2:
            raise KeyboardInterrupt
        return run(settings, version, chunk)

    monkeypatch.setattr(inference, "run", counting)
    assert archive(model, images, tmp_path, "--chunk", 3) == 130
    assert not (tmp_path / results.SUBMISSION).exists()
    assert archive(model, images, tmp_path, "--chunk", 3) == 3
    assert chunks == [NAMES[:3], NAMES[3:], NAMES[3:]]
    assert archive(model, images, tmp_path, "--chunk", 3, "--retry-failed") == 3
    assert chunks[3:] == [["2.jpg"]]
    assert "Run the same command again to resume" in capsys.readouterr().err


def test_results_of_others_are_not_mixed(model, images, predicted, capsys):
    assert archive(model, images, predicted, "--chunk", 3) == 2
    assert "has results of another chunk" in capsys.readouterr().err
    assert archive(model, images / "0.jpg", predicted, "--chunk", 2) == 2
    assert "has results of another images" in capsys.readouterr().err


def test_other_images_of_the_same_names_are_refused(
    model, images, predicted, tmp_path, capsys
):
    copy = shutil.copytree(images, tmp_path / "copy")
    assert archive(model, copy, predicted, "--chunk", 2) == 2
    assert "has results of another images" in capsys.readouterr().err


def test_results_of_unknown_images_are_refused(
    model, images, predicted, tmp_path, capsys
):
    out = shutil.copytree(predicted, tmp_path / "out")
    (out / predict_archive.FILE).unlink()
    assert archive(model, images, out, "--chunk", 2) == 2
    assert "no archive.json" in capsys.readouterr().err


def test_zips_and_pictures_that_opencv_decodes_are_predicted(model, tmp_path):
    palette = tmp_path / "images"
    palette.mkdir()
    Image.fromarray(tiny_export.picture()).quantize(16).save(palette / "a.bmp")
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as file:
        file.write(palette / "a.bmp", "a.bmp")
    (tmp_path / "out/part.left").mkdir(parents=True)
    texts = []
    for source in (palette, tmp_path / "z.zip"):
        assert archive(model, source, tmp_path / "out", "--overwrite") == 0
        texts.append((tmp_path / "out" / results.SUBMISSION).read_text())
    assert texts[0] == texts[1] and "a.bmp_Fish," in texts[0]
    assert not (tmp_path / "out/part.left").exists()


def test_wrong_options_of_the_runner_are_one_line(model, images, tmp_path, capsys):
    options = "--runner-options=--direct_num_workers=many"
    assert archive(model, images, tmp_path / "out", options) == 2
    assert "--runner-options must be options of" in capsys.readouterr().err


def test_results_are_not_written_among_the_images(model, images, capsys):
    assert archive(model, images, images) == 2
    assert "--out" in capsys.readouterr().err


def test_a_folder_without_a_model_is_refused(images, tmp_path, capsys):
    assert archive(tmp_path, images, tmp_path / "out") == 2
    assert "has no version of a model" in capsys.readouterr().err
    assert predict_archive.FILE not in {path.name for path in tmp_path.rglob("*")}


def test_a_model_that_takes_no_files_is_refused(images, tmp_path, capsys):
    bands = Bands(tuple("abcde"), "float32")
    tiny_export.write(tmp_path / "model", bands=bands)
    checksums.write_list(tmp_path / "model/1")
    assert archive(tmp_path / "model", images, tmp_path / "out") == 2
    assert "takes numbers of 5 bands of float32" in capsys.readouterr().err


def test_results_in_a_folder_that_vanished_meanwhile_can_be_used_again(
    model, images, tmp_path, monkeypatch
):
    started = predict_archive._start

    def start(*arguments):
        identity = started(*arguments)
        (tmp_path / "out" / predict_archive.FILE).unlink()
        return identity

    monkeypatch.setattr(predict_archive, "_start", start)
    assert archive(model, images, tmp_path / "out") == 3
    monkeypatch.undo()
    assert archive(model, images, tmp_path / "out") == 3
