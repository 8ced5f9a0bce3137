"""Predicts masks of images and writes the plain and the post-processed submission."""

import contextlib
import functools
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf
from tqdm import tqdm

from clouds import config, images, pixels, postprocess, run, schema, table
from clouds.errors import InputError

PLAIN, CLEANED = "submission.csv", "submission_post.csv"


def predict(settings: config.Prediction) -> None:
    """Predicts one batch after another, and writes the rows as they come.

    Args:
      settings: the run, the images, and how to post-process.

    Raises:
      InputError: run or images cannot be read. No submission is written then.
    """
    found = images.find(settings.images)
    rows = _rows(settings, found)
    names = [name for name, _ in rows]
    where = settings.sample_submission or settings.images
    files = images.pick(found, names, where, settings.images)
    network = run.load(settings.run)
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    parts = [out / f"{name}.part" for name in (PLAIN, CLEANED)]
    try:
        with contextlib.ExitStack() as stack:
            submissions = [stack.enter_context(part.open("w")) for part in parts]
            for submission in submissions:
                submission.write(",".join(table.COLUMNS) + "\n")
            for image, labels, texts in _predictions(settings, network, rows, files):
                for submission, of_image in zip(submissions, texts, strict=True):
                    for label in labels:
                        name = f"{image}_{schema.LABELS[label]}"
                        submission.write(f"{name},{of_image[label].decode()}\n")
    except BaseException:
        for part in parts:
            part.unlink(missing_ok=True)
        raise
    for part in parts:
        part.replace(part.with_suffix(""))
    print(f"{len(rows)} images: {out / PLAIN} and {out / CLEANED}")


def _rows(settings: config.Prediction, found: dict[str, str]) -> list[tuple]:
    """The images in the submission's order, each with the order of its labels."""
    if settings.sample_submission is None:
        return [(name, list(range(len(schema.LABELS)))) for name in found]
    return _rows_of_sample(settings.sample_submission)


def _rows_of_sample(path: str) -> list[tuple]:
    sample = table.read(path)
    for name, rows in zip(sample.images, sample.rows, strict=True):
        if rows.max() - rows.min() >= len(schema.LABELS):
            raise InputError(
                "The rows of one image must stand together. Received: those of "
                f"{name} apart, in {path}, rows {rows.min()} and {rows.max()}. "
                "Sort the csv by its first column."
            )
    orders = sample.rows.argsort(axis=1).tolist()
    return list(zip(sample.images, orders, strict=True))


def _predictions(settings, network: keras.Model, rows, files) -> Iterator[tuple]:
    """Yields the image, its labels' order, and its plain and cleaned texts."""

    @tf.function(reduce_retracing=True)
    def write(probabilities):
        probabilities = postprocess.resize(probabilities, schema.SUBMISSION_SIZE)
        plain = postprocess.to_rle(probabilities > settings.threshold)
        return plain, postprocess.clean_to_rle(
            probabilities, settings.threshold, settings.min_size
        )

    decode = functools.partial(
        _decode,
        size=network.input_shape[1:3],
        exact=run.settings(settings.run).decode == "exact",
    )
    batches = iter(
        tf.data.Dataset.from_tensor_slices(files)
        .map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(settings.batch_size)
        .prefetch(2)
    )
    done = 0
    with tqdm(total=len(rows), unit="image", disable=None, desc="predict") as bar:
        while done < len(rows):
            try:
                batch = next(batches)
            except tf.errors.InvalidArgumentError as error:
                of_batch = files[done : done + settings.batch_size]
                raise _unreadable(of_batch, decode) from error
            texts = write(network.predict_on_batch(batch))
            for of_image in zip(*(text.numpy() for text in texts), strict=True):
                yield *rows[done], of_image
                done += 1
                bar.update()


def _decode(file: tf.Tensor, size: tuple[int, int], exact: bool) -> tf.Tensor:
    return pixels.decode(images.read(file), size, exact=exact)[0]


def _unreadable(files: list[str], decode) -> InputError:
    """Finds the file on which a batch failed; tf.data does not name it."""
    for file in files:
        try:
            decode(tf.constant(file))
        except tf.errors.InvalidArgumentError:
            break
    return images.undecodable(file)
