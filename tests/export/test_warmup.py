import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from clouds.export import warmup
from clouds.schema import Bands

INPUTS = {
    "serving_default": tf.TensorSpec([None], tf.string, "image_bytes"),
    "images": tf.TensorSpec([None, None, None, 3], tf.float32, "images"),
    "images_uint8": tf.TensorSpec([None, None, None, 3], tf.uint8, "images"),
}


def test_the_official_classes_read_a_request_for_each_signature(tmp_path):
    warmup.write(tmp_path / "requests", "clouds", INPUTS)
    found = {}
    for record in tf.data.TFRecordDataset(str(tmp_path / "requests")):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        assert log.WhichOneof("log_type") == "predict_log"
        request = log.predict_log.request
        assert request.model_spec.name == "clouds"
        ((key, tensor),) = request.inputs.items()
        found[request.model_spec.signature_name] = key, tf.make_ndarray(tensor)
    assert {name: key for name, (key, _) in found.items()} == {
        name: spec.name for name, spec in INPUTS.items()
    }
    floats, pixels = found["images"][1], found["images_uint8"][1]
    assert floats.dtype == np.float32
    assert pixels.dtype == np.uint8
    assert pixels.std() > 10
    np.testing.assert_array_equal(floats, pixels)
    (jpeg,) = found["serving_default"][1]
    off = tf.io.decode_jpeg(jpeg).numpy().astype(int) - pixels[0]
    assert np.abs(off).mean() < 10


def test_other_bands_are_asked_for_in_pngs_or_numbers(tmp_path):
    for dtype, count in (("uint16", 2), ("float32", 5)):
        bands = Bands(tuple("abcde"[:count]), dtype)
        shape = [None, None, None, count]
        inputs = {"images": tf.TensorSpec(shape, dtype, "images")}
        if bands.as_png:
            inputs["file"] = tf.TensorSpec([None], tf.string, "image_bytes")
        warmup.write(tmp_path / "requests", "clouds", inputs, bands)
        found = []
        for record in tf.data.TFRecordDataset(str(tmp_path / "requests")):
            log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
            (tensor,) = log.predict_log.request.inputs.values()
            found.append(tf.make_ndarray(tensor))
        assert (found[0].dtype, found[0].shape) == (dtype, (1, 64, 96, count))
        if bands.as_png:
            decoded = tf.io.decode_png(found[1][0], 0, tf.uint16)
            np.testing.assert_array_equal(decoded, found[0][0])
