"""The notebook's side of `serving.py`; arguments are the weights and the images.

For the environment of segmentation-models (TensorFlow 2.15, Keras 2). Prints a JSON
line when it is ready; answers each line, numbers of files, with the seconds that these
took to become text.
"""

import json
import os
import sys
import time
from pathlib import Path

os.environ["SM_FRAMEWORK"] = "tf.keras"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from lib import notebook


def build(stored, size):
    """The notebook's network, with the weights of ours."""
    import segmentation_models

    network = segmentation_models.Unet(
        "resnet34",
        input_shape=(*size, 3),
        classes=4,
        activation="sigmoid",
        encoder_weights=None,
    )
    by_layer = {}
    for key in stored:
        layer, number = key.rsplit("/", 1)
        by_layer.setdefault(layer, {})[int(number)] = stored[key]
    for layer in network.layers:
        if layer.weights:
            arrays = by_layer.pop(layer.name)
            layer.set_weights([arrays[number] for number in sorted(arrays)])
    if by_layer:
        raise SystemExit(f"Of no use to segmentation-models: {sorted(by_layer)}")
    return network


def main():
    """Answers."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    with np.load(sys.argv[1]) as archive:
        stored = dict(archive)
    # It takes multiples of 32 alone; ours pads others.
    size = tuple(int(side + -side % 32) for side in stored.pop("size"))
    network = build(stored, size)
    files = [Path(name).read_bytes() for name in sys.argv[2:]]
    print(json.dumps({"ready": len(files)}), file=answers)
    for line in sys.stdin:
        chosen = [files[int(number)] for number in line.split()]
        start = time.perf_counter()
        batch = np.stack([notebook.read(contents, size) for contents in chosen])
        notebook.texts(network.predict_on_batch(batch))
        print(json.dumps({"seconds": time.perf_counter() - start}), file=answers)


if __name__ == "__main__":
    main()
