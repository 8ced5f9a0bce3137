import json
import os
import random
import shutil
import time
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from helpers import forked, small

from clouds import metrics
from clouds.cli import main
from clouds.config import resolve
from clouds.config.rule import Rule
from clouds.config.training import Training
from clouds.data import manifest, pipeline, statistics
from clouds.errors import InputError
from clouds.models import unet
from clouds.runs import checkpoints, run_folder
from clouds.runs import network as network_module
from clouds.runtime import files
from clouds.schema import Bands
from clouds.training import callbacks, loggers
from clouds.training import train as train_module
from clouds.training import trainer as trainer_module


def test_a_run_holds_what_is_promised(run, records):
    promised = {"config.json", "run.json", "best.weights.h5", "history.csv"}
    promised |= {"history.png", "summary.txt", "validation.png", "tensorboard"}
    assert promised <= {path.name for path in run.iterdir()}
    history = pd.read_csv(run / "history.csv")
    assert history["epoch"].tolist() == [0, 1]
    columns = {"loss", "dice_coef", "mean_dice", "learning_rate"}
    columns |= {"val_loss", "val_dice_coef", "val_mean_dice"}
    assert columns <= set(history.columns)
    assert cv2.imread(str(run / "history.png")) is not None
    assert "24,456,589" in (run / "summary.txt").read_text()
    facts = json.loads((run / "run.json").read_text())
    assert facts["epochs"] == 2
    assert facts["seed"] == facts["config"]["seed"] == 0
    assert facts["precision"] == "float32"
    checksum = files.checksum(str(records / manifest.FILE))
    assert facts["records"]["sha256"] == checksum
    assert facts["devices"]
    assert facts["seconds"] > 0
    assert facts["versions"]["keras"] == keras.__version__
    assert facts["best"]["val_loss"] == pytest.approx(history["val_loss"].min())


def test_the_best_weights_are_those_of_the_best_epoch(run, records):
    facts = json.loads((run / "run.json").read_text())
    network = network_module.load_one(str(run))
    read = manifest.read(str(records))
    values = [
        float(metrics.dice_coef(masks, network.predict_on_batch(images)))
        for images, masks in pipeline.val_batches(str(records), read, 4)
    ]
    assert np.mean(values) == pytest.approx(facts["best"]["val_dice_coef"], abs=1e-4)


def refused(capsys, message, *flags):
    capsys.readouterr()
    assert main.main(["train", *map(str, flags)]) == 2
    assert message in capsys.readouterr().err


def test_what_does_not_fit_the_records_is_refused(records, run, tmp_path, capsys):
    source = ("--records", records)
    message = "--batch-size 4, not 8"
    refused(capsys, message, *source, "--run", run, "--batch-size", 8)
    fresh = ("--run", tmp_path / "fresh")
    refused(
        capsys,
        "must not exceed the size of the records",
        *source,
        *fresh,
        "--size",
        "128x96",
    )
    refused(capsys, "must not exceed the number of training images", *source, *fresh)
    refused(capsys, "has no manifest", "--records", tmp_path, *fresh)
    assert not (tmp_path / "fresh").exists()


@pytest.mark.parametrize(("size", "warned"), [("64x32", True), ("32x32", False)])
def test_a_size_given_as_width_and_height_is_warned_of(
    size, warned, records, tmp_path, capsys
):
    flags = ("--records", records, "--run", tmp_path / "fresh", "--size", size)
    assert main.main(["train", *map(str, flags)]) == 2
    shown = capsys.readouterr().err
    assert "must not exceed the number of training images" in shown
    warning = f"train: warning: --size should be height x width. Received: {size}"
    assert (warning in shown) == warned


