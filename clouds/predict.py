"""Predicts masks of images: the plain and the post-processed submission, a picture."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from clouds import (
    config,
    data,
    images,
    manifest,
    pixels,
    plots,
    postprocess,
    rle,
    run,
    schema,
    table,
)
from clouds.errors import InputError

PLAIN, CLEANED = "submission.csv", "submission_post.csv"
OVERLAYS = "overlays.png"

_LABELS = range(len(schema.LABELS))


def predict(settings: config.Prediction) -> None:
    """Predicts one batch after another, and writes the rows as they come.

    Args:
      settings: the run, the images, and how to post-process.

    Raises:
      InputError: run or images cannot be read. No submission is written then.
    """
    trained = run.settings(settings.run)
    of_source = _from_records if settings.records else _from_files
    batches, orders, total = of_source(settings, trained)
    network = run.load(settings.run)
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    parts = [out / f"{name}.part" for name in (PLAIN, CLEANED)]
    drawn = {}
    try:
        with contextlib.ExitStack() as stack:
            submissions = [stack.enter_context(part.open("w")) for part in parts]
            for submission in submissions:
                submission.write(",".join(table.COLUMNS) + "\n")
            predictions = _predictions(settings, network, batches)
            for name, image, *texts in tqdm(
                predictions, "predict", total, unit="image", disable=None
            ):
                if len(drawn) < settings.overlays:
                    drawn[name] = image, texts[1]
                for submission, of_image in zip(submissions, texts, strict=True):
                    for label in orders.get(name, _LABELS):
                        text = of_image[label].decode()
                        submission.write(f"{name}_{schema.LABELS[label]},{text}\n")
    except BaseException:
        for part in parts:
            part.unlink(missing_ok=True)
        raise
    for part in parts:
        part.replace(part.with_suffix(""))
    written = f"{out / PLAIN} and {out / CLEANED}"
    if drawn:
        _draw(drawn, out / OVERLAYS)
        written += f"; the first {len(drawn)} are drawn in {out / OVERLAYS}"
    print(f"{total} images: {written}")


def _draw(images_and_texts: dict[str, tuple], path: Path) -> None:
    size = schema.SUBMISSION_SIZE
    shown, masks = [], []
    for image, texts in images_and_texts.values():
        shown.append(pixels.resize(image, size).numpy())
        masks.append(np.stack([rle.decode(t.decode(), size) for t in texts], -1))
    plots.overlays(shown, masks, path, titles=list(images_and_texts))


def _from_records(settings: config.Prediction, trained: config.Training) -> tuple:
    """Batches of names and images; the order of labels, of none; how many images."""
    folder = settings.records
    read = manifest.read(folder, labelled=False)

    def batches() -> Iterator[dict]:
        with data.damage_named(folder, read):
            yield from data.test_batches(
                folder, read, settings.batch_size, size=trained.size
            )

    return batches(), {}, read.examples("test")


def _from_files(settings: config.Prediction, trained: config.Training) -> tuple:
    """Batches of names and images; each one's order of labels; how many images."""
    found = images.find(settings.images)
    sample = settings.sample_submission
    orders = _orders(sample) if sample else dict.fromkeys(found, _LABELS)
    files = images.pick(found, list(orders), sample, settings.images)

    def decode(name: tf.Tensor, file: tf.Tensor) -> dict:
        contents = images.read(file)
        exact = trained.decode == "exact"
        return {
            "name": name,
            "image": pixels.decode(contents, trained.size, exact=exact)[0],
        }

    def batches() -> Iterator[dict]:
        done = 0
        decoded = (
            tf.data.Dataset.from_tensor_slices((list(orders), files))
            .map(decode, num_parallel_calls=tf.data.AUTOTUNE)
            .batch(settings.batch_size)
            .prefetch(2)
        )
        try:
            for batch in decoded:
                yield batch
                done += len(batch["name"])
        except tf.errors.OpError as error:
            of_batch = files[done : done + settings.batch_size]
            raise _unreadable(of_batch, decode) from error

    return batches(), orders, len(files)


def _unreadable(files: list[str], decode) -> InputError:
    """Finds the file on which a batch failed; tf.data does not name it."""
    for file in files:
        try:
            decode("", tf.constant(file))
        except tf.errors.OpError:
            break
    return images.undecodable(file)


def _orders(path: str) -> dict[str, list[int]]:
    """The images of a sample submission, each with the order of its labels."""
    sample = table.read(path)
    for name, rows in zip(sample.images, sample.rows, strict=True):
        if rows.max() - rows.min() >= len(schema.LABELS):
            raise InputError(
                "The rows of one image must stand together. Received: those of "
                f"{name} apart, in {path}, rows {rows.min()} and {rows.max()}. "
                "Sort the csv by its first column."
            )
    orders = sample.rows.argsort(axis=1).tolist()
    return dict(zip(sample.images, orders, strict=True))


def _predictions(settings, network: keras.Model, batches) -> Iterator[tuple]:
    """Yields an image's name, itself, and its labels' plain and cleaned texts."""

    @tf.function(reduce_retracing=True)
    def write(probabilities):
        probabilities = postprocess.resize(probabilities, schema.SUBMISSION_SIZE)
        plain = postprocess.to_rle(probabilities > settings.threshold)
        return plain, postprocess.clean_to_rle(
            probabilities, settings.threshold, settings.min_size
        )

    for batch in batches:
        shown = batch["image"].numpy()
        texts = (text.numpy() for text in write(network.predict_on_batch(shown)))
        names = [name.decode() for name in batch["name"].numpy()]
        yield from zip(names, shown, *texts, strict=True)
