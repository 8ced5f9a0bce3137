import http.server
import json
import math
import shutil
import threading
import zipfile
from functools import partial

import cv2
import numpy as np
import pytest
import tifffile
from helpers import grpc_server, painters, tiny_export
from helpers.commands import serving

from clouds import rle, schema
from clouds.cli import main
from clouds.client import request
from clouds.client.answers import Answer
from clouds.client.retry import Busy, Lost, Rejected, Retry
from clouds.data import annotations

GONE = "127.0.0.1:9"


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Five images of different kinds; the third by name is torn."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("a.jpg", "b.png", "d.webp", "e.tif"):
        picture = tiny_export.picture()[:, ::-1] if name == "b.png" else None
        ending = name[1:].replace("tif", "tiff")
        (folder / name).write_bytes(tiny_export.encoded(ending, picture))
    (folder / "c.jpg").write_bytes(tiny_export.encoded()[:700])
    return folder


def ask(server, out, *images, flags=()):
    places = ["--images", *map(str, images), "--out", str(out)]
    return main.main(["request", "--server", server, *places, *flags])


def test_a_folder_becomes_a_submission_and_a_torn_image_is_reported(
    server, pictures, tmp_path, capsys
):
    flags = ["--geojson", "--overlays", "9", "--batch-size", "2"]
    assert ask(server, tmp_path, pictures, flags=flags) == 3
    shown = capsys.readouterr()
    assert "4 images" in shown.out and "in pixels of the 350x525 grid" in shown.out
    assert "1 of 5 images have no answer" in shown.err
    (listed,) = (tmp_path / "unreadable.txt").read_text().splitlines()
    assert listed.startswith("c.jpg: Image must be") and listed.count("c.jpg") == 1
    assert f"request: {pictures}/c.jpg: Image must be" in shown.err
    read = annotations.read(str(tmp_path / "submission_post.csv"))
    assert read.images == ["a.jpg", "b.png", "d.webp", "e.tif"]
    fish = [rle.decode(row[0], schema.SUBMISSION_SIZE) for row in read.texts]
    assert fish[0].sum() > 10_000
    assert fish[0][:, :262].sum() > 0.99 * fish[0].sum()
    assert fish[1][:, :262].sum() < 0.01 * fish[1].sum()
    features = json.loads((tmp_path / "masks.geojson").read_text())["features"]
    assert [each["properties"]["label"] for each in features[:2]] == ["Fish", "Flower"]
    assert cv2.imread(str(tmp_path / "overlays.png")).std() > 10


def test_a_box_of_other_proportions_is_a_warning_or_an_error(
    server, pictures, tmp_path, capsys
):
    boxes = {"-61,5,-40,19": None, "150,5,170,35": "should", "5,-61,19,-40": "must"}
    for box, word in boxes.items():
        flags = ["--geojson", f"--bbox={box}", "--overlays", "0"]
        code = ask(server, tmp_path / box, pictures / "a.jpg", flags=flags)
        assert code == (2 if word == "must" else 0)
        shown = capsys.readouterr()
        reported = f"--bbox {word} have the proportions of the images" in shown.err
        assert reported == (word is not None)
        assert "in pixels" not in shown.out


