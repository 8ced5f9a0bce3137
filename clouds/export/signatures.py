"""What an exported model computes: the graphs from a request to its answer (TF).

Requests hold `image_bytes` string[B], JPEGs, PNGs or BMPs as they are on disk, or
`images` [B, H, W, 3], pixels of 0..255 in RGB, of any one size. Answers have the
batch's dimension first, as servers that batch requests of their own accord need it:

- `rle` string[B, C], the post-processed masks as the competition's text;
- `score` float32[B, C], how sure the label is in the image (`postprocess.presence`);
- `area` int32[B, C], the pixels of these masks;
- `label` string[B, C], the labels, the same for each image.

Masks and areas count on the submission's grid, 350x525. Pixels go the way they go in
training and in `bin/predict`, and masks are drawn by the same function.
"""

from collections.abc import Callable

import keras
import tensorflow as tf

from clouds import schema
from clouds.config.rule import Rule
from clouds.data import preprocessing
from clouds.models.layers import UpsampledConv2D
from clouds.postprocess import apply, functional

DEFAULT = "serving_default"

Signature = tuple[Callable, tf.TensorSpec]
"""A function of one tensor to a dict of tensors, and what it takes."""

_LABELS = len(schema.LABELS)


def build(
    network: keras.Model, rule: Rule, *, exact: bool = False
) -> dict[str, Signature]:
    """Builds the signatures of a network.

    Args:
      network: from uint8[B, h, w, 3] to probabilities float32[B, h, w, C].
      rule: by which its masks are drawn.
      exact: whether it was trained on images that were decoded exactly (see
        `pixels.decode`).

    Returns:
      By name: `serving_default` from `image_bytes`, `images` from float32 and
      `images_uint8` from uint8 to all that the module's docstring lists;
      `probabilities` from `image_bytes` to `probabilities` float32[B, h, w, C];
      `masks_png` from `image_bytes` to `mask_bytes` string[B, C], black and white
      PNGs. Bytes that cannot be decoded, and pixels out of range, raise
      `InvalidArgumentError` for the whole batch.
    """
    size, grid = network.input_shape[1:3], schema.SUBMISSION_SIZE
    predict = settled(network)

    def decode(contents):
        return preprocessing.decode(preprocessing.limited(contents), size, exact=exact)[
            0
        ]

    def resize(image):
        return preprocessing.resize(image, size, exact=exact)

    def answer(images):
        probabilities = predict(images)
        text, area = apply(probabilities, rule, images, grid, outputs=("rle", "areas")).values()
        # On the grid on which bin/evaluate tells how well scores are calibrated.
        resized = functional.resize(probabilities, grid)
        return {
            "rle": text,
            "score": functional.presence(resized),
            "area": area,
            "label": tf.tile([schema.LABELS], [tf.shape(text)[0], 1]),
        }

    def answer_bytes(image_bytes):
        return answer(_each(decode, image_bytes, size))

    def answer_floats(images):
        return answer(_each(resize, _as_pixels(images), size))

    def answer_pixels(images):
        return answer(_each(resize, images, size))

    def probabilities(image_bytes):
        return {"probabilities": predict(_each(decode, image_bytes, size))}

    def masks_png(image_bytes):
        images = _each(decode, image_bytes, size)
        _, masks = apply(predict(images), rule, images, grid, outputs=("raw_masks", "masks")).values()
        masks = tf.cast(masks, tf.uint8) * 255
        planes = tf.transpose(masks, [0, 3, 1, 2])[..., None]
        return {"mask_bytes": tf.io.encode_png(planes)}

    contents = tf.TensorSpec([None], tf.string, "image_bytes")
    shape = [None, None, None, 3]
    return {
        DEFAULT: (answer_bytes, contents),
        "probabilities": (probabilities, contents),
        "images": (answer_floats, tf.TensorSpec(shape, tf.float32, "images")),
        "images_uint8": (answer_pixels, tf.TensorSpec(shape, tf.uint8, "images")),
        "masks_png": (masks_png, contents),
    }


def settled(network: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """Makes of a network a function that does not cast its kernels for each batch.

    They are kept in what their layers compute with; bfloat16 takes half the space, too.

    Args:
      network: that is trained no more.

    Returns:
      What it computes.
    """
    kept = []
    for layer in _layers(network):
        if isinstance(layer, UpsampledConv2D):
            layer.fix_kernels()
        elif hasattr(layer, "kernel") and layer.compute_dtype != "float32":
            kernel = tf.cast(layer.kernel.value, layer.compute_dtype)
            kept.append((layer.kernel, tf.Variable(kernel, trainable=False)))

    def predict(images):
        with keras.StatelessScope() as scope:
            for weight, kernel in kept:
                scope.add_update((weight, tf.convert_to_tensor(kernel)))
            return network(images, training=False)

    return predict


def _layers(network):
    for layer in network.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else [layer]


def _each(function, batch, size):
    """Calls a function of one image for each of a batch, side by side."""
    some = tf.Assert(
        tf.shape(batch)[0] > 0, ["A batch must hold an image. Received: none."]
    )
    spec = tf.TensorSpec([*size, 3], tf.uint8)
    with tf.control_dependencies([some]):
        return tf.map_fn(function, batch, fn_output_signature=spec)


def _as_pixels(images):
    """uint8 of floats, none of which may be out of range, or not a number."""
    within = tf.Assert(
        tf.reduce_all(tf.abs(images - 127.5) <= 127.5),
        ["Pixels must be numbers from 0 to 255. Received: some that are not."],
    )
    with tf.control_dependencies([within]):
        return tf.cast(tf.round(images), tf.uint8)
