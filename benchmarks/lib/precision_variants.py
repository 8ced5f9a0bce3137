"""Writes what `precision.py` measures: precision_variants.py RUN RECORDS SIZE OUT.

OUT/NAME is a SavedModel of each variant, from uint8 images to one pixel's
probabilities, so that no time goes into copying; OUT/dice.json the Dice of each.
"""

import json
import sys
from pathlib import Path

from clouds.runtime import startup

startup.load("tensorflow")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from tqdm import tqdm  # noqa: E402

from clouds.config.rule import Rule  # noqa: E402
from clouds.data import manifest, pipeline
from clouds.data.images import preprocessing
from clouds.evaluation import scores
from clouds.export.signatures import cast_kernels_once
from clouds.models import layers, unet
from clouds.postprocess import apply
from clouds.runs import run_folder


class Shift(keras.layers.Layer):
    """Adds a number to each channel."""

    def __init__(self, shift, **options):
        super().__init__(**options)
        self._shift = tf.Variable(shift, trainable=False)

    def call(self, features, training=None, mask=None):
        """Adds them to float [B, H, W, C]."""
        return tf.nn.bias_add(features, tf.cast(self._shift, features.dtype))


def load(folder, size, precision, *, fold=False):
    """A run's network at a size, from uint8[B, H, W, 3] to probabilities."""
    network = unet.build(size, dtype=precision)
    network.load_weights(run_folder.weights(folder))
    if fold:
        network = folded(network)
    images = keras.Input((*size, 3), dtype="uint8")
    logits = network(
        preprocessing.prepare(images, *run_folder.settings(folder).scaling)
    )
    found = keras.layers.Activation("sigmoid", dtype="float32")(logits)
    return keras.Model(images, found)


def folded(network):
    """Without the normalisations that follow a convolution, where that is exact."""
    after = {}
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            before = layer.input._keras_history.operation
            if hasattr(before, "kernel") and not getattr(before, "use_bias", False):
                scale = np.asarray(layer.gamma) / np.sqrt(
                    np.asarray(layer.moving_variance) + layer.epsilon
                )
                before.kernel.assign(before.kernel * scale)
                shift = np.asarray(layer.beta) - np.asarray(layer.moving_mean) * scale
                after[layer.name] = Shift(shift, name=layer.name)
    print(f"{len(after)} normalisations folded")
    kept = {layer.name: layer for layer in network.layers}
    return keras.models.clone_model(
        network, clone_function=lambda layer: {**kept, **after}[layer.name]
    )


def as_int8(kernel):
    """A function that gives a kernel kept as int8 with a scale a channel."""
    scale = np.abs(kernel).max(axis=(0, 1, 2), initial=1e-9) / 127
    whole = tf.Variable(np.round(kernel / scale).astype(np.int8), trainable=False)
    scale = tf.Variable(scale.astype(np.float32), trainable=False)

    def restore(dtype):
        return tf.cast(whole, dtype) * tf.cast(scale, dtype)

    return restore


def of_int8(network):
    """What a network computes with such kernels."""
    (inner,) = (layer for layer in network.layers if isinstance(layer, keras.Model))
    of_plain, of_split = [], []
    for layer in inner.layers:
        if isinstance(layer, layers.UpsampledConv2D):
            doubled, appended = map(np.asarray, layer._split(layer.kernel))
            # Of a transposed convolution the channels of the result come third.
            turned = as_int8(doubled.swapaxes(2, 3))
            of_split.append((layer, turned, as_int8(appended)))
        elif isinstance(layer, keras.layers.Conv2D):
            of_plain.append((layer, as_int8(np.asarray(layer.kernel))))

    def predict(images):
        for layer, turned, appended in of_split:
            dtype = layer.compute_dtype
            doubled = tf.transpose(turned(dtype), (0, 1, 3, 2))
            layer._fixed_kernels = doubled, appended(dtype)
        with keras.StatelessScope() as scope:
            for layer, restore in of_plain:
                scope.add_update((layer.kernel, restore(layer.compute_dtype)))
            return network(images, training=False)

    return predict


VARIANTS = {
    "float32": lambda *of: cast_kernels_once(load(*of, "float32")),
    "float32-folded": lambda *of: cast_kernels_once(load(*of, "float32", fold=True)),
    "mixed_bfloat16": lambda *of: cast_kernels_once(load(*of, "mixed_bfloat16")),
    "mixed_float16": lambda *of: cast_kernels_once(load(*of, "mixed_float16")),
    "int8-float32": lambda *of: of_int8(load(*of, "float32")),
    "int8-bfloat16": lambda *of: of_int8(load(*of, "mixed_bfloat16")),
}


def dice(predict, folder, records, size):
    """The mean of the labels' Dice on the validation images."""
    rule, known = run_folder.rule(folder) or Rule(), manifest.read(records)
    found = []

    @tf.function(reduce_retracing=True)
    def judge(images, truth):
        _, drawn = apply(
            predict(images),
            rule,
            images,
            known.truth_size,
            outputs=("raw_masks", "masks"),
        ).values()
        true, drawn = tf.cast(truth, tf.int32), tf.cast(drawn, tf.int32)
        return [tf.reduce_sum(each, (1, 2)) for each in (true, drawn, true * drawn)]

    batches = pipeline.evaluation_batches(records, known, "val", 16, size=size)
    for fields in tqdm(batches, "Dice", total=-(-known.examples("val") // 16)):
        areas = judge(fields["image"], fields["truth"])
        found.append(scores.dice(*(area.numpy() for area in areas)))
    return float(np.concatenate(found).mean())


def write(predict, size, path):
    """A SavedModel of the network alone."""
    archive = keras.export.ExportArchive()
    spec = tf.TensorSpec([None, *size, 3], tf.uint8, "images")
    archive.add_endpoint(
        "network",
        lambda images: {"pixel": predict(images)[:, 0, 0]},
        input_signature=[spec],
    )
    archive.write_out(str(path), verbose=False)


def main():
    """Writes all."""
    folder, records, size, out = sys.argv[1:]
    size = tuple(map(int, size.split("x")))
    own, found = run_folder.settings(folder).size, {}
    for name, build in VARIANTS.items():
        print(f"{name} …")
        found[name] = dice(build(folder, own), folder, records, own)
        write(build(folder, size), size, Path(out, name))
    Path(out, "dice.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
