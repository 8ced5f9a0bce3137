"""An export with the signatures of `bin/export`, whose labels are colours.

python tests/helpers/tiny_export.py DIR writes DIR/1/.
"""

import dataclasses
import sys
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from clouds.config.rule import Rule
from clouds.export import export, signatures
from clouds.runs import run_folder
from clouds.runtime import checksums
from clouds.schema import RGB, Bands

SIZE = 64, 96
RULE = Rule(min_sizes=(100,) * 4, gap=False)


class Network:
    """Probabilities: Fish is red, Flower green, Gravel blue, Sugar their mean."""

    input_shape = (None, *SIZE, 3)
    layers = ()

    def __call__(self, images, training=False):
        colours = tf.cast(images, tf.float32) / 255
        grey = tf.reduce_mean(colours, -1, keepdims=True)
        return tf.concat([colours, grey], -1)


class BandNetwork(Network):
    """The same for the bands of images: Fish is the first, the others are 0."""

    def __call__(self, images, training=False):
        highest = images.dtype.max if images.dtype.is_integer else 1
        first = tf.cast(images[..., :1], tf.float32) / float(highest)
        return tf.concat([first, *[tf.zeros_like(first)] * 3], -1)


def write(
    folder: Path, version: int = 1, bands: Bands = RGB, rule: Rule | None = None
) -> None:
    """Writes a version of the model; a rule of its own is stored with it."""
    network = Network() if bands == RGB else BandNetwork()
    built = signatures.build(network, rule or RULE, bands=bands)
    functions = {
        name: tf.function(function, input_signature=[spec]).get_concrete_function()
        for name, (function, spec) in built.items()
    }
    path = folder / str(version)
    tf.saved_model.save(tf.Module(), str(path), signatures=functions)
    if rule or bands != RGB:
        (path / export.EXTRA).mkdir()
    if rule:
        fields = dataclasses.asdict(rule)
        checksums.write_json(path / export.EXTRA / run_folder.RULE, fields)
    if bands != RGB:
        checksums.write_json(path / export.EXTRA / export.BANDS, bands._asdict())


def picture(height=140, width=210) -> np.ndarray:
    """Returns uint8[H, W, 3] in RGB: a red disc and a green bar on dark blue."""
    image = np.full((height, width, 3), (10, 20, 60), np.uint8)
    cv2.circle(image, (width // 4, height // 2), height // 4, (230, 30, 20), -1)
    cv2.rectangle(image, (width // 2, 10), (width - 10, height // 3), (20, 220, 40), -1)
    return image


def encoded(ending=".jpg", image=None) -> bytes:
    """Encodes the picture, or another one in RGB, as a file."""
    image = picture() if image is None else image
    return cv2.imencode(ending, image[..., ::-1])[1].tobytes()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
