"""One side of a duel: a process that times the network, one round a line of input.

`duel` starts it, once in this project's environment and once in that
of segmentation-models (TensorFlow 2.15, Keras 2), which this file must also suit.
It prints a JSON line when it is ready and one a round.
"""

import argparse
import json
import os
import resource
import sys
import time

from lib import peers

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def ours(mode, size, batch, precision):
    """The function that makes a step of `clouds`."""
    import keras

    from clouds import losses, metrics
    from clouds.models import unet

    keras.utils.set_random_seed(0)
    network = unet.build(size, dtype=precision)
    if mode == "infer":
        probabilities = keras.layers.Activation("sigmoid", dtype="float32")
        model = keras.Model(network.inputs, probabilities(network.outputs[0]))
        return predicting(model, size, batch)
    from clouds.training import augment, optimizers
    from clouds.training import trainer as trainer_module

    still = dict.fromkeys(
        ("horizontal_flip", "vertical_flip", "grid_distortion", "elastic"), 0
    )
    model = trainer_module.Trainer(
        network, augment.build(**still), ("unit",), dtype=precision
    )
    model.compile(
        optimizers.Adam(3e-4),
        loss=losses.bce_dice,
        metrics=metrics.of_logits(),
        jit_compile=False,
    )
    images, masks = batch_of(size, batch)
    return training(model, ((images, masks), masks))


def theirs(mode, size, batch, precision):
    """The function that makes a step of the notebook's network."""
    os.environ["SM_FRAMEWORK"] = "tf.keras"
    import segmentation_models
    import tensorflow as tf

    if precision != "float32":
        tf.keras.mixed_precision.set_global_policy(precision)
    tf.keras.utils.set_random_seed(0)
    model = segmentation_models.Unet(
        "resnet34",
        input_shape=(*size, 3),
        classes=4,
        activation="sigmoid",
        encoder_weights=None,
    )
    if mode == "infer":
        return predicting(model, size, batch)

    def dice_coef(truth, predicted, smooth=1.0):
        truth, predicted = tf.reshape(truth, [-1]), tf.reshape(predicted, [-1])
        truth = tf.cast(truth, tf.float32)
        overlap = tf.reduce_sum(truth * predicted)
        total = tf.reduce_sum(truth) + tf.reduce_sum(predicted)
        return (2 * overlap + smooth) / (total + smooth)

    def bce_dice_loss(truth, predicted):
        truth, predicted = tf.cast(truth, tf.float32), tf.cast(predicted, tf.float32)
        entropy = tf.keras.losses.binary_crossentropy(truth, predicted)
        return entropy + 1 - dice_coef(truth, predicted)

    model.compile(tf.keras.optimizers.Adam(3e-4), bce_dice_loss, [dice_coef])
    images, masks = batch_of(size, batch)
    return training(model, (tf.cast(images, tf.float32) / 255, masks))


def batch_of(size, batch):
    """The same images uint8[B, H, W, 3] and masks uint8[B, H, W, 4] on both sides."""
    import numpy as np
    import tensorflow as tf

    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (batch, *size, 3), np.uint8)
    masks = (generator.random((batch, *size, 4)) < 0.3).astype(np.uint8)
    return tf.constant(images), tf.constant(masks)


def training(model, batch):
    """A training step as `fit` makes it, on one batch again and again."""
    import tensorflow as tf

    batches = iter(tf.data.Dataset.from_tensors(batch).repeat())
    made = model.make_train_function()
    step = made or model.train_function

    def run():
        logs = step(batches)
        return float(tf.convert_to_tensor(logs["loss"]))

    return run


def predicting(model, size, batch):
    """A step of prediction, to probabilities."""
    import tensorflow as tf

    images = tf.cast(batch_of(size, batch)[0], tf.float32) / 255
    predict = tf.function(lambda: model(images, training=False))
    return lambda: float(tf.reduce_mean(predict()))


def peak_memory():
    """Of this process, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def matmul_rate(dtype):
    """Multiply-adds a second of a matrix product, 4096 x 4096: the device's limit."""
    import tensorflow as tf

    matrix = tf.ones((4096, 4096), dtype)
    best = float("inf")
    for _ in range(4):
        start = time.perf_counter()
        tf.linalg.matmul(matrix, matrix)[0, 0].numpy()
        best = min(best, time.perf_counter() - start)
    return 4096**3 / best


def main():
    """Answers each line of input with the seconds of one round."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("side", choices=["ours", "theirs"])
    parser.add_argument("mode", choices=["train", "infer"])
    peers.add_size_flag(parser)
    parser.add_argument("--batch", type=int)
    parser.add_argument("--precision")
    parser.add_argument("--steps", type=int)
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    side = {"ours": ours, "theirs": theirs}[options.side]
    step = side(options.mode, options.size, options.batch, options.precision)
    for _ in range(2):
        step()
    print(json.dumps({"memory": peak_memory()}), file=answers)
    for line in sys.stdin:
        if line.strip() == "limit":
            dtype = "float32" if options.precision == "float32" else "bfloat16"
            print(json.dumps({"limit": matmul_rate(dtype)}), file=answers)
            continue
        start, used = time.perf_counter(), time.process_time()
        for _ in range(options.steps):
            step()
        answer = {
            "seconds": (time.perf_counter() - start) / options.steps,
            "processor": (time.process_time() - used) / options.steps,
            "memory": peak_memory(),
        }
        print(json.dumps(answer), file=answers)


if __name__ == "__main__":
    main()
