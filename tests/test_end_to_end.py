"""The commands, one after another, as a user types them."""

import subprocess

from conftest import ROOT

from clouds import table


def run(command, *flags):
    line = [str(ROOT / "bin" / command), *map(str, flags)]
    ended = subprocess.run(line, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return ended.stdout


def test_real_images_become_two_valid_submissions(real_data, tmp_path):
    fullres, records, folder = (
        real_data / "fullres", tmp_path / "records", tmp_path / "run",
    )  # fmt: skip
    source = ("--csv", fullres / "train.csv", "--images", fullres / "train_images")
    run("make_tfrecords", *source, "--out", records, "--size", "64x96")
    of_run = ("--records", records, "--run", folder)
    options = ("--epochs", 1, "--batch-size", 4, "--batch-norm-momentum", 0.5)
    assert "best weights" in run("train", *of_run, *options).lower()
    assert "mean" in run("evaluate", *of_run)
    images = ("--images", fullres / "test_images", "--out", folder)
    run("predict", "--run", folder, *images, "--threshold", 0.2, "--min-size", 0)
    for name in ("submission.csv", "submission_post.csv"):
        submission = table.read(str(folder / name))
        assert submission.texts.shape == (3, 4)
        drawn = [submission.runs(image, (350, 525)) for image in range(3)]
        assert sum(len(runs) for labels in drawn for runs in labels) > 0
