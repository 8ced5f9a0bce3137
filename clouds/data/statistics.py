"""Mean and standard deviation of the bands of training images."""

import numpy as np

from clouds.data import pipeline
from clouds.data.manifest import Manifest
from clouds.errors import InputError
from clouds.runtime import progress

_BATCH_SIZE = 16


def measure(folder: str, manifest: Manifest) -> tuple[tuple, tuple]:
    """Measures the bands of all training images, at the size of the records.

    Args:
      folder: folder of the records.
      manifest: manifest of the records.

    Returns:
      Mean and standard deviation of each band.

    Raises:
      InputError: a band has one value only, or a shard is damaged.
    """
    names = manifest.bands.names
    count, first, second = 0, np.zeros(len(names)), np.zeros(len(names))
    images = pipeline.train_images(folder, manifest, _BATCH_SIZE)
    total = manifest.examples("train")
    with (
        pipeline.naming_damaged_shards(folder, manifest),
        progress.bar(desc="statistics", unit="image", total=total) as bar,
    ):
        for batch in images.as_numpy_iterator():
            values = batch.reshape(-1, len(names)).astype(np.float64)
            count += len(values)
            first += values.sum(0)
            second += (values * values).sum(0)
            bar.update(len(batch))
    means = first / count
    deviations = np.sqrt(np.maximum(second / count - means**2, 0))
    # float64 leaves a remainder of values that are all the same.
    for name, mean, deviation in zip(names, means, deviations, strict=True):
        if deviation <= 1e-6 * abs(mean):
            raise InputError(
                f"{folder}: the band {name} has the value {mean:g} in all training "
                "images. Make records without it, or give --preprocess unit or raw."
            )
    return tuple(means.tolist()), tuple(deviations.tolist())
