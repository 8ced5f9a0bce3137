import numpy as np
import pytest
import tensorflow as tf

from clouds.data import manifest, statistics
from clouds.errors import InputError


def test_statistics_are_those_of_all_training_pixels(band_sample, band_records):
    stored = manifest.read(str(band_records))
    lines = (band_records / "split.csv").read_text().splitlines()[1:]
    names = [
        name for name, split in (line.split(",") for line in lines) if split == "train"
    ]
    paths = [band_sample / "train_images" / name for name in names]
    images = [tf.io.decode_png(path.read_bytes(), 0, tf.uint16) for path in paths]
    values = np.array(images).astype(float).reshape(-1, 2)
    means, deviations = statistics.measure(str(band_records), stored)
    np.testing.assert_allclose(means, values.mean(0))
    np.testing.assert_allclose(deviations, values.std(0))


def test_a_constant_band_is_named(band_records, monkeypatch):
    stored = manifest.read(str(band_records))
    batch = np.stack([np.arange(6.0), np.full(6, 280.1)], axis=-1).reshape(1, 2, 3, 2)
    dataset = tf.data.Dataset.from_tensors(batch.astype(np.float32))
    monkeypatch.setattr("clouds.data.pipeline.train_images", lambda *_: dataset)
    with pytest.raises(InputError, match="the band ir has the value 280.1 in all"):
        statistics.measure(str(band_records), stored)
