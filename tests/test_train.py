import json
import shutil
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd
import pytest

from clouds import augment, cli, config, losses, metrics, pixels, train, unet

rng = np.random.default_rng(0)
images = rng.integers(0, 256, (2, 32, 64, 3), np.uint8)
masks = (rng.random((2, 32, 64, 4)) < 0.5).astype(np.uint8)


def trainer(precision="float32", **geometry):
    model = train.Trainer(
        unet.build((32, 64), dtype=precision),
        augment.build(seed=0, **geometry),
        "unit",
        dtype=precision,
    )
    model.compile(
        "adam",
        loss=losses.bce_dice,
        metrics=metrics.of_logits(),
        jit_compile=False,
    )
    return model


def test_a_run_holds_what_is_promised(run):
    promised = {"config.json", "run.json", "best.weights.h5", "history.csv"}
    promised |= {"history.png", "summary.txt"}
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
    assert facts["versions"]["keras"] == keras.__version__
    assert facts["best"]["val_loss"] == pytest.approx(history["val_loss"].min())


def test_the_best_weights_are_those_of_the_best_epoch(run, records):
    from clouds import data, manifest
    from clouds import run as module

    facts = json.loads((run / "run.json").read_text())
    network = module.load(str(run))
    read = manifest.read(str(records))
    values = [
        float(metrics.dice_coef(masks, network.predict_on_batch(images)))
        for images, masks in data.val_batches(str(records), read, 4)
    ]
    assert np.mean(values) == pytest.approx(facts["best"]["val_dice_coef"], abs=1e-4)


def test_the_loss_of_a_step_is_the_loss_of_the_logits():
    model = trainer()
    logits = model.network(pixels.prepare(images), training=False)
    expected = float(losses.bce_dice(masks, logits))
    found = model.evaluate((images, masks), masks, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(expected, rel=1e-4)
    drawn = metrics.mean_dice(masks, np.array(logits) > 0)
    assert found["mean_dice"] == pytest.approx(float(drawn), rel=1e-4)


def test_the_loss_compares_with_the_masks_that_moved_with_the_images():
    model = trainer(horizontal_flip=1, vertical_flip=0, grid_distortion=0, elastic=0)
    _, moved = model((images, masks), training=True)
    assert (np.array(moved) == masks[:, :, ::-1]).all()
    logits = model.network(pixels.prepare(images[:, :, ::-1]), training=True)
    expected = float(losses.bce_dice(masks[:, :, ::-1], logits))
    found = model.train_on_batch((images, masks), masks, return_dict=True)
    assert found["loss"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_a_step_in_mixed_precision_changes_the_weights(precision):
    model = trainer(precision)
    before = model.network.get_layer("final_conv").kernel.numpy()
    losses_of_steps = [
        model.train_on_batch((images, masks), masks, return_dict=True)["loss"]
        for _ in range(3)
    ]
    assert np.isfinite(losses_of_steps).all()
    assert (model.network.get_layer("final_conv").kernel.numpy() != before).any()
    scales = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scales == (precision == "mixed_float16")


def refused(capsys, message, *flags):
    capsys.readouterr()
    assert cli.main(["train", *map(str, flags)]) == 2
    assert message in capsys.readouterr().err


def test_what_does_not_fit_the_records_is_refused(records, run, tmp_path, capsys):
    source = ("--records", records)
    refused(capsys, "holds a run", *source, "--run", run, "--batch-size", 4)
    fresh = ("--run", tmp_path / "fresh")
    refused(capsys, "must not exceed the records'", *source, *fresh, "--size", "128x96")
    refused(capsys, "must not exceed the training images", *source, *fresh)
    refused(capsys, "has none", "--records", tmp_path, *fresh)
    assert not (tmp_path / "fresh").exists()


def test_the_momentum_reaches_every_batch_normalisation():
    settings = config.Training(
        records="r",
        run="x",
        size=(32, 64),
        precision="float32",
        batch_norm_momentum=0.5,
    )
    layers = train.build(settings).network.layers
    normal = [layer for layer in layers if hasattr(layer, "moving_mean")]
    assert {layer.momentum for layer in normal} == {0.5}
    assert len(normal) > 40


def test_a_damaged_shard_ends_training_with_its_name(records, tmp_path, capsys):
    copy = Path(shutil.copytree(records, tmp_path / "copy"))
    (shard,) = copy.glob("train-*")
    contents = bytearray(shard.read_bytes())
    contents[len(contents) // 2] ^= 1
    shard.write_bytes(contents)
    flags = ("--run", tmp_path / "run", "--batch-size", 4, "--cache", "memory")
    message = "train-00000-of-00001.tfrecord is damaged"
    refused(capsys, message, "--records", copy, *flags)


def test_a_layer_of_keras_is_added_by_its_name(records, tmp_path, capsys):
    options = {"records": "r", "run": "x", "size": (32, 64), "precision": "float32"}
    added = '[{"name": "RandomBrightness", "factor": [0.5, 0.5]}]'
    settings = config.Training(**options, augmentation=added)
    moved, _ = train.build(settings).augmentation((images // 2, masks), training=True)
    assert np.array(moved).mean() > images.mean() / 2 + 30
    flags = ("--run", tmp_path / "run", "--batch-size", 4)
    flags += ("--augmentation", '[{"name": "MixUp"}]')
    refused(capsys, "'MixUp'", "--records", records, *flags)
    assert not (tmp_path / "run").exists()
