"""Requests that TensorFlow Serving runs before it serves a version.

A version's `assets.extra/tf_serving_warmup_requests` is a TFRecord of `PredictionLog`
protocol buffers. They are encoded here, so that exporting does not need the package
`tensorflow-serving-api`.
"""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from clouds.data import scenes
from clouds.schema import RGB, Bands

FILE = "tf_serving_warmup_requests"

_SIZE = (64, 96)

# Field numbers in tensorflow_serving/apis: prediction_log, predict, model.
_PREDICT_LOG, _REQUEST = 6, 1
_MODEL_SPEC, _INPUTS = 1, 2
_NAME, _SIGNATURE_NAME = 1, 3
_KEY, _VALUE = 1, 2


def write(
    path: Path, model: str, inputs: Mapping[str, tf.TensorSpec], bands: Bands = RGB
) -> None:
    """Writes a request with a procedural scene for each signature.

    Args:
      path: file to write.
      model: name of the model on the server.
      inputs: type of each signature's input, string[B] of image files or pixels
        [B, H, W, K].
      bands: bands of the images; other than RGB show a scene's red in each.
    """
    image, _ = scenes.scene(0, _SIZE)
    if bands == RGB:
        file = cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
    else:
        image = np.repeat(image[..., :1], len(bands.names), -1).astype(bands.dtype)
        file = tf.io.encode_png(image).numpy() if bands.as_png else None
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, spec in inputs.items():
            batch = [file] if spec.dtype == tf.string else image[None]
            tensor = tf.make_tensor_proto(np.array(batch, spec.dtype.as_numpy_dtype))
            name = _field(_NAME, model.encode())
            name += _field(_SIGNATURE_NAME, signature.encode())
            entry = _field(_KEY, spec.name.encode())
            entry += _field(_VALUE, tensor.SerializeToString())
            request = _field(_MODEL_SPEC, name) + _field(_INPUTS, entry)
            writer.write(_field(_PREDICT_LOG, _field(_REQUEST, request)))


def _field(number: int, contents: bytes) -> bytes:
    """Encodes a field of bytes or of a message."""
    return _varint(number << 3 | 2) + _varint(len(contents)) + contents


def _varint(number: int) -> bytes:
    """Encodes 7 bits per byte, low bits first; the 8th bit says that more follow."""
    low, high = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(high) if high else bytes([low])
