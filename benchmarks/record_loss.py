"""Measures what the JPEG compression of records changes.

Prints, for the full-resolution images, the mean difference of a pixel between an image
as `bin/predict --images` takes it and as it is in records of 320x480, at several sizes
of the network; with --run also the Dice between the masks that a run predicts of both,
thresholded at 0.5 on the submission's grid.

Example:
  PYTHONPATH=. .venv/bin/python benchmarks/record_loss.py --run runs/first
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from lib import peers

from clouds import metrics, schema
from clouds.data import records
from clouds.data.images import preprocessing
from clouds.postprocess import functional
from clouds.runs import network

SIZES = (320, 480), (160, 240), (128, 192), (96, 144)


def both(paths, size):
    """The images of files and of records at a size, uint8[N, h, w, 3] each."""
    whole = schema.NETWORK_SIZE
    found = records.examples(
        [("", path) for path in paths], [(None, None)] * len(paths), size=whole
    )
    pairs = []
    for path, example in zip(paths, found, strict=True):
        stored = tf.train.Example.FromString(example).features.feature["image"]
        contents = tf.io.read_file(path), stored.bytes_list.value[0]
        pairs.append(
            [
                preprocessing.decode_as_in_records(c, size, whole)[0].numpy()
                for c in contents
            ]
        )
    return np.stack(pairs, axis=1)


def main(arguments):
    """Measures and prints."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    peers.add_data_flag(parser)
    parser.add_argument("--run", help="run whose masks are compared, too")
    options = parser.parse_args(arguments)
    folder = Path(peers.find(options.data)[1]).parent
    paths = sorted(map(str, folder.glob("*_images/*.jpg")))
    for size in SIZES:
        one, other = both(paths, size).astype(int)
        difference = f"{abs(one - other).mean():.2f} of 255"
        print(f"{size[0]}x{size[1]}: {difference}, {len(paths)} images")
    if not options.run:
        return
    model = network.load([options.run])
    masks = []
    for images in both(paths, model.input_shape[1:3]):
        probabilities, _ = network.predict(model, images)
        grid = schema.SUBMISSION_SIZE
        masks.append(functional.resize(probabilities, grid).numpy() > 0.5)
    one, other = masks
    pooled = 2 * (one & other).sum() / (one.sum() + other.sum())
    mean = float(metrics.mean_dice(one, other))
    print(f"masks: mean Dice {mean:.3f}, over all pixels {pooled:.3f}")


if __name__ == "__main__":
    main(sys.argv[1:])
