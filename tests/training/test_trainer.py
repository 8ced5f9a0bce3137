from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import small

from clouds import losses, metrics
from clouds.config.training import Training
from clouds.data.images import preprocessing
from clouds.runs.checkpoints import Progress
from clouds.training import augment, optimizers
from clouds.training import trainer as trainer_module

OPTIONS = {"records": "records", "run": "run", "learning_rate": 0.01}
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (2, 32, 64, 3), np.uint8)
masks = (rng.random((2, 32, 64, 4)) < 0.5).astype(np.uint8)


def trainer(precision="float32", **geometry):
    model = trainer_module.Trainer(
        small.build((32, 64), dtype=precision),
        augment.build(seed=0, **geometry),
        ("unit",),
        dtype=precision,
    )
    model.compile(
        "adam",
        loss=losses.bce_dice,
        metrics=metrics.of_logits(),
        jit_compile=False,
    )
    return model


def test_the_loss_of_a_step_is_the_loss_of_the_logits():
    model = trainer()
    logits = model.network(preprocessing.prepare(images), training=False)
    expected = float(losses.bce_dice(masks, logits))
    found = model.evaluate((images, masks), masks, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(expected, rel=1e-4)
    drawn = metrics.mean_dice(masks, np.array(logits) > 0)
    assert found["mean_dice"] == pytest.approx(float(drawn), rel=1e-4)


def test_the_loss_compares_with_the_masks_that_moved_with_the_images():
    model = trainer(horizontal_flip=1, vertical_flip=0, grid_distortion=0, elastic=0)
    _, moved = model((images, masks), training=True)
    assert (np.array(moved) == masks[:, :, ::-1]).all()
    logits = model.network(preprocessing.prepare(images[:, :, ::-1]), training=True)
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


def test_the_momentum_reaches_every_batch_normalization():
    settings = Training(
        records="r",
        run="x",
        size=(32, 64),
        precision="float32",
        batch_norm_momentum=0.5,
    )
    layers = trainer_module.build(settings).network.layers
    normal = [layer for layer in layers if hasattr(layer, "moving_mean")]
    assert {layer.momentum for layer in normal} == {0.5}
    assert len(normal) > 40


def test_a_layer_of_keras_is_added_by_its_name():
    options = {"records": "r", "run": "x", "size": (32, 64), "precision": "float32"}
    added = '[{"name": "RandomBrightness", "factor": [0.5, 0.5]}]'
    settings = Training(**options, augmentation=added)
    moved, _ = trainer_module.build(settings).augmentation(
        (images // 2, masks), training=True
    )
    assert np.array(moved).mean() > images.mean() / 2 + 30


@pytest.mark.parametrize(("preprocess", "factor"), [("unit", 1 / 255), ("raw", 1)])
def test_pixels_are_prepared_as_the_settings_say(preprocess, factor):
    options = {"records": "r", "run": "x", "size": (32, 64), "precision": "float32"}
    model = trainer_module.build(Training(**options, preprocess=preprocess))
    logits, _ = model((images, masks), training=False)
    expected = model.network(images.astype("float32") * factor, training=False)
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def small_trainer(settings):
    network = small.build((16, 16))
    trainer = trainer_module.Trainer(
        network, augment.build(grid_distortion=0, elastic=0), ("unit",)
    )
    trainer.compile(
        optimizers.build(settings, 1), losses.bce_dice, metrics=metrics.of_logits()
    )
    trainer.optimizer.build(trainer.trainable_variables)
    return trainer


def test_the_encoder_does_not_change_while_it_is_frozen():
    settings = Training(**OPTIONS, epochs=5, freeze_epochs=2)
    trainer = small_trainer(settings)
    session = trainer_module.Session(
        trainer, settings, None, 1, Progress(), None, Path("run")
    )
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (2, 16, 16, 3), np.uint8)
    masks = generator.integers(0, 2, (2, 16, 16, 4), np.uint8)

    def changed(epoch):
        session.progress.epoch = epoch
        until = session._freeze_encoder()
        before = {v.path: v.numpy().copy() for v in trainer.network.variables}
        trainer.train_on_batch((images, masks), masks)
        after = {v.path: v.numpy() for v in trainer.network.variables}
        return until, {path for path in after if (after[path] != before[path]).any()}

    head = {"final_conv/kernel", "final_conv/bias"}
    assert changed(1) == (2, head)
    until, paths = changed(2)
    assert until == 5
    assert paths > head | {"first/kernel", "bn/moving_mean"}
