"""An export of `bin/export`'s signatures without a network: colours are its labels.

python tests/tiny_export.py DIR writes DIR/1/.
"""

import sys
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from clouds import pixels, postprocess, schema
from clouds.rules import Rule

SIZE = 64, 96
RULE = Rule(min_sizes=(100,) * 4, gap=False)


class Tiny(tf.Module):
    """Fish is what is red, Flower green, Gravel blue, and Sugar grey, by its mean."""

    def probabilities(self, images):
        colours = tf.cast(images, tf.float32) / 255
        grey = tf.reduce_mean(colours, -1, keepdims=True)
        return tf.concat([colours, grey], -1)

    def answer(self, images):
        found = self.probabilities(images)
        _, masks = postprocess.draw(found, RULE, images, schema.SUBMISSION_SIZE)
        return {
            "rle": postprocess.to_rle(masks),
            "score": tf.reduce_max(found, (1, 2)),
            "area": tf.reduce_sum(tf.cast(masks, tf.int32), (1, 2)),
            "label": tf.tile([schema.LABELS], [tf.shape(masks)[0], 1]),
        }

    def masks_png(self, images):
        found = self.probabilities(images)
        _, masks = postprocess.draw(found, RULE, images, schema.SUBMISSION_SIZE)
        planes = tf.transpose(tf.cast(masks, tf.uint8) * 255, [0, 3, 1, 2])[..., None]
        return {"mask_bytes": tf.io.encode_png(planes)}


def decode(image_bytes):
    spec = tf.TensorSpec([*SIZE, 3], tf.uint8)
    return tf.map_fn(
        lambda contents: pixels.decode(contents, SIZE)[0],
        image_bytes,
        fn_output_signature=spec,
    )


def resize(images):
    return tf.map_fn(lambda image: pixels.resize(image, SIZE), images)


def write(folder: Path, version: int = 1) -> None:
    """Writes it as a version of a model."""
    tiny = Tiny()
    contents = tf.TensorSpec([None], tf.string, name="image_bytes")
    any_size = tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")
    functions = {
        "serving_default": (
            lambda image_bytes: tiny.answer(decode(image_bytes)),
            contents,
        ),
        "images_uint8": (lambda images: tiny.answer(resize(images)), any_size),
        "masks_png": (
            lambda image_bytes: tiny.masks_png(decode(image_bytes)),
            contents,
        ),
        "probabilities": (
            lambda image_bytes: {
                "probabilities": tiny.probabilities(decode(image_bytes))
            },
            contents,
        ),
    }
    signatures = {
        name: tf.function(function, input_signature=[spec]).get_concrete_function()
        for name, (function, spec) in functions.items()
    }
    tf.saved_model.save(tiny, str(folder / str(version)), signatures=signatures)


def picture(height=140, width=210) -> np.ndarray:
    """uint8[H, W, 3] in RGB: a red disc and a green bar on dark blue."""
    image = np.full((height, width, 3), (10, 20, 60), np.uint8)
    cv2.circle(image, (width // 4, height // 2), height // 4, (230, 30, 20), -1)
    cv2.rectangle(image, (width // 2, 10), (width - 10, height // 3), (20, 220, 40), -1)
    return image


def encoded(ending=".jpg", image=None) -> bytes:
    """The picture, or another in RGB, as a file."""
    image = picture() if image is None else image
    return cv2.imencode(ending, image[..., ::-1])[1].tobytes()


if __name__ == "__main__":
    write(Path(sys.argv[1]))
