"""Predicts masks of images and writes the plain and the post-processed submission."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf
from tqdm import tqdm

from clouds import config, pixels, postprocess, run, schema, table
from clouds.errors import InputError

PLAIN, CLEANED = "submission.csv", "submission_post.csv"

_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif"}


def predict(settings: config.Prediction) -> None:
    """Predicts one batch after another, and writes the rows as they come.

    Args:
      settings: the run, the images, and how to post-process.

    Raises:
      InputError: run or images cannot be read. No submission is written then.
    """
    rows = _rows(settings)
    network = run.load(settings.run)
    out = Path(settings.out)
    out.mkdir(parents=True, exist_ok=True)
    parts = [out / f"{name}.part" for name in (PLAIN, CLEANED)]
    try:
        with contextlib.ExitStack() as stack:
            files = [stack.enter_context(part.open("w")) for part in parts]
            for file in files:
                file.write(",".join(table.COLUMNS) + "\n")
            for image, labels, texts in _predictions(settings, network, rows):
                for file, of_image in zip(files, texts, strict=True):
                    for label in labels:
                        name = f"{image}_{schema.LABELS[label]}"
                        file.write(f"{name},{of_image[label].decode()}\n")
    except BaseException:
        for part in parts:
            part.unlink(missing_ok=True)
        raise
    for part in parts:
        part.replace(part.with_suffix(""))
    print(f"{len(rows)} images: {out / PLAIN} and {out / CLEANED}")


def _rows(settings: config.Prediction) -> list[tuple[str, list[int]]]:
    """The images in the submission's order, each with the order of its labels."""
    folder = Path(settings.images)
    if not folder.is_dir():
        raise InputError(
            f"--images must be a folder. Received: '{folder}', which is not. "
            "Check the path."
        )
    there = sorted(
        path.name for path in folder.iterdir() if path.suffix.lower() in _IMAGE_SUFFIXES
    )
    if not there:
        raise InputError(
            f"--images must hold images ({', '.join(sorted(_IMAGE_SUFFIXES))}). "
            f"Received: '{folder}', which holds none. Check the path."
        )
    if settings.sample_submission is None:
        return [(name, list(range(len(schema.LABELS)))) for name in there]
    return _rows_of_sample(settings.sample_submission, folder, set(there))


def _rows_of_sample(path: str, folder: Path, there: set[str]):
    sample = table.read(path)
    missing = [name for name in sample.images if name not in there]
    if missing:
        raise InputError(
            f"Each image of {path} must lie in {folder}. Received: no file for "
            f"{len(missing)} of {len(sample.images)}, the first {missing[0]}. "
            "Check --images."
        )
    for name, rows in zip(sample.images, sample.rows, strict=True):
        if rows.max() - rows.min() >= len(schema.LABELS):
            raise InputError(
                "The rows of one image must stand together. Received: those of "
                f"{name} apart, in {path}, rows {rows.min()} and {rows.max()}. "
                "Sort the csv by its first column."
            )
    orders = sample.rows.argsort(axis=1).tolist()
    return list(zip(sample.images, orders, strict=True))


def _predictions(settings, network: keras.Model, rows) -> Iterator[tuple]:
    """Yields the image, its labels' order, and its plain and cleaned texts."""

    @tf.function(reduce_retracing=True)
    def write(probabilities):
        probabilities = postprocess.resize(probabilities, schema.SUBMISSION_SIZE)
        plain = postprocess.to_rle(probabilities > settings.threshold)
        return plain, postprocess.clean_to_rle(
            probabilities, settings.threshold, settings.min_size
        )

    files = [str(Path(settings.images, name)) for name, _ in rows]
    size = network.input_shape[1:3]
    batches = iter(
        tf.data.Dataset.from_tensor_slices(files)
        .map(lambda file: _read(file, size), num_parallel_calls=tf.data.AUTOTUNE)
        .batch(settings.batch_size)
        .prefetch(2)
    )
    done = 0
    with tqdm(total=len(rows), unit="image", disable=None, desc="predict") as bar:
        while done < len(rows):
            try:
                images = next(batches)
            except tf.errors.InvalidArgumentError as error:
                batch = files[done : done + settings.batch_size]
                raise _unreadable(batch, size) from error
            texts = write(network.predict_on_batch(images))
            for of_image in zip(*(text.numpy() for text in texts), strict=True):
                yield *rows[done], of_image
                done += 1
                bar.update()


def _read(file: tf.Tensor, size) -> tf.Tensor:
    return pixels.decode(tf.io.read_file(file), size)[0]


def _unreadable(files: list[str], size) -> InputError:
    """Finds the file on which a batch failed; tf.data does not name it."""
    for file in files:
        try:
            _read(tf.constant(file), size)
        except tf.errors.InvalidArgumentError:
            break
    return InputError(
        f"Image must be a whole JPEG, PNG, BMP, WebP or GIF. Received: {file}, "
        f"{Path(file).stat().st_size} bytes, which cannot be decoded. Replace it, or "
        "take it out of the folder."
    )
