import cv2
import numpy as np
import pytest

from clouds import cli, pixels, postprocess, rle, schema, table
from clouds import run as run_folder


def predict(run, images, out, *flags):
    arguments = ["--run", run, "--images", images, "--out", out, *flags]
    return cli.main(["predict", *map(str, arguments)])


@pytest.fixture(scope="module")
def submissions(sample, run, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    flags = ("--threshold", "0.3", "--min-size", "500", "--batch-size", "2")
    flags += ("--gap", "keep")
    assert predict(run, sample / "test_images", out, *flags) == 0
    return out


def test_both_submissions_have_a_row_for_each_image_and_label(submissions, sample):
    names = {path.name for path in submissions.iterdir()}
    assert names == {"submission.csv", "submission_post.csv", "overlays.png"}
    names.remove("overlays.png")
    for name in names:
        read = table.read(str(submissions / name))
        expected = sorted(path.name for path in (sample / "test_images").iterdir())
        assert read.images == expected
        for image in range(3):
            read.runs(image, (350, 525))


def test_the_rows_are_what_the_network_says(submissions, sample, run):
    plain, cleaned = (
        table.read(str(submissions / name))
        for name in ("submission.csv", "submission_post.csv")
    )
    network = run_folder.load(str(run))
    drawn = 0
    for image, name in enumerate(plain.images):
        contents = (sample / "test_images" / name).read_bytes()
        decoded, _ = pixels.decode(contents, (64, 96))
        probabilities = network.predict_on_batch(decoded[None])
        probabilities = postprocess.resize(probabilities, (350, 525)).numpy()[0]
        kept = postprocess.clean(probabilities[None], 0.3, 500).numpy()[0]
        for label in range(4):
            for read, expected in ((plain, probabilities > 0.3), (cleaned, kept)):
                mask = rle.decode(read.texts[image, label], (350, 525))
                different = (mask != expected[..., label]).sum()
                # A batch of another size may differ in the last bit at the threshold.
                assert different <= 20
                drawn += mask.sum()
    assert drawn > 0


def test_a_sample_submission_gives_images_and_order(sample, run, tmp_path):
    names = sorted(path.name for path in (sample / "test_images").iterdir())
    rows = [
        f"{name}_{label},1 1\n"
        for name in (names[2], names[0])
        for label in reversed(schema.LABELS)
    ]
    path = tmp_path / "sample.csv"
    path.write_text("Image_Label,EncodedPixels\n" + "".join(rows))
    images, flags = sample / "test_images", ("--sample-submission", path)
    assert predict(run, images, tmp_path / "out", *flags) == 0
    for name in ("submission.csv", "submission_post.csv"):
        lines = (tmp_path / "out" / name).read_text().splitlines()
        expected = [row.split(",")[0] for row in rows]
        assert [line.split(",")[0] for line in lines[1:]] == expected


def refused(capsys, message, *arguments):
    capsys.readouterr()
    assert predict(*arguments) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert error.count("\n") == 0


def test_an_unreadable_image_is_named_and_no_submission_is_left(
    copy_of_sample, run, tmp_path, capsys
):
    images, out = copy_of_sample / "test_images", tmp_path / "out"
    broken = sorted(images.iterdir())[1]
    broken.write_bytes(broken.read_bytes()[:700])
    refused(capsys, f"{broken}, 700 bytes", run, images, out, "--batch-size", 1)
    assert not list(out.iterdir())


def test_a_folder_without_images_or_none_at_all_is_refused(run, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("")
    refused(capsys, "which holds none", run, tmp_path, tmp_path / "out")
    refused(capsys, "must be a folder", run, tmp_path / "none", tmp_path / "out")


def test_an_image_that_only_the_sample_submission_names_is_refused(
    sample, run, tmp_path, capsys
):
    rows = [f"absent.jpg_{label},1 1\n" for label in schema.LABELS]
    (tmp_path / "s.csv").write_text("Image_Label,EncodedPixels\n" + "".join(rows))
    flags = ("--sample-submission", tmp_path / "s.csv")
    images = sample / "test_images"
    refused(capsys, "the first absent.jpg", run, images, tmp_path / "out", *flags)


def test_rows_of_one_image_apart_are_refused(sample, run, tmp_path, capsys):
    names = sorted(path.name for path in (sample / "test_images").iterdir())
    rows = [f"{name}_{label},\n" for label in schema.LABELS for name in names]
    (tmp_path / "s.csv").write_text("Image_Label,EncodedPixels\n" + "".join(rows))
    flags = ("--sample-submission", tmp_path / "s.csv")
    images = sample / "test_images"
    refused(capsys, "must stand together", run, images, tmp_path / "out", *flags)


def test_images_of_any_size_and_kind_are_predicted(run, tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (120, 50, 3), np.uint8)
    cv2.imwrite(str(images / "a.png"), noise)
    cv2.imwrite(str(images / "b.jpeg"), noise[:33])
    cv2.imwrite(str(images / "c.jpg"), noise[..., 0])
    assert predict(run, images, tmp_path / "out") == 0
    assert len((tmp_path / "out" / "submission.csv").read_text().splitlines()) == 13


def test_records_give_the_submission_that_their_images_give(sample, run, tmp_path):
    records = str(tmp_path / "records")
    source = ["--unlabelled", "--images", str(sample / "test_images")]
    make = ["make_tfrecords", *source, "--out", records, "--size", "96x144"]
    assert cli.main(make) == 0
    for name, flag, value in (
        ("a", "--records", records),
        ("b", "--images", str(sample / "test_images")),
    ):
        out = ["--out", str(tmp_path / name)]
        assert cli.main(["predict", "--run", str(run), flag, value, *out]) == 0
    for file in ("submission.csv", "submission_post.csv"):
        assert (tmp_path / "a" / file).read_text() == (
            tmp_path / "b" / file
        ).read_text()


def test_the_first_images_are_drawn_on_demand(sample, run, tmp_path):
    source = ["--images", str(sample / "test_images"), "--out", str(tmp_path)]
    predict = ["predict", "--run", str(run), *source]
    assert cli.main([*predict, "--overlays", "0"]) == 0
    assert not (tmp_path / "overlays.png").exists()
    assert cli.main([*predict, "--overlays", "2", "--min-size", "0"]) == 0
    picture = cv2.imread(str(tmp_path / "overlays.png"))
    assert picture.shape[0] > 200
    assert picture.std() > 10


def test_labelled_records_and_two_sources_are_refused(run, records, tmp_path, capsys):
    predict = ["predict", "--run", str(run), "--out", str(tmp_path / "out")]
    assert cli.main([*predict, "--records", str(records)]) == 2
    assert "Records must be without masks" in capsys.readouterr().err
    assert cli.main([*predict, "--records", str(records), "--images", "x"]) == 2
    assert "Either --images or --records" in capsys.readouterr().err
