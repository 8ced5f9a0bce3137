import json
import os
import shutil

import cv2
import keras
import numpy as np
import pytest
from helpers import forked, small
from helpers.references import presence

from clouds import rle, schema
from clouds.cli import main
from clouds.config import rule
from clouds.config.rule import Rule
from clouds.config.training import Training
from clouds.data import annotations
from clouds.data.images import preprocessing
from clouds.models import unet
from clouds.postprocess import functional
from clouds.prediction import journal, outputs
from clouds.runs import network, run_folder
from clouds.runtime import checksums, files

SIZE = schema.SUBMISSION_SIZE
SUBMISSIONS = outputs.SUBMISSIONS


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    monkeypatch.setattr(unet, "build", small.build)


def make_run(folder, seed, *, nan=False):
    """A run of a small model that was never trained."""
    settings = Training(
        records="r", run=str(folder), size=(64, 96), precision="float32"
    )
    run_folder.create(settings, {})
    keras.utils.set_random_seed(seed)
    model = small.build(settings.size)
    # Probabilities from 0 to 1, not all of them about a half.
    kernel = model.get_layer("final_conv").kernel
    kernel.assign(kernel * (np.nan if nan else 8))
    run_folder.save_weights(model, folder)
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("small_run"), 1)


@pytest.fixture(scope="module")
def other_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("other_run"), 2)


def predict(run, images, out, *flags):
    runs = run if isinstance(run, tuple) else (run,)
    arguments = ["--run", *runs, "--images", images, "--out", out, "--overlays", 0]
    return main.main(["predict", *map(str, [*arguments, *flags])])


