import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import small

from clouds import losses
from clouds.cli import main
from clouds.config.training import Training
from clouds.data import manifest, pipeline
from clouds.data.images import preprocessing
from clouds.errors import InputError
from clouds.models import unet
from clouds.runs import checkpoints, network, run_folder
from clouds.training import optimizers, train

OPTIONS = {"records": "records", "run": "run", "learning_rate": 0.01}


def moved(optimizer, gradients, names=("kernel",)):
    """The variables, of ones, after each of the gradients."""
    variables = [keras.Variable(np.ones(3, np.float32), name=name) for name in names]
    optimizer.build(variables)
    after = []
    for gradient in gradients:
        gradient = np.full(3, gradient, np.float32)
        optimizer.apply([keras.ops.convert_to_tensor(gradient)] * len(names))
        after.append([variable.numpy().copy() for variable in variables])
    return after


def build(steps=10, **options):
    return optimizers.build(Training(**OPTIONS, **options), steps)


def test_weight_decay_is_that_of_adamw_but_for_biases_and_normalization():
    ((kernel, beta),) = moved(build(weight_decay=0.1), [2.0], ("kernel", "beta"))
    adamw = keras.optimizers.AdamW(0.01, weight_decay=0.1)
    np.testing.assert_allclose(kernel, moved(adamw, [2.0])[0][0], rtol=1e-6)
    adam = keras.optimizers.Adam(0.01)
    np.testing.assert_allclose(beta, moved(adam, [2.0])[0][0], rtol=1e-6)
    assert kernel[0] < beta[0]


def test_gradients_are_clipped_to_their_common_norm():
    optimizer = build(clip_norm=0.5)
    moved(optimizer, [100.0], ("a", "b"))
    momenta = np.concatenate([m.numpy() for m in optimizer._momentums])
    assert np.linalg.norm(momenta) == pytest.approx(0.1 * 0.5, rel=1e-5)


def test_accumulated_gradients_make_one_update_of_their_mean():
    first, second = moved(build(accumulate=2), [1.0, 5.0])
    assert (first[0] == 1).all()
    np.testing.assert_allclose(second[0], moved(build(), [3.0])[0][0], rtol=1e-6)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_the_cosine_rises_in_the_warm_up_and_ends_at_the_minimum(accumulate):
    schedule = {"schedule": "cosine", "warmup_epochs": 2, "min_learning_rate": 1e-4}
    optimizer = build(epochs=10, accumulate=accumulate, **schedule)
    variable = keras.Variable(np.ones(3, np.float32))
    optimizer.build([variable])
    rates = [float(optimizer.learning_rate)]
    for _ in range(10 * 10):
        optimizer.apply([keras.ops.ones(3)])
        rates.append(float(optimizer.learning_rate))
    halfway = (0.01 + 1e-4) / 2
    wanted = [0, 0.005, 0.01, halfway, 1e-4]
    np.testing.assert_allclose(np.take(rates, [0, 10, 20, 60, 100]), wanted, atol=1e-7)


def test_one_cycle_rises_to_its_peak_and_falls_almost_to_0():
    schedule = optimizers.OneCycle(0.01, 1001)
    rates = [float(schedule(step)) for step in (0, 16.5, 33, 516.5, 1000, 2000)]
    last = 0.01 / 25e4
    wanted = [0.0004, 0.0052, 0.01, (0.01 + last) / 2, last, last]
    np.testing.assert_allclose(rates, wanted, rtol=1e-4, atol=1e-9)
    again = optimizers.OneCycle.from_config(schedule.get_config())
    assert float(again(33)) == float(schedule(33))


def test_the_rate_of_the_encoder_is_multiplied_by_its_factor():
    layers = [keras.layers.Dense(1, name=n) for n in ("conv0", "decoder_stage0a")]
    for layer in layers:
        layer.build((None, 3))
    variables = [layer.kernel for layer in layers]
    before = [variable.numpy() for variable in variables]
    optimizer = build(encoder_learning_rate_factor=0.1)
    optimizer.build(variables)
    optimizer.apply([keras.ops.ones((3, 1))] * 2)
    steps = [old - v.numpy() for old, v in zip(before, variables, strict=True)]
    np.testing.assert_allclose(steps[1], 0.01, rtol=1e-3)
    np.testing.assert_allclose(steps[0], 0.001, rtol=1e-3)


def test_a_warm_up_without_the_cosine_is_refused():
    with pytest.raises(InputError, match="--warmup-epochs must be used with"):
        build(warmup_epochs=1)


def test_freezing_on_jax_is_rejected(records, monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    settings = Training(records=str(records), run="run", freeze_epochs=1)
    with pytest.raises(InputError, match="--freeze-epochs must be 0 on JAX"):
        train._resolve(settings, manifest.read(str(records)))


@pytest.mark.parametrize("more", [[], ["--epochs", "2", "--freeze-epochs", "1"]])
def test_the_moving_average_of_the_weights_is_validated_and_kept(
    records, tmp_path, monkeypatch, more
):
    monkeypatch.setattr(unet, "build", small.build)
    of_run = ["--records", str(records), "--run", str(tmp_path)]
    flags = ["--epochs", "1", "--batch-size", "4", "--precision", "float32"]
    flags += ["--learning-rate", "0.1", "--ema-momentum", "0.9"]
    assert main.main(["train", *of_run, *flags, *more]) == 0
    folder = str(records)
    ((images, masks),) = pipeline.val_batches(folder, manifest.read(folder), 4)
    facts = json.loads((tmp_path / run_folder.FACTS).read_text())
    kept = network.load_one(str(tmp_path))
    logits = kept.get_layer("unet_resnet34")(
        preprocessing.prepare(images), training=False
    )
    loss = float(losses.bce_dice(masks, logits))
    assert loss == pytest.approx(facts["best"]["val_loss"], rel=1e-4)
    _, arrays = checkpoints.load(tmp_path)
    last = next(array for array in arrays if array.shape == (3, 3, 3, 4))
    kernel = kept.get_layer("unet_resnet34").get_layer("first").kernel
    assert np.abs(kernel - last).max() > 0.01


def test_fused_adam_updates_variables_like_keras():
    start = np.random.default_rng(0).normal(size=(5, 7)).astype("float32")
    options = {"learning_rate": 0.01, "weight_decay": 0.1, "clipnorm": 1.0}
    moved = []
    for optimizer in (optimizers.Adam(**options), keras.optimizers.Adam(**options)):
        variables = [keras.Variable(start), keras.Variable(start[0])]
        optimizer.build(variables)
        apply = tf.function(optimizer.apply)
        for step in range(5):
            gradients = [np.float32(step - 2) * start, start[1]]
            apply([tf.constant(gradient) for gradient in gradients])
        moved.append([variable.numpy() for variable in variables])
    assert np.abs(moved[0][0] - start).max() > 0.01
    for one, other in zip(*moved, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
