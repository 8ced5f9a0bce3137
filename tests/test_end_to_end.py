"""The commands, one after another, as a user types them."""

import json
import os
import re
import subprocess

import pytest
import tensorflow as tf
from helpers.commands import ROOT, RULE, cached_jax

from clouds.cli import main
from clouds.data import annotations
from clouds.evaluation import results


def run(command, *flags, **environment):
    line = [str(ROOT / "bin" / command), *map(str, flags)]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", **environment}
    ended = subprocess.run(line, capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    # What takes long tells how far it is.
    assert re.sub(r".+: \d+ of \d+ \w+, .+ left.*\n", "", ended.stderr) == ""
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
    run("predict", "--run", folder, *images, "--threshold", 0.2, "--min-area", 0)
    for name in ("submission.csv", "submission_post.csv"):
        submission = annotations.read(str(folder / name))
        assert submission.texts.shape == (3, 4)
        drawn = [submission.runs(image, (350, 525)) for image in range(3)]
        assert sum(len(runs) for labels in drawn for runs in labels) > 0


def test_a_network_trained_on_jax_scores_and_serves_the_same_on_tensorflow(
    records, sample, tmp_path
):
    of_run = ("--records", records, "--run", tmp_path)
    # Compiling one step of small images takes most of the time.
    options = ("--epochs", 1, "--batch-size", 16, "--precision", "float32")
    options += ("--size", "32x64")
    jax = cached_jax(tmp_path / "compiled")
    run("train", *of_run, *options, "--batch-norm-momentum", 0.5, **jax)
    run("evaluate", *of_run, **jax)
    on_jax = json.loads((tmp_path / results.JSON).read_text())
    assert main.main(["evaluate", *map(str, of_run)]) == 0
    on_tensorflow = json.loads((tmp_path / results.JSON).read_text())
    for path in (("dice_coef",), ("mean_dice", "network", "mean")):
        one, other = on_jax, on_tensorflow
        for key in path:
            one, other = one[key], other[key]
        assert one == pytest.approx(other, abs=1e-4)
        assert one > 0.01
    images, model = sample / "test_images", tmp_path / "model"
    source = ("--run", tmp_path, *RULE)
    given = (*source, "--images", images, "--out", tmp_path / "found")
    assert main.main(["predict", *map(str, given)]) == 0
    expected = annotations.read(str(tmp_path / "found" / "submission_post.csv")).texts
    assert main.main(["export", *map(str, source), "--out", str(model)]) == 0
    serve = tf.saved_model.load(str(model / "1")).signatures["serving_default"]
    files = [path.read_bytes() for path in sorted(images.iterdir())]
    texts = serve(image_bytes=tf.constant(files))["rle"].numpy().astype(str)
    assert (texts == expected).all()
    assert (texts != "").any()
