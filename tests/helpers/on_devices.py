"""What test_devices.py runs in processes of their own, with a small network.

python tests/helpers/on_devices.py MODE RECORDS RUN FLAGS…
"""

import json
import sys
from pathlib import Path

sys.path[:0] = map(str, Path(__file__).parents[1:3])

from helpers import small  # noqa: E402

FLAGS = ["--batch-size", "16", "--precision", "float32", "--checkpoint-every", "1"]
FLAGS += ["--epochs", "10", "--stop-patience", "99", "--plateau-patience", "99"]
UNMOVED = {"horizontal_flip": 0.0, "vertical_flip": 0.0}
UNMOVED |= {"grid_distortion": 0.0, "elastic": 0.0}


def train(records, run, *flags):
    """The command, without augmentation and without the time that pictures take."""
    import cv2
    import numpy as np

    from clouds.cli import main
    from clouds.runtime import startup

    startup.load("clouds.models.unet").build = small.build
    startup.load("clouds.plots.common").save = lambda figure, path: cv2.imwrite(
        str(path), np.zeros((2, 2, 3), "uint8")
    )
    flags = [*FLAGS, *flags]
    for name, chance in UNMOVED.items():
        flags += [f"--{name.replace('_', '-')}", str(chance)]
    return main.main(["train", "--records", records, "--run", run, *flags])


def jax(records, run):
    """Trains on one device and on two, and moves a batch on one and on two."""
    assert train(records, f"{run}/one") == 0
    moved = [_moved()]
    assert train(records, f"{run}/two", "--devices", "2") == 0
    moved.append(_moved())
    assert train(records, f"{run}/odd", "--devices", "2", "--batch-size", "15") == 2
    print(json.dumps(moved))


def mirrored(records, run):
    """Losses on two devices of TensorFlow, and on one for comparison."""
    import numpy as np
    import tensorflow as tf

    from clouds.config.training import Training
    from clouds.models import unet
    from clouds.training import distribution
    from clouds.training import trainer as trainer_module

    unet.build = small.build
    settings = Training(
        records=records,
        run=run,
        size=(32, 48),
        precision="float32",
        batch_size=8,
        devices=2,
        **UNMOVED,
    )
    on = distribution.start(settings)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (8, 32, 48, 3), np.uint8)
    masks = (rng.random((8, 32, 48, 4)) < rng.random((8, 1, 1, 4))).astype(np.uint8)
    weights = trainer_module.build(settings).get_weights()

    def fit(on, *parts, steps=1):
        with on.scope():
            trainer = trainer_module.build(settings)
        trainer.set_weights(weights)
        batch = tuple(np.concatenate([x[p] for p in parts]) for x in (images, masks))
        batches = tf.data.Dataset.from_tensors((batch, batch[1])).repeat()
        options = {"steps_per_epoch": 1, "epochs": steps, "shuffle": False}
        return trainer, trainer.fit(batches, **options, verbose=0).history["loss"]

    def judge(trainer, on):
        few = tf.data.Dataset.from_tensor_slices((images, masks)).take(7).batch(3)
        few = few.map(on.repeat).map(trainer_module._with_targets)
        return trainer.evaluate(few, verbose=0, return_dict=True)

    one = distribution.Devices()
    first, second = slice(4), slice(4, 8)
    of_two, twice = fit(on, first, first, steps=10)
    of_one, once = fit(one, first, steps=10)
    of_one.set_weights(of_two.get_weights())
    found = {
        "twice": twice,
        "once": once,
        "judged_by_two": judge(of_two, on),
        "judged_by_one": judge(of_one, one),
        "both": fit(on, first, second)[1],
        "whole": fit(one, first, second)[1],
        "halves": [fit(one, half)[1][0] for half in (first, second)],
        "moved": [_moved(), _moved(on.strategy)],
    }
    print(json.dumps(found))


def _moved(strategy=None):
    """The pixels of four equal images, moved at random, on TensorFlow by replicas."""
    import numpy as np

    from clouds.training import augment

    rng = np.random.default_rng(0)
    images = np.repeat(rng.integers(0, 256, (1, 32, 48, 3), np.uint8), 4, axis=0)
    masks = images[..., :1] // 128
    options = {"grid_distortion": 0.5, "elastic": 0.5, "elastic_sigma": 5}
    if strategy is None:
        moved, _ = augment.build(**options)((images, masks), training=True)
        return np.asarray(moved).tolist()
    import tensorflow as tf

    with strategy.scope():
        layer = augment.build(**options)

    @tf.function
    def move():
        return layer((images[:2], masks[:2]), training=True)[0]

    parts = strategy.experimental_local_results(strategy.run(move))
    return np.concatenate(parts).tolist()


if __name__ == "__main__":
    mode, *arguments = sys.argv[1:]
    sys.exit({"train": train, "jax": jax, "mirrored": mirrored}[mode](*arguments))
