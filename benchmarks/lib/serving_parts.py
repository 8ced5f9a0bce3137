"""Writes what `serving.py` measures: serving_parts.py RUN SIZE PRECISION OUT.

OUT/model/1 is what `bin/export` makes of a run, OUT/parts the same in its parts: decode
and network give one pixel, so that no time goes into copying; OUT/weights.npz holds the
weights for segmentation-models. Without a RUN ('-') weights are random; with a SIZE
(320x480) the run's weights are put into a network of that.
"""

import dataclasses
import json
import shutil
import sys
from pathlib import Path

from clouds.cli import main as cli_main
from clouds.runtime import startup

startup.load("tensorflow")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from clouds import schema
from clouds.config.rule import Rule  # noqa: E402
from clouds.config.training import Training
from clouds.data.images import preprocessing
from clouds.export import signatures
from clouds.models import pretrained, unet
from clouds.postprocess import apply, functional
from clouds.runs import network, run_folder


def as_run(source, size, folder):
    """The folder of a run, made where there is none of this size."""
    if source != "-" and not size:
        return source
    folder.mkdir()
    size = size or schema.NETWORK_SIZE
    if source == "-":
        unet.build(size).save_weights(folder / run_folder.WEIGHTS)
        settings = Training(records="none", run=str(folder), size=size)
    else:
        for name in (run_folder.WEIGHTS, run_folder.RULE):
            if Path(source, name).exists():
                shutil.copy(Path(source, name), folder / name)
        settings = dataclasses.replace(run_folder.settings(source), size=size)
    (folder / run_folder.CONFIG).write_text(json.dumps(dataclasses.asdict(settings)))
    return str(folder)


def write_weights(folder, settings, path):
    """Numbers the arrays of each layer in the order of Keras 2; and the size."""
    arrays = {
        f"{layer}/{number}": array
        for layer, by_number in pretrained.read(
            Path(folder, run_folder.WEIGHTS)
        ).items()
        for number, array in by_number.items()
    }
    np.savez(path, size=settings.size, **arrays)


def write_parts(folder, settings, precision, path):
    """The graph of the export, in three."""
    predict = signatures.cast_kernels_once(
        network.load_one(folder, precision=precision)
    )
    size, grid = settings.size, schema.SUBMISSION_SIZE
    archive = keras.export.ExportArchive()

    def each(contents):
        return tf.map_fn(
            lambda one: preprocessing.decode(preprocessing.limited(one), size)[0],
            contents,
            fn_output_signature=tf.TensorSpec([*size, 3], tf.uint8),
        )

    def judge(images, probabilities):
        rule = run_folder.rule(folder) or Rule()
        text, area = apply(
            probabilities, rule, images, grid, outputs=("rle", "areas")
        ).values()
        score = functional.presence(functional.resize(probabilities, grid))
        return {"rle": text, "area": area, "score": score}

    def pixel(batch):
        return {"pixel": batch[:, 0, 0]}

    contents = tf.TensorSpec([None], tf.string, "image_bytes")
    images = tf.TensorSpec([None, *size, 3], tf.uint8, "images")
    found = tf.TensorSpec([None, *size, 4], tf.float32, "probabilities")
    for name, function, specs in (
        ("decode", lambda image_bytes: pixel(each(image_bytes)), [contents]),
        ("decoded", lambda image_bytes: {"images": each(image_bytes)}, [contents]),
        ("network", lambda images: pixel(predict(images)), [images]),
        ("postprocess", judge, [images, found]),
    ):
        archive.add_endpoint(name, function, input_signature=specs)
    archive.write_out(str(path), verbose=False)


def main():
    """Writes all."""
    source, size, precision, out = sys.argv[1:]
    size = None if size == "-" else tuple(map(int, size.split("x")))
    out = Path(out)
    folder = as_run(source, size, out / "run")
    settings = run_folder.settings(folder)
    if (settings.preprocess, settings.decode) != ("unit", "reduced"):
        sys.exit("The run must be of --preprocess unit and of records not exact.")
    flags = ["--run", folder, "--out", str(out / "model"), "--precision", precision]
    if cli_main.main(["export", *flags]):
        sys.exit(1)
    write_parts(folder, settings, precision, out / "parts")
    write_weights(folder, settings, out / "weights.npz")


if __name__ == "__main__":
    main()