def test_images_are_placed_by_their_names_and_a_csv(server, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    named = "Aqua_CorrectedReflectance20150205_-61--40_10-24.jpeg"
    for name in (named, "a.jpg", "b.jpg"):
        (images / name).write_bytes(tiny_export.encoded())
    table = tmp_path / "places.csv"
    row = "image,time,west,south,east,north\na.jpg,2015-02-06,0,0,21,14\n"
    table.write_text(row)
    flags = ["--geojson", "--overlays", "0", "--places", str(table)]
    out = tmp_path / "out"
    assert ask(server, out, images, flags=flags) == 3
    assert "1 of 3 images have no place" in capsys.readouterr().err
    assert (out / "unplaced.txt").read_text().startswith("b.jpg")
    features = json.loads((out / "masks.geojson").read_text())["features"]
    properties = {each["properties"]["image"]: each for each in features}
    assert properties[named]["properties"]["satellite"] == "Aqua"
    assert properties["a.jpg"]["properties"]["time"] == "2015-02-06"
    assert properties["b.jpg"]["geometry"] is None
    table.write_text(f"{row}b.jpg,2015-02-07,0,0,21,14\n")
    assert ask(server, out, images, flags=flags) == 0
    assert "Already answered: 3 of 3 images" in capsys.readouterr().out
    assert not (out / "unplaced.txt").exists()
    features = json.loads((out / "masks.geojson").read_text())["features"]
    assert all(each["geometry"] for each in features)


def test_images_may_be_zips_files_patterns_and_urls(server, pictures, tmp_path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.write(pictures / "a.jpg", "inside/z.jpg")
    handler = partial(_Quiet, directory=pictures)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as files:
        thread = threading.Thread(target=files.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{files.server_port}/d.webp?size=full"
        places = [tmp_path / "z.zip", pictures / "b.png", f"{pictures}/[a]*", url]
        status = ask(server, tmp_path / "out", *places)
        files.shutdown()
        thread.join()
    assert status == 0
    names = annotations.read(str(tmp_path / "out" / "submission_post.csv")).images
    assert names == ["z.jpg", "b.png", "a.jpg", "d.webp"]


def test_grpc_gives_the_same_even_if_the_server_is_busy_at_first(
    server, tiny_model, pictures, tmp_path
):
    images = [pictures / name for name in ("a.jpg", "b.png", "d.webp")]
    assert ask(server, tmp_path / "rest", *images) == 0
    with grpc_server.serving(tiny_model) as (address, service):
        service.failures = 1
        flags = ["--grpc", "--batch-size", "2"]
        assert ask(address, tmp_path / "grpc", *images, flags=flags) == 0
        assert service.failures == 0
    rest, grpc = (
        (tmp_path / kind / "submission_post.csv").read_text()
        for kind in ("rest", "grpc")
    )
    assert rest == grpc


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def refused(capsys, message, *arguments, **options):
    assert ask(*arguments, **options) == 2
    error = capsys.readouterr().err
    assert message in error.splitlines()[-1]
    assert "Traceback" not in error


def test_mistakes_have_a_reason(server, pictures, tmp_path, capsys):
    few = ["--retries", "0"]
    image = pictures / "a.jpg"
    say = partial(refused, capsys)
    say(
        "No answer for the model 'clouds' from 127.0.0.1:9: ",
        GONE,
        tmp_path,
        image,
        flags=few,
    )
    say("no model has this name", server, tmp_path, image, flags=["--name", "other"])
    say("None of 1 image was answered", server, tmp_path, pictures / "c.jpg")
    say("Received: b.png as ", server, tmp_path, pictures, pictures / "b.png")
    say("quoted globs, or a .txt", server, tmp_path, tmp_path / "nowhere")
    flags = ["--model-version", "7"]
    say("--model-version must be one", server, tmp_path, image, flags=flags)
    say("--bbox must be used with", server, tmp_path, image, flags=["--bbox=0,0,1,1"])
    (tmp_path / "submission_post.csv").write_text("mine")
    say("submission_post.csv of unknown settings", server, tmp_path, image)
    assert (tmp_path / "submission_post.csv").read_text() == "mine"
    assert ask(server, tmp_path, image, flags=["--overwrite"]) == 0
    assert len((tmp_path / "submission_post.csv").read_text().splitlines()) == 5


def test_retries_are_reported(pictures, tmp_path, capsys):
    flags = ["--retries", "1"]
    assert ask(GONE, tmp_path, pictures, flags=flags) == 2
    retried, failed = capsys.readouterr().err.splitlines()
    assert retried.startswith("request: the server is unreachable")
    assert ". Retries left: 1, within " in retried
    assert failed.startswith("request: error: No answer for the model")


class Model:
    """Answers, but for batches with a bad image, as TensorFlow Serving does."""

    def __init__(self, fault=None):
        self.asked = []
        self.fault = fault

    def ask(self, files, seconds):
        self.asked.append(list(files))
        if self.fault:
            raise self.fault
        if b"bad" in files:
            raise Rejected("bad")
        return [Answer([contents.decode()] * 4, [0] * 4) for contents in files]


def test_the_good_images_of_a_rejected_batch_are_answered():
    model = Model()
    files = [b"0", b"1", b"2", b"bad", b"4"]
    answers = request.ask(model, files, Retry(0, 10))
    assert [answer.rle[0] for answer in answers[:3]] == ["0", "1", "2"]
    assert isinstance(answers[3], Rejected)
    assert answers[4].rle[0] == "4"
    assert len(model.asked) == 7


def test_a_lost_server_is_not_asked_again():
    model, retry = Model(Lost("gone")), Retry(0, 10)
    for _ in range(2):
        answers = request.ask(model, [b"0", b"1"], retry)
        assert all(isinstance(answer, Busy) for answer in answers)
    assert len(model.asked) == 1


@pytest.fixture
def three(pictures, tmp_path):
    """Images, and flags that ask about one after another."""
    shutil.copy(pictures / "a.jpg", tmp_path / "z.jpg")
    images = pictures / "a.jpg", pictures / "b.png", tmp_path / "z.jpg"
    flags = ["--batch-size", "1", "--concurrency", "1", "--retries", "0"]
    return images, flags


@pytest.fixture
def watch(monkeypatch):
    """Counts what is asked, and raises after a number of answers."""
    real = request.client.Rest.ask

    def begin(most=math.inf, fault=None):
        asked = []

        def counted(self, files, seconds):
            if len(asked) >= most:
                raise fault
            asked.append(files)
            return real(self, files, seconds)

        monkeypatch.setattr(request.client.Rest, "ask", counted)
        return asked

    return begin


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_answers_from_before_a_server_was_lost_are_kept(
    server, three, tmp_path, watch, capsys
):
    images, flags = three
    assert ask(server, tmp_path / "whole", *images, flags=flags) == 0
    out = tmp_path / "out"
    watch(1, Lost("gone"))
    assert ask(server, out, *images, flags=flags) == 3
    assert "The same command asks for these only" in capsys.readouterr().err
    assert annotations.read(str(out / "submission_post.csv")).images == ["a.jpg"]
    assert "gone" in (out / "unreadable.txt").read_text()
    asked = watch()
    assert ask(server, out, *images, flags=flags) == 0
    assert len(asked) == 2
    assert "Already answered: 1 of 3 images" in capsys.readouterr().out
    assert contents(out) == contents(tmp_path / "whole")
    assert ask(server, out, *images, flags=flags) == 0
    assert "already answered (3 images)" in capsys.readouterr().out
    assert len(asked) == 2
    assert ask(server, out, *images, flags=[*flags, "--overwrite"]) == 0
    assert len(asked) == 5


def test_an_interrupted_request_resumes_with_the_same_settings_only(
    server, three, tmp_path, watch, capsys, monkeypatch
):
    images, flags = three
    out = tmp_path / "out"
    watch(1, KeyboardInterrupt)
    assert ask(server, out, *images, flags=flags) == 130
    assert [path.name for path in out.iterdir()] == ["request.jsonl.part"]
    before = contents(out)

    def say(message, *images, flags=flags):
        refused(capsys, message, server, out, *images, flags=flags)
        assert contents(out) == before

    say("geojson false, not true", *images, flags=[*flags, "--geojson"])
    say(": other images or another order. Give", *images[:2])
    with monkeypatch.context() as patch:
        patch.setattr(request.client.Rest, "check", lambda self, seconds: 2)
        say("version 1, not 2. Give another folder", *images)
    asked = watch()
    assert ask(server, out, *images, flags=flags) == 0
    assert len(asked) == 2
    names = annotations.read(str(out / "submission_post.csv")).images
    assert names == ["a.jpg", "b.png", "z.jpg"]
    assert not (out / "request.jsonl.part").exists()


def test_an_interrupted_prediction_is_not_replaced(server, pictures, tmp_path, capsys):
    journal = tmp_path / "predict.jsonl.part"
    journal.write_text("{}\n")
    message = "predict.jsonl.part of unknown settings"
    refused(capsys, message, server, tmp_path, pictures / "a.jpg")
    assert journal.read_text() == "{}\n"


def test_two_bands_of_16_bits_are_asked_for_by_grpc_as_by_rest(tmp_path):
    tiny_export.write(tmp_path / "model", bands=schema.Bands.numbered(2, "uint16"))
    (tmp_path / "images").mkdir()
    image = np.zeros((64, 96, 2), np.uint16)
    image[:, 48:, 0] = 65535
    painters.write_png(tmp_path / "images/a.png", image)
    with serving(tmp_path / "model", tmp_path / "log.txt") as (url, _):
        assert ask(url, tmp_path / "rest", tmp_path / "images") == 0
    with grpc_server.serving(tmp_path / "model") as (address, _):
        found = ask(address, tmp_path / "grpc", tmp_path / "images", flags=["--grpc"])
    assert found == 0
    rest, grpc = (
        (tmp_path / kind / "submission_post.csv").read_text()
        for kind in ("rest", "grpc")
    )
    assert rest == grpc
    assert rest.splitlines()[1].partition(",")[2]


def test_images_of_five_bands_are_asked_for_as_numbers(tmp_path, capsys):
    pytest.importorskip("rasterio", reason="`bin/setup geo` installs it")
    bands = schema.Bands.numbered(5, "float32")
    tiny_export.write(tmp_path / "model", bands=bands)
    (tmp_path / "images").mkdir()
    image = np.zeros((64, 96, 5), np.float32)
    image[:, 48:, 0] = 1
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "images/a.tif", image, **options)
    (tmp_path / "images/b.jpg").write_bytes(tiny_export.encoded())
    with serving(tmp_path / "model", tmp_path / "log.txt") as (url, _):
        flags = ["--overlays", "2"]
        assert ask(url, tmp_path / "out", tmp_path / "images", flags=flags) == 3
    smaller = np.ascontiguousarray(image[:32, :])
    tifffile.imwrite(tmp_path / "images/c.tif", smaller, **options)
    with grpc_server.serving(tmp_path / "model") as (address, _):
        found = ask(address, tmp_path / "grpc", tmp_path / "images", flags=["--grpc"])
    assert found == 3
    by_grpc = annotations.read(str(tmp_path / "grpc/submission_post.csv"))
    assert by_grpc.images == ["a.tif", "c.tif"]
    assert "b.jpg: it cannot be read as an image (it is a JPEG" in (
        capsys.readouterr().err
    )
    (texts,) = annotations.read(str(tmp_path / "out/submission_post.csv")).texts
    assert (by_grpc.texts == texts).all()
    mask = rle.decode(texts[0], schema.SUBMISSION_SIZE)
    assert mask[:, 270:].all() and not mask[:, :255].any()
    assert cv2.imread(str(tmp_path / "out/overlays.png")).std() > 10
