"""Signatures of exported models: graphs from requests to answers (TensorFlow).

Requests hold `image_bytes` string[B], JPEG, PNG or BMP files, or `images` [B, H, W, 3],
pixels of 0..255 in RGB of any size. Of other bands, `image_bytes` are PNGs, if a PNG
can hold them, and `images` [B, H, W, K] are their values. Answers have the batch
dimension first, since servers batch requests:

- `rle` string[B, C], the post-processed masks in the competition's format;
- `score` float32[B, C], the score of the label's presence (`apply.presence_scores`);
- `area` int32[B, C], the number of pixels of the masks;
- `label` string[B, C], the labels, the same for each image;
- `grid` int32[B, 2], height and width of the grid of masks and areas, too.

Pixels and masks are processed
by the same functions as in training and in `bin/predict`.
"""

import functools
from collections.abc import Callable

import keras
import tensorflow as tf

from clouds.config.rule import Rule
from clouds.data.images import graph_formats, preprocessing
from clouds.models.layers import UpsampledConv2D
from clouds.postprocess import apply
from clouds.runs.network import split
from clouds.schema import CLOUDS, RGB, Bands, MaskSpec

DEFAULT = "serving_default"

Signature = tuple[Callable, tf.TensorSpec]
"""A function from a tensor to a dict of tensors, and the type of its input."""


def build(
    network: keras.Model,
    rule: Rule,
    *,
    records_size: tuple[int, int] | None = None,
    exact: bool = False,
    spec: MaskSpec = CLOUDS,
    bands: Bands = RGB,
) -> dict[str, Signature]:
    """Builds the signatures of a network.

    Args:
      network: network of runs, from `network.load`.
      rule: post-processing rule.
      records_size: size of the images in the records of the training (see
        `preprocessing.decode_as_in_records`).
      exact: whether the network was trained on exactly decoded images (see
        `preprocessing.decode`).
      spec: labels and grid of the masks.
      bands: bands of the images.

    Returns:
      By name: `serving_default` from `image_bytes`, `images` from float32 and
      `images_uint8` from uint8 to all outputs in the module's docstring;
      `probabilities` from `image_bytes` to `probabilities` float32[B, h, w, C];
      `masks_png` from `image_bytes` to `mask_bytes` string[B, C], black and white
      PNGs. Of other bands than RGB, `images` is of their dtype, there is no
      `images_uint8`, and where no PNG holds the bands, all are from `images`. Bytes
      that cannot be decoded, and pixels out of range, raise `InvalidArgumentError` for
      the entire batch.
    """
    size, grid = network.input_shape[1:3], spec.grid
    # Functions of their own, which the signatures share: each is traced, stored and
    # loaded once.
    predict = tf.function(cast_kernels_once(network), autograph=False)

    def resize(image):
        return preprocessing.resize_as_in_records(
            image, size, records_size, exact=exact
        )

    def decode(contents):
        contents = preprocessing.limited(contents, bands)
        if bands != RGB:
            return resize(graph_formats.decode_bands(contents, bands))
        return preprocessing.decode_as_in_records(
            contents, size, records_size, exact=exact
        )[0]

    def draw(images, outputs):
        probabilities, scores = split(predict(images))
        options = {"class_scores": scores, "outputs": outputs}
        return apply(probabilities, rule, images, grid, **options)

    @functools.partial(tf.function, autograph=False)
    def answer(images):
        answers = draw(images, ("rle", "scores", "areas"))
        return {
            "rle": answers["rle"],
            "score": answers["scores"],
            "area": answers["areas"],
            "label": tf.tile([spec.labels], [tf.shape(images)[0], 1]),
            "grid": tf.tile([spec.grid], [tf.shape(images)[0], 1]),
        }

    def masks_png(images):
        masks = draw(images, ("masks",))["masks"]
        planes = tf.transpose(tf.cast(masks, tf.uint8) * 255, [0, 3, 1, 2])[..., None]
        return {"mask_bytes": tf.io.encode_png(planes)}

    resized = tf.TensorSpec([*size, len(bands.names)], bands.dtype)

    def from_files(function):
        given = tf.TensorSpec([None], tf.string, "image_bytes")
        return lambda image_bytes: function(_map(decode, image_bytes, resized)), given

    def from_pixels(function, dtype=bands.dtype):
        given = tf.TensorSpec([None, None, None, len(bands.names)], dtype, "images")
        return (
            lambda images: function(
                _map(resize, _check_pixels(images, bands), resized)
            ),
            given,
        )

    from_any = from_files if bands.as_png else from_pixels
    built = {
        DEFAULT: from_any(answer),
        "probabilities": from_any(
            lambda images: {"probabilities": split(predict(images))[0]}
        ),
        "images": from_pixels(answer),
    }
    if bands == RGB:
        built["images"] = from_pixels(answer, "float32")
        built["images_uint8"] = from_pixels(answer)
    return built | {"masks_png": from_any(masks_png)}


def cast_kernels_once(network: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns a network as a function that does not cast its kernels for each batch.

    It stores kernels in the compute dtype of their layers; bfloat16 halves their size.

    Args:
      network: trained network.
    """
    casts = []
    for layer in _layers(network):
        if isinstance(layer, UpsampledConv2D):
            layer.fix_kernels()
        elif hasattr(layer, "kernel") and layer.compute_dtype != "float32":
            kernel = tf.cast(layer.kernel.value, layer.compute_dtype)
            casts.append((layer.kernel, tf.Variable(kernel, trainable=False)))

    def predict(images):
        with keras.StatelessScope() as scope:
            for weight, kernel in casts:
                scope.add_update((weight, tf.convert_to_tensor(kernel)))
            return network(images, training=False)

    return predict


def _layers(network):
    for layer in network.layers:
        yield from _layers(layer) if isinstance(layer, keras.Model) else [layer]


def _map(function, batch, spec):
    """Calls a function of one image for each image of a batch, in parallel."""
    not_empty = tf.Assert(
        tf.shape(batch)[0] > 0, ["A batch must hold an image. Received: none."]
    )
    with tf.control_dependencies([not_empty]):
        return tf.map_fn(function, batch, fn_output_signature=spec)


def _check_pixels(images, bands):
    """Converts colours to uint8; floats out of range, NaN and 0..1 are errors."""
    images = tf.convert_to_tensor(images)
    if images.dtype.is_integer:
        return images
    if bands != RGB:
        message = "Values must be finite numbers. Received: some that are not."
        finite = tf.Assert(tf.reduce_all(tf.math.is_finite(images)), [message])
        with tf.control_dependencies([finite]):
            return tf.identity(images)
    brightest = tf.reduce_max(images, axis=[1, 2, 3])
    in_range = tf.Assert(
        tf.reduce_all(tf.abs(images - 127.5) <= 127.5),
        ["Pixels must be numbers from 0 to 255. Received: some that are not."],
    )
    not_unit = tf.Assert(
        ~tf.reduce_any((brightest > 0) & (brightest <= 1)),
        ["Pixels must be numbers from 0 to 255. Received: an image of 0 to 1 only."],
    )
    with tf.control_dependencies([in_range, not_unit]):
        return tf.cast(tf.round(images), tf.uint8)