def test_a_damaged_shard_ends_training_with_its_name(records, tmp_path, capsys):
    copy = Path(shutil.copytree(records, tmp_path / "copy"))
    (shard,) = copy.glob("train-*")
    contents = bytearray(shard.read_bytes())
    contents[len(contents) // 2] ^= 1
    shard.write_bytes(contents)
    flags = ("--run", tmp_path / "run", "--batch-size", 4, "--cache", "memory")
    message = "train-00000-of-00001.tfrecord is damaged"
    refused(capsys, message, "--records", copy, *flags)


def test_an_unknown_augmentation_layer_is_rejected_before_the_run_exists(
    records, tmp_path, capsys
):
    flags = ("--run", tmp_path / "run", "--batch-size", 4)
    flags += ("--augmentation", '[{"name": "MixUp"}]')
    refused(capsys, "'MixUp'", "--records", records, *flags)
    assert not (tmp_path / "run").exists()


STEERED = ("--epochs", 4, "--batch-size", 2, "--precision", "float32")
STEERED += ("--deterministic", "--checkpoint-every", 3)


def start(*flags):
    return forked.Command("train", *flags, build=small.build)


def arrays(folder):
    progress, values = checkpoints.load(folder)
    for row in progress.history:
        del row["images_per_second"]
    return values, progress.history


def test_a_run_killed_three_times_ends_as_one_that_was_not(records, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    undisturbed = start("--records", records, "--run", whole, *STEERED)
    moments = [random.uniform(0, 1.5) for _ in range(3)]
    for moment in moments:
        before = checkpoints.paths(killed)
        training = start("--records", records, "--run", killed, *STEERED)
        training.wait_for(lambda before=before: checkpoints.paths(killed) != before)
        time.sleep(moment)
        training.kill()
    assert "Resuming after" in start("--run", killed).ended(0)
    undisturbed.ended(0)
    (values, history), (expected, of_whole) = arrays(killed), arrays(whole)
    assert history == of_whole, moments
    assert len(history) == 4
    assert all(map(np.array_equal, values, expected)), moments
    best, best_of_whole = small.build((64, 96)), small.build((64, 96))
    best.load_weights(killed / "best.weights.h5")
    best_of_whole.load_weights(whole / "best.weights.h5")
    pairs = zip(best.get_weights(), best_of_whole.get_weights(), strict=True)
    assert all(np.array_equal(*pair) for pair in pairs), moments


def test_an_interrupt_saves_and_says_how_to_go_on(records, tmp_path):
    training = start("--records", records, "--run", tmp_path, *STEERED, "--epochs", 999)
    training.wait_for(lambda: checkpoints.paths(tmp_path))
    training.interrupt()
    shown = training.ended(130)
    assert (
        f"To resume: bin/train --run {tmp_path}\ntrain: interrupted. Run the same "
        "command again to resume.\n" in shown
    )
    progress, _ = checkpoints.load(tmp_path)
    assert f"Stopped after {progress.epoch} epoch" in shown


@pytest.fixture
def small_run(records, tmp_path, monkeypatch, few_pictures):
    """Trains a small network in a folder."""
    monkeypatch.setattr(unet, "build", small.build)

    def trained(*flags, code=0):
        source = ("--records", records, "--run", tmp_path / "run", "--batch-size", 4)
        flags = (*source, "--precision", "float32", *flags)
        assert main.main(["train", *map(str, flags)]) == code
        return tmp_path / "run"

    return trained


def test_a_full_disk_stops_a_training_that_goes_on_when_there_is_room(
    small_run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(files, "_free", lambda path: 0)
    small_run("--epochs", 2, code=2)
    shown = capsys.readouterr().err
    assert shown.startswith("train: error: Weights and checkpoints need")
    assert not (tmp_path / "run" / run_folder.WEIGHTS).exists()

    def free(path):
        return 0 if len(checkpoints.paths(tmp_path / "run")) > 1 else 10**9

    monkeypatch.setattr(files, "_free", free)
    folder = small_run("--epochs", 2, code=2)
    assert "MB free. Free some space" in capsys.readouterr().err
    progress, _ = checkpoints.load(folder)
    assert (progress.epoch, progress.step) == (1, 0)
    monkeypatch.undo()
    monkeypatch.setattr(unet, "build", small.build)
    small_run("--epochs", 2)
    assert "Resuming after 1 epoch." in capsys.readouterr().out


def test_a_training_killed_after_its_first_weights_resumes(small_run, monkeypatch):
    class KilledError(Exception):
        pass

    def killed(*arguments):
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(loggers.KeepHistory, "on_epoch_end", killed)
        with pytest.raises(KilledError):
            small_run("--epochs", 2)
    folder = small_run("--epochs", 2)
    assert pd.read_csv(folder / "history.csv")["epoch"].tolist() == [0, 1]


def test_a_training_without_weights_or_an_intact_checkpoint_starts_over(
    small_run, monkeypatch, capsys
):
    monkeypatch.setattr(run_folder, "save_weights", lambda *_: None)
    folder = small_run("--epochs", 1)
    for path in checkpoints.paths(folder):
        path.write_bytes(b"")
    monkeypatch.undo()
    monkeypatch.setattr(unet, "build", small.build)
    small_run("--epochs", 1)
    assert capsys.readouterr().out.count("Skipping the damaged checkpoint") == 2
    assert (folder / run_folder.WEIGHTS).exists()


def test_a_finished_run_is_left_alone_and_can_be_extended(
    small_run, capsys, monkeypatch
):
    # Of a shell that serves; trained so, kernels would be those of the first step.
    monkeypatch.setenv("TF_ONEDNN_ASSUME_FROZEN_WEIGHTS", "1")
    folder = small_run("--epochs", 1)
    assert "TF_ONEDNN_ASSUME_FROZEN_WEIGHTS" not in os.environ
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    capsys.readouterr()
    small_run()
    assert "Already finished, after 1 epoch." in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {path for path in before if before[path] != after[path]} <= {
        folder / "run.json"
    }
    small_run("--epochs", 2)
    history = pd.read_csv(folder / "history.csv")
    assert history["epoch"].tolist() == [0, 1]
    assert json.loads((folder / "run.json").read_text())["config"]["epochs"] == 2


def test_a_run_that_stopped_early_is_finished(small_run, capsys):
    flags = ("--learning-rate", 1e-9, "--min-learning-rate", 0, "--stop-patience", 1)
    flags += ("--batch-norm-momentum", 0.5)
    folder = small_run(*flags, "--epochs", 30)
    progress, _ = checkpoints.load(folder)
    assert progress.stopped
    assert progress.epoch < 30
    capsys.readouterr()
    small_run(*flags, "--epochs", 40)
    shown = capsys.readouterr().out
    assert f"after {progress.epoch} epochs, early, since val_loss" in shown
    assert "More --epochs change nothing" in shown


def test_a_loss_that_is_not_finite_ends_with_step_names_and_checkpoint(
    small_run, records, capsys
):
    small_run("--learning-rate", 1e30, "--checkpoint-every", 1, code=2)
    shown = capsys.readouterr().err
    read = manifest.read(str(records))
    for step in range(4):
        names = pipeline.train_names(str(records), read, 4, step)
        place = f"at step {step + 1} of epoch 1 (images {', '.join(names)})."
        if place in shown:
            break
    else:
        pytest.fail(shown)
    assert "became nan" in shown or "became inf" in shown
    folder = Path(shown.partition("checkpoint is ")[2].partition(". ")[0])
    progress, values = checkpoints.load(folder.parents[1])
    assert progress.step == step
    assert all(np.isfinite(value).all() for value in values)


def test_mixed_precision_goes_on_too(small_run):
    flags = ("--precision", "mixed_float16", "--checkpoint-every", 1)
    folder = small_run(*flags, "--epochs", 1)
    small_run(*flags, "--epochs", 2)
    _, values = checkpoints.load(folder)
    assert all(np.isfinite(value).all() for value in values)


def test_a_training_that_goes_on_tells_what_becomes_of_the_tuned_rule(
    small_run, capsys
):
    folder = small_run("--epochs", 1)
    assert "tuned" not in capsys.readouterr().out
    (folder / run_folder.RULE).write_text("{}")
    small_run("--epochs", 2)
    assert "better weights remove it" in capsys.readouterr().out


def test_another_loss_is_taken_by_its_name(small_run, capsys):
    folder = small_run("--loss", "bce", "--epochs", 1)
    assert resolve.of_run(folder).loss == "bce"
    assert main.main(["train", "--run", str(folder), "--loss", "focal"]) == 2
    assert "bce_dice" in capsys.readouterr().err


def test_a_step_that_does_not_fit_into_memory_says_how_to_shrink(
    small_run, monkeypatch, capsys
):
    def fit(*arguments, **options):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")

    monkeypatch.setattr(trainer_module.Trainer, "fit", fit)
    small_run("--epochs", 1, code=2)
    assert "Give a smaller --batch-size" in capsys.readouterr().err


def test_validation_images_without_a_mask_are_no_trouble(sample, tmp_path, monkeypatch):
    monkeypatch.setattr(unet, "build", small.build)
    csv = tmp_path / "train.csv"
    rows = (sample / "train.csv").read_text().splitlines()
    empty = [row.split(",")[0] + "," for row in rows[1:]]
    csv.write_text("\n".join([rows[0], *empty]) + "\n")
    records = str(tmp_path / "records")
    source = ["--csv", str(csv), "--images", str(sample / "train_images")]
    size = ["--size", "64x96", "--workers", "1"]
    assert main.main(["make_tfrecords", *source, "--out", records, *size]) == 0
    of_run = ["--records", records, "--run", str(tmp_path / "run")]
    assert main.main(["train", *of_run, "--epochs", "1", "--batch-size", "4"]) == 0
    assert main.main(["evaluate", *of_run]) == 0


def test_a_second_training_in_the_same_folder_is_refused(small_run, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    with files.sole_writer(str(tmp_path / "run"), "--run"):
        small_run("--epochs", 1, code=2)
    assert "--run: another process is writing" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_moving_average_goes_on_within_an_epoch(small_run, monkeypatch):
    flags = ("--epochs", 3, "--ema-momentum", 0.9, "--checkpoint-every", 1)
    whole, _ = arrays(small_run(*flags))
    before = callbacks.Checkpoints.on_train_batch_begin

    def interrupt(self, batch, logs=None):
        if self.progress.epoch == 1 and batch == 2:
            self.stop_requested.set()
        before(self, batch, logs)

    monkeypatch.setattr(callbacks.Checkpoints, "on_train_batch_begin", interrupt)
    small_run(*flags, "--overwrite", code=130)
    monkeypatch.undo()
    monkeypatch.setattr(unet, "build", small.build)
    resumed, _ = arrays(small_run(*flags))
    for one, other in zip(whole, resumed, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_a_run_is_tuned_at_its_end_if_asked_for_once_for_its_weights(
    records, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(unet, "build", small.build_smooth)
    of_run = ["train", "--run", str(tmp_path), "--tune"]
    options = ["--records", str(records), "--epochs", "1", "--batch-size", "4"]
    assert main.main([*of_run, *options, "--precision", "float32"]) == 0
    tuned_on = run_folder.rule_facts(str(tmp_path))["tuned_on"]
    assert tuned_on["images"] == 4 and tuned_on["runs"] == [str(tmp_path)]
    assert {"tuning.json", "tuning.png"} <= {path.name for path in tmp_path.iterdir()}
    shown = capsys.readouterr().out
    assert shown.index("Best weights") < shown.index("Tuned on 4 images of the val")
    assert main.main(of_run) == 0
    shown = capsys.readouterr().out
    assert "Already finished" in shown and "Tuned on" not in shown
    run_folder.save_rule(str(tmp_path), Rule(), {})
    assert main.main([*of_run, *options[:2], "--overwrite", *options[2:]]) == 0
    assert run_folder.rule_facts(str(tmp_path))["tuned_on"]["images"] == 4


def test_a_run_stores_its_bands_and_their_statistics(band_run, band_records):
    stored = run_folder.settings(str(band_run))
    assert stored.bands == Bands(("vis", "ir"), "uint16")
    measured = statistics.measure(str(band_records), manifest.read(str(band_records)))
    assert (stored.band_means, stored.band_deviations) == measured
    config = json.loads((band_run / "run.json").read_text())["config"]
    assert config["band_means"] == list(measured[0])
    panel = cv2.imread(str(band_run / "validation.png"))
    # vis, green and blue, does not look like ir, red.
    assert panel[..., 0].std() > 0 and (panel[..., 0] != panel[..., 2]).mean() > 0.1


def test_a_run_of_bands_resumes_with_its_own_statistics(
    band_run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(unet, "build", small.build)
    monkeypatch.setattr("clouds.training.train.measure", None)
    copy = shutil.copytree(band_run, tmp_path / "run")
    assert main.main(["train", "--run", str(copy), "--epochs", "3"]) == 0
    assert "Resuming after 2 epochs." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("bands", "options", "message"),
    [
        ("float32", {}, "unit needs images of 8 or 16 bits.* 2 bands of float32"),
        ("uint16", {"preprocess": "raw"}, "cannot be combined with mixed_float16"),
        ("uint16", {"show_bands": ("vis", "ir")}, "one or three of vis, ir. Rec"),
        ("uint16", {"show_bands": ("nir",)}, "one or three of vis, ir. Received: nir"),
    ],
)
def test_settings_that_do_not_suit_the_bands_are_refused(bands, options, message):
    settings = Training(records="r", run="x", **options)
    with pytest.raises(InputError, match=message):
        train_module._check_bands(
            settings, Bands(("vis", "ir"), bands), "mixed_float16"
        )


def test_layers_of_colours_do_not_start_on_other_bands(band_records, tmp_path, capsys):
    flags = ["--records", band_records, "--run", tmp_path / "x", "--batch-size", 4]
    flags += ["--augmentation", '[{"name": "RandomHue", "factor": 0.1}]']
    refused(capsys, "RandomHue needs 8-bit RGB. Received: images of 2", *flags)
