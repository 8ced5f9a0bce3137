"""Requests by which TensorFlow Serving warms a model up before others are let in.

A version's `assets.extra/tf_serving_warmup_requests` is a TFRecord of `PredictionLog`
protocol buffers. Their messages are written out here: the package that has them
(`tensorflow-serving-api`) is not needed to export.
"""

from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

from clouds.data import scenes

FILE = "tf_serving_warmup_requests"

_SIZE = (64, 96)

# Numbers of fields in tensorflow_serving/apis: prediction_log, predict, model.
_PREDICT_LOG, _REQUEST = 6, 1
_MODEL_SPEC, _INPUTS = 1, 2
_NAME, _SIGNATURE_NAME = 1, 3
_KEY, _VALUE = 1, 2


def write(path: Path, model: str, inputs: Mapping[str, tf.TensorSpec]) -> None:
    """Writes a request for each signature, of one procedural scene.

    Args:
      path: of the file.
      model: the name it is served under.
      inputs: by the signatures' names, what each takes: string[B] of image files, or
        pixels [B, H, W, 3].
    """
    image, _ = scenes.scene(0, _SIZE)
    jpeg = cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, spec in inputs.items():
            batch = [jpeg] if spec.dtype == tf.string else image[None]
            tensor = tf.make_tensor_proto(np.array(batch, spec.dtype.as_numpy_dtype))
            writer.write(_log(model, signature, spec.name, tensor.SerializeToString()))


def _log(model: str, signature: str, key: str, tensor: bytes) -> bytes:
    spec = _field(_NAME, model.encode()) + _field(_SIGNATURE_NAME, signature.encode())
    entry = _field(_KEY, key.encode()) + _field(_VALUE, tensor)
    request = _field(_MODEL_SPEC, spec) + _field(_INPUTS, entry)
    return _field(_PREDICT_LOG, _field(_REQUEST, request))


def _field(number: int, contents: bytes) -> bytes:
    """A field of bytes, or of a message, as protocol buffers are written."""
    return _varint(number << 3 | 2) + _varint(len(contents)) + contents


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the eighth says that there are more."""
    low, high = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(high) if high else bytes([low])