def refused(capsys, message, *arguments):
    capsys.readouterr()
    assert predict(*arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.count("\n") == 0


def contents(folder):
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def names_of(images):
    return sorted(path.name for path in images.iterdir())


def test_both_submissions_have_a_row_for_each_image_and_label(sample, run, tmp_path):
    images = sample / "test_images"
    assert predict(run, images, tmp_path, "--min-area", 50, "--overlays", 8) == 0
    assert set(contents(tmp_path)) == {*SUBMISSIONS, "overlays.png", "predict.json"}
    for name in SUBMISSIONS:
        read = annotations.read(str(tmp_path / name))
        assert read.images == names_of(images)
        drawn = [read.runs(image, SIZE) for image in range(3)]
        assert sum(len(runs) for labels in drawn for runs in labels) > 0


@pytest.mark.parametrize("flips", [False, True])
def test_the_rows_are_what_the_networks_say(sample, run, other_run, tmp_path, flips):
    images = sample / "test_images"
    runs = (run, other_run) if flips else (run,)
    flags = ("--threshold", 0.3, 0.4, 0.5, 0.6, "--min-area", 50, "--orbit-gap", "keep")
    flags += ("--batch-size", 2, *(["--flips"] if flips else []))
    assert predict(runs, images, tmp_path, *flags) == 0
    plain, cleaned = (annotations.read(str(tmp_path / name)) for name in SUBMISSIONS)
    model = network.load([str(folder) for folder in runs], flips=flips)
    thresholds = np.float32([0.3, 0.4, 0.5, 0.6])
    for image, name in enumerate(plain.images):
        decoded, _ = preprocessing.decode((images / name).read_bytes(), (64, 96))
        probabilities = model.predict_on_batch(decoded[None])
        probabilities = functional.resize(probabilities, SIZE).numpy()
        kept = functional.clean(probabilities, thresholds, 50).numpy()
        for label in range(4):
            for read, masks in ((plain, probabilities > thresholds), (cleaned, kept)):
                mask = rle.decode(read.texts[image, label], SIZE)
                different = (mask != masks[0, ..., label]).sum()
                # A batch of another size may differ in the last bit at the threshold.
                assert different <= 20
    assert plain.present.any()
    assert (plain.texts != cleaned.texts).any()


def test_images_of_any_size_and_kind_are_predicted(run, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (120, 50, 3), np.uint8)
    for name, image in {
        "a.png": noise,
        "b.jpeg": noise[:33],
        "c.jpg": noise[..., 0],
        "d.TIF": noise[:, :9],
        "e.bmp": noise[:1, :1],
    }.items():
        cv2.imwrite(str(images / name), image)
    assert predict(run, images, tmp_path / "out") == 0
    read = annotations.read(str(tmp_path / "out" / "submission.csv"))
    assert read.images == ["a.png", "b.jpeg", "c.jpg", "d.TIF", "e.bmp"]


def write_sample(path, names, labels=schema.CLOUDS.labels):
    rows = [f"{name}_{label},1 1\n" for name in names for label in labels]
    path.write_text("Image_Label,EncodedPixels\n" + "".join(rows))
    return path


def test_a_sample_submission_gives_images_and_order(images, run, tmp_path):
    names = names_of(images)
    asked = [names[5], names[0], names[3]]
    sample = write_sample(tmp_path / "s.csv", asked, schema.CLOUDS.labels[::-1])
    out = tmp_path / "out"
    assert predict(run, images, out, "--sample-submission", sample) == 0
    for name in SUBMISSIONS:
        check = ["submit-check", str(out / name), "--sample-submission", str(sample)]
        assert main.main(check) == 0


def test_an_image_that_only_the_sample_names_is_refused(images, run, tmp_path, capsys):
    sample = write_sample(tmp_path / "s.csv", ["absent.jpg"])
    flags = ("--sample-submission", sample)
    refused(capsys, "first 'absent.jpg'", run, images, tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()


def test_unreadable_images_have_no_rows_and_are_tried_again(
    images, run, tmp_path, capsys
):
    names, out = names_of(images), tmp_path / "out"
    sample = write_sample(tmp_path / "s.csv", names)
    arguments = (run, images, out, "--batch-size", 2, "--sample-submission", sample)
    whole = {name: (images / name).read_bytes() for name in names}
    (images / names[1]).write_bytes(whole[names[1]][:700])
    (images / names[4]).write_bytes(b"")
    assert predict(*arguments) == 3
    first, second, last = capsys.readouterr().err.splitlines()
    assert f"{images / names[1]} (700 bytes)" in first
    assert f"{images / names[4]} (0 bytes)" in second
    assert "2 of 7 images could not be read and have no rows in" in last
    assert f"lack rows of {sample}. See {out}/unreadable.txt" in last
    listed = (out / "unreadable.txt").read_text().splitlines()
    assert [line.split(":")[0] for line in listed] == [names[1], names[4]]
    readable = [name for name in names if name not in (names[1], names[4])]
    for name in SUBMISSIONS:
        assert annotations.read(str(out / name)).images == readable
    before = annotations.read(str(out / "submission.csv"))
    for name in readable:
        # Of those that are done only the drawing would need them.
        (images / name).write_bytes(b"")
    (images / names[1]).write_bytes(whole[names[1]])
    assert predict(*arguments) == 3
    assert "1 of 7 images could not be read" in capsys.readouterr().err
    (images / names[4]).write_bytes(whole[names[4]])
    assert predict(*arguments) == 0
    assert capsys.readouterr().err == ""
    assert not (out / "unreadable.txt").exists()
    after = annotations.read(str(out / "submission.csv"))
    assert after.images == names
    kept = [names.index(name) for name in readable]
    assert (after.texts[kept] == before.texts).all()
    assert not (out / "predict.jsonl.part").exists()


def test_a_name_that_is_not_utf8_is_named_and_the_others_are_predicted(
    images, run, tmp_path, capsys
):
    good = names_of(images)
    odd = os.fsencode(images) + b"/caf\xe9.jpg"
    try:
        shutil.copy(images / good[0], odd)
    except OSError:
        pytest.skip("the disk takes names in UTF-8 only")
    assert predict(run, images, tmp_path / "out") == 3
    error = capsys.readouterr().err
    assert "caf\\xe9.jpg cannot be read (its name is not UTF-8; rename it)" in error
    assert "1 of 8 images could not be read" in error
    for name in SUBMISSIONS:
        assert annotations.read(str(tmp_path / "out" / name)).images == good


@pytest.mark.parametrize("name", ["a,b.jpg", 'a"b.jpg', "=a.jpg", "$a$.jpg", "a b.jpg"])
def test_submissions_with_odd_names_are_valid(sample, run, tmp_path, name):
    (tmp_path / "images").mkdir()
    first = next((sample / "test_images").iterdir())
    shutil.copy(first, tmp_path / "images" / name)
    out = tmp_path / "out"
    assert predict(run, tmp_path / "images", out, "--overlays", 1) == 0
    for submission in SUBMISSIONS:
        assert annotations.read(str(out / submission)).images == [name]
        assert main.main(["submit-check", str(out / submission)]) == 0


@pytest.mark.parametrize("flags", [["--masks"], ["--probabilities", "npz"]])
def test_names_too_long_for_masks_are_refused_before_predicting(
    images, run, tmp_path, capsys, flags
):
    path = next(images.iterdir())
    path.rename(images / f"{'n' * 236}.jpg")
    message = "too long for --masks and --probabilities: 240 bytes"
    refused(capsys, message, run, images, tmp_path / "out", *flags)
    assert not list((tmp_path / "out").iterdir())
    assert predict(run, images, tmp_path / "out") == 0


def test_images_of_which_none_is_readable_leave_nothing(images, run, tmp_path, capsys):
    for path in images.iterdir():
        path.write_bytes(b"no image")
    assert predict(run, images, tmp_path / "out") == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 8
    assert "None of 7 images could be read" in error[-1]
    assert contents(tmp_path / "out") == {}


def test_a_folder_without_images_or_none_at_all_is_refused(run, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("")
    out = tmp_path / "out"
    refused(capsys, "holds no images", run, tmp_path, out)
    refused(capsys, "a folder or zip of images", run, tmp_path / "none", out)
    assert not out.exists()


EVERYTHING = ("--masks", "--geojson", "--bbox=-61,5,-40,19", "--coco", "--min-area", 50)


def killed(arguments, journal_path, images_done):
    """Runs bin/predict until so many images are done, then kills it."""
    command = forked.Command("predict", *arguments, build=small.build)

    def lines():
        return journal_path.read_bytes() if journal_path.exists() else b""

    command.wait_for(lambda: lines().count(b"\n") > images_done)
    command.kill()
    return lines()


def test_a_killed_prediction_goes_on_and_ends_as_if_it_had_not_been(
    images, run, tmp_path, monkeypatch, capsys
):
    names, out = names_of(images), tmp_path / "out"
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(f"images/{name}" for name in names))
    flags = ("--batch-size", 2, "--probabilities", "npz", *EVERYTHING)
    assert predict(run, listed, tmp_path / "whole", *flags) == 0
    # The fifth image never comes: it is a pipe into which nobody writes.
    waiting = images / names[4]
    whole = waiting.read_bytes()
    waiting.unlink()
    os.mkfifo(waiting)
    arguments = ["--run", run, "--images", listed, "--out", out, "--overlays", 0]
    journal_path = out / "predict.jsonl.part"
    lines = killed([*arguments, *flags], journal_path, 4)
    assert not (out / "submission.csv").exists()
    waiting.unlink()
    waiting.write_bytes(whole)
    with journal_path.open("ab") as file:
        file.write(lines.splitlines(keepends=True)[1][:99])
    for name in names[:4]:
        (images / name).unlink()
    seen = []
    load = network.load

    def watched(*arguments, **options):
        model = load(*arguments, **options)
        step = model.predict_on_batch
        model.predict_on_batch = lambda shown: seen.append(len(shown)) or step(shown)
        return model

    monkeypatch.setattr(network, "load", watched)
    assert predict(run, listed, out, *flags) == 0
    assert seen == [2, 1]
    assert "Already predicted: 4 of 7 images" in capsys.readouterr().out
    assert contents(out) == contents(tmp_path / "whole")


def test_an_interrupted_prediction_of_records_goes_on(
    images, run, tmp_path, monkeypatch
):
    records = tmp_path / "records"
    make = ["make_tfrecords", "--unlabelled", "--images", images, "--out", records]
    assert main.main([*map(str, make), "--size", "96x144", "--workers", "1"]) == 0
    arguments = ["predict", "--run", run, "--records", records, "--batch-size", 2]
    arguments = [*map(str, arguments), "--min-area", "50", "--overlays", "2"]
    arguments += ["--out", str(tmp_path / "out")]
    add = journal.Journal.add

    def interrupt(self, entries):
        add(self, entries)
        if len(self) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(journal.Journal, "add", interrupt)
    assert main.main(arguments) == 130
    monkeypatch.setattr(journal.Journal, "add", add)
    assert not (tmp_path / "out" / "submission.csv").exists()
    assert main.main(arguments) == 0
    flags = ("--batch-size", 2, "--min-area", 50, "--overlays", 2)
    assert predict(run, images, tmp_path / "files", *flags) == 0
    of_records, of_files = contents(tmp_path / "out"), contents(tmp_path / "files")
    assert set(of_records) == {*SUBMISSIONS, "overlays.png", "predict.json"}
    for name in (*SUBMISSIONS, "overlays.png"):
        assert of_records[name] == of_files[name]


def test_what_was_cut_off_while_writing_is_written_from_the_journal(
    images, run, tmp_path, monkeypatch
):
    assert predict(run, images, tmp_path / "whole", *EVERYTHING) == 0
    write_json = checksums.write_json

    def fail(path, fields):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(checksums, "write_json", fail)
    assert predict(run, images, tmp_path / "out", *EVERYTHING) == 2
    monkeypatch.setattr(checksums, "write_json", write_json)
    for path in images.iterdir():
        path.write_bytes(b"")
    assert predict(run, images, tmp_path / "out", *EVERYTHING) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_a_finished_folder_is_left_alone_unless_it_shall_be_overwritten(
    images, run, tmp_path, capsys
):
    out = tmp_path / "out"
    flags = ("--masks", "--probabilities", "png", "--min-area", 50)
    assert predict(run, images, out, *flags) == 0
    before = contents(out)
    assert len(before) == 3 + 2 * 4 * 7
    for path in images.iterdir():
        path.write_bytes(b"")
    assert predict(run, images, out, *flags) == 0
    assert "already predicted, 7 images. --overwrite" in capsys.readouterr().out
    assert contents(out) == before
    for name in names_of(images)[1:]:
        (images / name).unlink()
    cv2.imwrite(str(images / names_of(images)[0]), np.zeros((9, 9, 3), np.uint8))
    refused(capsys, "other images or another", run, images, out, *flags)
    refused(capsys, 'probabilities "png", not null', run, images, out)
    assert contents(out) == before
    assert predict(run, images, out, "--overwrite") == 0
    assert set(contents(out)) == {*SUBMISSIONS, "predict.json"}
    assert annotations.read(str(out / "submission.csv")).images == names_of(images)


def test_a_submission_that_was_removed_is_made_again(images, run, tmp_path):
    assert predict(run, images, tmp_path / "out") == 0
    before = contents(tmp_path / "out")
    (tmp_path / "out" / "submission_post.csv").unlink()
    assert predict(run, images, tmp_path / "out") == 0
    assert contents(tmp_path / "out") == before


def test_other_predictions_are_not_replaced_in_silence(
    images, run, other_run, tmp_path, capsys
):
    out = tmp_path / "out"
    assert predict(run, images, out) == 0
    tuned = shutil.copytree(run, tmp_path / "tuned")
    run_folder.save_rule(str(tuned), Rule(min_sizes=(1, 2, 3, 4)), {})
    received = f"--out: '{out}' holds other predictions: "
    minimum = "min_sizes [10000, 10000, 10000, 10000], not [1, 2, 3, 4]. Give"
    for message, *arguments in (
        (received + "flips false, not true. Give", run, images, out, "--flips"),
        ("thresholds [0.5, 0.5, 0.5, 0.5], not [0.3333,", run, images, out)
        + ("--threshold", 1 / 3),
        ("not [0.500000001, 0.5", run, images, out) + ("--threshold", 0.500000001),
        (received + minimum, tuned, images, out),
        (received + "other weights. Give", other_run, images, out),
    ):
        refused(capsys, message, *arguments)
    (out / "predict.json").unlink()
    message = "submission.csv of unknown settings; submission_post.csv of unknown"
    refused(capsys, message, run, images, out)
    (out / "predict.json").write_text("{")
    refused(capsys, "predict.json is damaged", run, images, out)
    assert predict(run, images, out, "--overwrite") == 2


def test_two_at_once_into_one_folder_are_refused(images, run, tmp_path, capsys):
    with files.sole_writer(str(tmp_path), "--out"):
        message = "another process is writing"
        refused(capsys, message, run, images, tmp_path)
    assert not set(contents(tmp_path)) & {*SUBMISSIONS, "predict.jsonl.part"}


def test_all_forms_say_the_same(images, run, tmp_path):
    flags = ("--probabilities", "npz", "--masks", "--geojson", "--coco")
    flags += ("--min-area", 50, "--orbit-gap", "keep")
    assert predict(run, images, tmp_path / "out", *flags) == 0
    cleaned = annotations.read(str(tmp_path / "out" / "submission_post.csv"))
    scores = {}
    coco = json.loads((tmp_path / "out" / "coco.json").read_text())
    for one in coco["annotations"]:
        scores[one["image_id"] - 1, one["category_id"] - 1] = one["score"]
    geojson = json.loads((tmp_path / "out" / "masks.geojson").read_text())
    assert len(geojson["features"]) == len(scores) == cleaned.present.sum() > 0
    for image, name in enumerate(cleaned.images):
        with np.load(tmp_path / "out" / "probabilities" / f"{name}.npz") as read:
            probabilities = read["probabilities"].astype(np.float32)
        probabilities = functional.resize(probabilities[None], SIZE).numpy()
        sure = presence(probabilities)[0]
        for k, label in enumerate(schema.CLOUDS.labels):
            mask = rle.decode(cleaned.texts[image, k], SIZE)
            path = tmp_path / "out" / "masks" / f"{name}_{label}.png"
            picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(picture == 255, mask)
            if mask.any():
                assert scores[image, k] == pytest.approx(sure[k], abs=2e-3)


def test_the_first_images_are_drawn(images, run, tmp_path):
    flags = ("--overlays", 2, "--min-area", 0)
    assert predict(run, images, tmp_path / "two", *flags) == 0
    picture = cv2.imread(str(tmp_path / "two" / "overlays.png"))
    assert picture.shape[0] > 200
    assert picture.std() > 10


def test_images_are_drawn_from_their_files_not_from_the_networks_pixels(
    images, run, tmp_path, monkeypatch
):
    fine = np.zeros((350, 525, 3), np.uint8)
    fine[:, ::2] = 255
    first = images / names_of(images)[0]
    cv2.imwrite(str(first), fine, [cv2.IMWRITE_JPEG_QUALITY, 100])
    drawn = []
    monkeypatch.setattr(outputs, "draw_overlays", lambda *args, **_: drawn.append(args))
    assert predict(run, images, tmp_path / "out", "--overlays", 1) == 0
    (shown,), *_ = drawn[0]
    assert abs(shown.astype(int) - fine).max() < 30


def test_a_box_in_another_order_is_refused(images, run, tmp_path, capsys):
    flags = ("--geojson", "--overlays", 0)
    assert predict(run, images, tmp_path / "a", *flags, "--bbox=-61,5,-40,19") == 0
    assert not capsys.readouterr().err
    message = "the first image is 1.50 times as wide. Worldview's BBOX is south,west,"
    message += "north,east: did you mean --bbox=-61,5,-40,19?"
    refused(capsys, message, run, images, tmp_path / "b", *flags, "--bbox=5,-61,19,-40")
    assert not (tmp_path / "b").exists()


def test_a_box_of_other_proportions_is_warned_of(images, run, tmp_path, capsys):
    flags = ("--geojson", "--overlays", 0, "--bbox=150,5,170,35")
    assert predict(run, images, tmp_path, *flags) == 0
    assert "predict: warning: --bbox should have" in capsys.readouterr().err


def test_what_masks_are_drawn_by_and_count_in_is_told(images, run, tmp_path, capsys):
    def told(name, *flags):
        assert predict(run, images, tmp_path / name, "--overlays", 0, *flags) == 0
        return capsys.readouterr().out.splitlines()[:-1]

    assert told("default") == [rule.describe_source("default", str(run))]
    assert told(
        "flags", "--peak-threshold", 0.6, "--geojson", "--bbox=-61,5,-40,19"
    ) == [rule.describe_source("flags", str(run))]
    tuned = shutil.copytree(run, tmp_path / "run")
    run_folder.save_rule(tuned, Rule(), {})
    run, pixels = tuned, "Polygons are in pixels of the 350x525 grid"
    first, second = told("tuned", "--geojson")
    assert first == f"Post-processed with the rule tuned for {tuned}."
    assert second.startswith(pixels)
    assert told("both", "--orbit-gap", "keep") == [
        rule.describe_source("tuned and flags", str(tuned))
    ]


def test_weights_that_are_not_numbers_are_refused(images, tmp_path, capsys):
    run = make_run(tmp_path / "run", 1, nan=True)
    message = "best.weights.h5 are damaged (NaN or infinite numbers)"
    refused(capsys, message, run, images, tmp_path / "out")
    assert not (tmp_path / "out" / "submission.csv").exists()


def test_a_run_without_weights_or_none_is_refused(images, run, tmp_path, capsys):
    out = tmp_path / "out"
    untrained = shutil.copytree(run, tmp_path / "run")
    (untrained / run_folder.WEIGHTS).unlink()
    refused(capsys, "has no best.weights.h5", untrained, images, out)
    refused(capsys, "has no best.weights.h5", (run, untrained), images, out)
    refused(capsys, "is not the folder of a run", images, images, out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--bbox=-61,15,-50,5", "--geojson"], "south below north. Received"),
        (["--bbox=-61,5,-50,95", "--geojson"], "latitudes from -90 to 90"),
        (["--bbox=-190,5,-50,15", "--geojson"], "longitudes from -180 to 180"),
        (["--bbox=nan,5,-50,15", "--geojson"], "--bbox must be west,south,east"),
        (["--bbox=-61,5,-50,15"], "--bbox must be used with --geojson"),
        (["--threshold", "1.5"], "--threshold must be from 0 to 1. Received: 1.5."),
        (["--threshold", "0", "0.5", "1", "nan"], "Received: 0 0.5 1 nan."),
        (
            ["--threshold", "0.5", "0.25"],
            "--threshold must be one number, or one for each of Fish, Flower, Gravel, "
            "Sugar. Received: 0.5 0.25.",
        ),
        (["--min-area", "-1"], "--min-area must be 0 or more. Received: -1."),
        (
            ["--peak-threshold", "1.01"],
            "--peak-threshold must be from 0 to 1. Received: 1.01.",
        ),
        (["--batch-size", "0"], "--batch-size must be above 0"),
        (["--overlays", "-1"], "--overlays must be 0 or more"),
        (["--out", "gs://bucket/out"], "--out must be a folder on this machine"),
        (["--records", "r"], "Either --images or --records must be given"),
    ],
)
def test_flags_out_of_range_are_refused(images, run, tmp_path, capsys, flags, message):
    refused(capsys, message, run, images, tmp_path / "out", *flags)
    assert not (tmp_path / "out").exists()


def test_a_folder_of_images_is_not_written_into(run, sample, tmp_path, capsys):
    images = tmp_path / "images"
    images.mkdir()
    shutil.copy(next((sample / "test_images").iterdir()), images)
    flags = ["--images", str(images), "--out", f"{images}/"]
    for command in (["predict", "--run", str(run)], ["request"]):
        assert main.main([*command, *flags]) == 2
        assert "--out must be another folder than --images" in capsys.readouterr().err
    assert len(list(images.iterdir())) == 1


def test_one_image_is_named_by_itself(run, sample, tmp_path):
    image = next((sample / "test_images").iterdir())
    flags = ["--run", str(run), "--images", str(image), "--out", str(tmp_path)]
    assert main.main(["predict", *flags, "--overlays", "0"]) == 0
    lines = (tmp_path / "submission_post.csv").read_text().splitlines()[1:]
    assert {line.rpartition("_")[0] for line in lines} == {image.name}


def test_probabilities_that_are_no_numbers_are_refused(
    images, run, tmp_path, capsys, monkeypatch
):
    load = network.load

    def load_damaged(*arguments, **options):
        model = load(*arguments, **options)
        model.set_weights([weight * np.nan for weight in model.get_weights()])
        return model

    monkeypatch.setattr(network, "load", load_damaged)
    message = f"NaN for 7 of 7 images of a batch, first {names_of(images)[0]}"
    refused(capsys, message, run, images, tmp_path / "out")


def test_a_rule_that_was_tuned_for_other_weights_is_warned_of(images, tmp_path, capsys):
    folder = make_run(tmp_path / "run", 1)
    tuned_on = {"sha256": "", "split": "val", "folds": [None], "runs": ["x"]}
    tuned_on |= {"flips": False, "weights": [run_folder.weights_checksum(folder)]}
    run_folder.save_rule(str(folder), rule.Rule(), {"tuned_on": tuned_on})
    warning = "predict: warning: "
    assert predict(folder, images, tmp_path / "a") == 0
    assert warning not in capsys.readouterr().err
    tuned_on["weights"] = ["0"]
    run_folder.save_rule(str(folder), rule.Rule(), {"tuned_on": tuned_on})
    assert predict(folder, images, tmp_path / "b") == 0
    assert f"{warning}{folder}/postprocess.json was tuned" in capsys.readouterr().err
