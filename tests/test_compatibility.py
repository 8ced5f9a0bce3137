"""Records, runs and exports of an earlier commit still load, with equal results."""

import shutil
import tarfile

import pytest
import tensorflow as tf
from helpers import small
from helpers.commands import ROOT

from clouds.cli import main

ARCHIVE = ROOT / "tests/fixtures/before_subpackages.tar.xz"


@pytest.fixture
def saved(tmp_path, monkeypatch):
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path / "saved")
    monkeypatch.setattr("clouds.models.unet.build", small.build_smooth)
    return tmp_path / "saved"


def test_earlier_records_are_intact(saved, capsys):
    assert main.main(["make_tfrecords", "--verify", "records"]) == 0
    assert "all shards were read and are intact" in capsys.readouterr().out


def test_an_earlier_run_predicts_the_same_submissions(saved):
    arguments = ["predict", "--run", "run", "--images", "images", "--out", "again"]
    assert main.main(arguments) == 0
    for name in ("submission.csv", "submission_post.csv"):
        expected = (saved / "predicted" / name).read_bytes()
        assert (saved / "again" / name).read_bytes() == expected


def test_an_earlier_run_resumes(saved, capsys):
    assert main.main(["train", "--run", "run", "--epochs", "3"]) == 0
    assert "Resuming after 2 epochs." in capsys.readouterr().out


def test_an_earlier_run_is_evaluated_and_reported(saved):
    shutil.rmtree(saved / "run/checkpoints")
    assert main.main(["report", "--run", "run"]) == 0
    assert main.main(["evaluate", "--records", "records", "--run", "run"]) == 0


def test_an_earlier_export_returns_the_same_text(saved):
    model = tf.saved_model.load(saved / "model/1").signatures["serving_default"]
    contents = [path.read_bytes() for path in sorted((saved / "images").iterdir())]
    found = model(tf.constant(contents))["rle"].numpy().astype(str)
    rows = (saved / "predicted/submission_post.csv").read_text().splitlines()[1:]
    assert found.ravel().tolist() == [row.partition(",")[2] for row in rows]
