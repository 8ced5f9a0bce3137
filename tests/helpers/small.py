"""The commands with a network so small that a step takes no time.

python tests/helpers/small.py train --records DIR --run DIR
"""

import sys
from pathlib import Path


def build(size, classes=4, *, class_head=False, bands=3, dtype=None):
    """Takes the place of `unet.build`."""
    import keras
    from keras import layers

    from clouds.models import heads

    images = keras.Input((*size, bands), name="images")
    x = layers.Conv2D(4, 3, padding="same", name="first", dtype=dtype)(images)
    features = x = layers.BatchNormalization(name="bn", dtype=dtype)(x)
    x = layers.Conv2D(classes, 3, padding="same", name="final_conv", dtype=dtype)(x)
    logits = layers.Activation("linear", dtype="float32")(x)
    if class_head:
        pooled = layers.AveragePooling2D(8)(features)
        logits = [logits, heads.presence(pooled, logits, dtype=dtype)]
    return keras.Model(images, logits, name="unet_resnet34")


def build_smooth(size, classes=4, *, class_head=False, bands=3, dtype=None):
    """The same for probabilities without specks, as trained networks give them."""
    import keras
    from keras import layers

    images = keras.Input((*size, bands), name="images")
    x = layers.AveragePooling2D(8, name="pool", dtype=dtype)(images)
    x = layers.Conv2D(
        8, 3, padding="same", activation="relu", name="first", dtype=dtype
    )(x)
    x = layers.Conv2D(classes, 1, name="final_conv", dtype=dtype)(x)
    x = layers.UpSampling2D(8, interpolation="bilinear", name="up", dtype=dtype)(x)
    logits = layers.Activation("linear", dtype="float32")(x)
    return keras.Model(images, logits, name="unet_resnet34")


def write_run(folder: Path, records, *, fold=None, seed=0, size=(64, 96), **others):
    """A run's folder with random weights for `build_smooth`, as if it was trained."""
    import keras

    from clouds.config.training import Training
    from clouds.runs import run_folder

    keras.utils.set_random_seed(seed)
    given = {"records": str(records), "run": str(folder), "fold": fold, "size": size}
    settings = Training(**given, precision="float32", **others)
    run_folder.create(settings, {"started": "now"})
    network = build_smooth(size, bands=len(settings.band_names))
    last = network.get_layer("final_conv")
    last.kernel.assign(4 * last.kernel)
    run_folder.save_weights(network, folder)
    return folder


if __name__ == "__main__":
    sys.path[:0] = map(str, Path(__file__).parents[1:3])
    from clouds.cli import main
    from clouds.runtime import startup

    # Other commands start without TensorFlow, which takes seconds to import.
    if {"train", "evaluate", "predict", "report", "export"} & {*sys.argv[1:2]}:
        startup.load("clouds.models.unet").build = build
    sys.exit(main.main())
