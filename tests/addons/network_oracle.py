"""Runs segmentation-models' U-Net: network_oracle.py OUT, a folder.

For the environment of segmentation-models 1.0.1 (Python 3.11, TensorFlow 2.15, with
SM_FRAMEWORK=tf.keras): test_network_parity.py runs it there, loads the weights that
it leaves in OUT, and compares the arrays of OUT/arrays.npz with `clouds`.
"""

import sys
from pathlib import Path

import numpy as np
import segmentation_models
import tensorflow as tf
from classification_models.tfkeras import Classifiers

SIZES = {"network": (320, 480), "square": (256, 256)}
STEPS, STEP_SIZE = 20, (128, 128)
LEARNING_RATE = 3e-4


def squares(generator, shape, side):
    """Draws 0..1 for each square of an image, as float[B, H, W, C]."""
    count, height, width, channels = shape
    grid = (count, -(-height // side), -(-width // side), channels)
    drawn = generator.random(grid).repeat(side, 1).repeat(side, 2)
    return drawn[:, :height, :width]


def examples(generator, count, size):
    """Draws images with structure at every scale, and masks, as uint8."""
    shape = (count, *size)
    images = sum(squares(generator, (*shape, 3), side) for side in (1, 4, 16, 64, 128))
    masks = squares(generator, (*shape, 4), 16) < 0.4
    return (images / 5 * 255).astype(np.uint8), masks.astype(np.uint8)


def unit(images):
    """Divides by 255, as the notebook does."""
    return images.astype(np.float32) / 255


def draw_weights(model, generator):
    """Draws what starts as a constant, the moving averages too.

    Rounding errors grow by a fifth in each layer where half of the units are off, in
    float32 to 5e-5 of a probability; so here one in fifteen is off.
    """
    normal = [layer for layer in model.layers if hasattr(layer, "moving_variance")]
    for layer in normal:
        if layer.scale:
            layer.gamma.assign(generator.uniform(0.8, 1.2, layer.gamma.shape))
        layer.beta.assign(generator.normal(1.5, 0.2, layer.beta.shape))
    head = model.get_layer("final_conv")
    head.kernel.assign(head.kernel / 4)
    head.bias.assign(generator.normal(0, 0.2, head.bias.shape))
    # Averages far from the true ones would saturate every probability.
    momentum = normal[0].momentum
    for layer in normal:
        layer.momentum = 0.0
    model(unit(examples(generator, 2, SIZES["square"])[0]), training=True)
    for layer in normal:
        layer.momentum = momentum
        shape = layer.moving_mean.shape
        layer.moving_mean.assign_add(generator.normal(0, 0.05, shape))
        factors = generator.uniform(0.8, 1.25, shape)
        layer.moving_variance.assign(layer.moving_variance * factors)


def build():
    """Builds the network; TensorFlow's global float type is its own."""
    return segmentation_models.Unet("resnet34", classes=4, encoder_weights=None)


def bce_dice(masks, probabilities):
    """The notebook's bce_dice_loss."""
    masks = tf.cast(masks, probabilities.dtype)
    flat = tf.reshape(masks, [-1]), tf.reshape(probabilities, [-1])
    intersection = tf.reduce_sum(flat[0] * flat[1])
    total = tf.reduce_sum(flat[0]) + tf.reduce_sum(flat[1])
    dice = (2.0 * intersection + 1.0) / (total + 1.0)
    entropy = tf.keras.losses.binary_crossentropy(masks, probabilities)
    return tf.reduce_mean(entropy) + 1.0 - dice


def gradients(weights, images, masks):
    """The loss in training mode, and its gradients by `layer/variable`, in float64."""
    tf.keras.backend.set_floatx("float64")
    model = build()
    model.set_weights(weights)

    @tf.function
    def compute():
        with tf.GradientTape() as tape:
            loss = bce_dice(masks, model(unit(images), training=True))
        return loss, tape.gradient(loss, model.trainable_variables)

    loss, found = compute()
    names = [variable.name.split(":")[0] for variable in model.trainable_variables]
    return {"loss": loss} | dict(zip(names, found, strict=True))


def outputs(model, images):
    """Probabilities in inference and in training mode; the weights stay."""
    before = model.get_weights()
    inferred = model(unit(images), training=False).numpy()
    trained = model(unit(images), training=True).numpy()
    model.set_weights(before)
    return {"infer": inferred, "train": trained}


def fit(model, images, masks):
    """The losses of one Adam step on each batch."""
    model.compile(tf.keras.optimizers.Adam(LEARNING_RATE), loss=bce_dice)
    return [
        model.train_on_batch(unit(images), masks)
        for images, masks in zip(images, masks, strict=True)
    ]


def save(model, out):
    """Writes the weights as each of the packages' users does."""
    model.save_weights(str(out / "unet.h5"))
    model.save(str(out / "whole.h5"), include_optimizer=False)
    shape = (*SIZES["square"], 3)
    encoder = Classifiers.get("resnet34")[0](shape, include_top=False, weights=None)
    for layer in encoder.layers:
        if layer.weights:
            layer.set_weights(model.get_layer(layer.name).get_weights())
    encoder.save_weights(str(out / "encoder.h5"))


def main(out):
    """Writes unet.h5, whole.h5, encoder.h5 and arrays.npz."""
    generator = np.random.default_rng(0)
    tf.keras.utils.set_random_seed(0)
    model = build()
    draw_weights(model, generator)
    save(model, out)
    arrays = {}
    for name, size in SIZES.items():
        images, _ = examples(generator, 2, size)
        arrays[f"{name}/images"] = images
        for mode, probabilities in outputs(model, images).items():
            arrays[f"{name}/{mode}"] = probabilities
    images, masks = examples(generator, 2 * STEPS, STEP_SIZE)
    images, masks = (a.reshape(STEPS, 2, *a.shape[1:]) for a in (images, masks))
    arrays |= {"steps/images": images, "steps/masks": masks}
    weights = model.get_weights()
    arrays["steps/losses"] = fit(model, images, masks)
    for layer in model.layers:
        if hasattr(layer, "moving_variance"):
            arrays[f"variances/{layer.name}/moving_variance"] = layer.moving_variance
    for name, gradient in gradients(weights, images[0], masks[0]).items():
        arrays[f"gradients/{name}"] = gradient
    np.savez(out / "arrays.npz", **arrays)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
