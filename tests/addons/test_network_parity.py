"""Network, pretrained weights and train step against segmentation-models."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from clouds import losses
from clouds.config.training import Training
from clouds.data.images import preprocessing
from clouds.models import pretrained, unet
from clouds.training import trainer as trainer_module


@pytest.fixture(scope="module")
def folder(oracle, tmp_path_factory):
    out = tmp_path_factory.mktemp("network")
    oracle("network_oracle.py", out)
    return out


@pytest.fixture(scope="module")
def peer(folder):
    with np.load(folder / "arrays.npz") as arrays:
        return dict(arrays)


@pytest.mark.parametrize("size", ["network", "square"])
def test_probabilities_are_those_of_segmentation_models(folder, peer, size):
    images = preprocessing.prepare(peer[f"{size}/images"])
    network = unet.build(images.shape[1:3], dtype="float32")
    pretrained.load(network, folder / "unet.h5")
    for mode, tolerance in (("infer", 1e-5), ("train", 1e-4)):
        logits = network(images, training=mode == "train")
        off = np.abs(np.array(keras.ops.sigmoid(logits)) - peer[f"{size}/{mode}"])
        print(f"{size} {mode}: at most {off.max():.1e}")
        assert off.max() < tolerance


def test_gradients_are_those_of_segmentation_models(folder, peer):
    images, masks = peer["steps/images"][0], peer["steps/masks"][0]
    # In float32 a gradient has three digits: rounding decides which units are off.
    network = unet.build(images.shape[1:3], dtype="float64")
    pretrained.load(network, folder / "unet.h5")
    variables = {v.path: v.value for v in network.trainable_variables}

    @tf.function
    def compute():
        with tf.GradientTape() as tape:
            logits = network(images.astype(np.float32) / 255, training=True)
            loss = losses.bce_dice(masks, logits)
        return loss, tape.gradient(loss, variables)

    loss, gradients = compute()
    assert float(loss) == pytest.approx(float(peer["gradients/loss"]), rel=1e-6)
    off = {}
    for path, gradient in gradients.items():
        expected = peer[f"gradients/{path}"]
        off[path] = np.linalg.norm(gradient - expected) / np.linalg.norm(expected)
    print(f"{len(off)} gradients: relatively at most {max(off.values()):.1e}")
    assert len(off) == 138
    assert max(off.values()) < 1e-4


def test_twenty_steps_of_adam_lose_what_the_notebooks_do(folder, peer):
    still = dict.fromkeys(
        ["horizontal_flip", "vertical_flip", "grid_distortion", "elastic"], 0
    )
    settings = Training(
        records="r",
        run="x",
        size=peer["steps/images"].shape[2:4],
        precision="float32",
        encoder_weights=str(folder / "unet.h5"),
        **still,
    )
    trainer = trainer_module.build(settings)
    found = [
        trainer.train_on_batch((images, masks), masks, return_dict=True)["loss"]
        for images, masks in zip(peer["steps/images"], peer["steps/masks"], strict=True)
    ]
    off = np.abs(np.array(found) / peer["steps/losses"] - 1)
    print(f"{len(off)} losses: relatively at most {off.max():.1e}")
    assert len(off) == 20
    assert off.max() < 1e-3
    moving = [v for v in trainer.network.variables if v.name == "moving_variance"]
    ratios = [np.array(v) / peer[f"variances/{v.path}"] for v in moving]
    # A channel's drifts with its weights; a variance of n - 1 or of n shows in all.
    off = [abs(np.median(ratio) - 1) for ratio in ratios]
    print(f"{len(off)} moving variances: their medians relatively {max(off):.1e}")
    assert len(off) == 45
    assert max(off) < 1e-3


def test_a_file_of_image_classifiers_fills_the_encoder_alone(folder):
    network, whole = unet.build((32, 64)), unet.build((32, 64))
    layers = [layer for layer in network.layers if layer.weights]
    before = {layer.name: layer.get_weights() for layer in layers}
    line = pretrained.load(network, folder / "encoder.h5")
    assert line.startswith("72 layers (176 arrays) from")
    assert line.endswith("; without a decoder")
    line = pretrained.load(whole, folder / "whole.h5")
    assert line == f"93 layers (228 arrays) from {folder / 'whole.h5'}"
    for layer in layers:
        source = whole.get_layer(layer.name).get_weights()
        if layer.name.startswith(("decoder_", "final_")):
            source = before[layer.name]
        for array, expected in zip(layer.get_weights(), source, strict=True):
            assert (array == expected).all()


def test_a_file_of_save_weights_reads_as_the_whole_models(folder):
    network, whole = (
        pretrained.read(folder / name) for name in ("unet.h5", "whole.h5")
    )
    assert network.keys() == whole.keys()
    for name, arrays in network.items():
        assert arrays.keys() == whole[name].keys()
        for key, array in arrays.items():
            assert (array == whole[name][key]).all()
