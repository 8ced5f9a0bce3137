"""Predicts a chunk of images on a runner of Apache Beam, with its RunInference."""

import json
import uuid
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from apache_beam import Create, Map, Reshuffle
from apache_beam.io import WriteToText
from apache_beam.ml.inference.base import ModelHandler, RunInference

from clouds.archive import results
from clouds.config.archive import Archive
from clouds.data import beam
from clouds.data.images import image_bytes, image_files
from clouds.runs import exports
from clouds.runs.exports import Exported
from clouds.runtime import files
from clouds.schema import RGB, Bands

_SIGNATURE = "serving_default"
_INPUT = "image_bytes"


class Handler(ModelHandler):
    """Loads an exported model on each worker, and predicts batches of image files.

    Args:
      folder: folder of the version.
      batch_size: number of images per batch.
    """

    def __init__(self, folder: str, batch_size: int):
        super().__init__(max_batch_size=batch_size)
        self._folder = folder

    def load_model(self) -> Exported:
        """Loads the model."""
        return exports.load(self._folder)

    def run_inference(
        self, batch: Sequence[tuple[str, str]], model: Exported, inference_args=None
    ) -> Iterator[dict]:
        """Yields the result of each image (see `predict`)."""
        return predict(batch, model)


def predict(batch: Sequence[tuple[str, str]], exported: Exported) -> Iterator[dict]:
    """Predicts images.

    Args:
      batch: name and path of each image.
      exported: the model.

    Yields:
      For each image, `image` with `rle` and `scores` of each label; or with `failed`, a
      reason.
    """
    readable = []
    for name, path in batch:
        try:
            readable.append((name, path, _read(path, exported.bands)))
        except image_bytes.UNREADABLE as error:
            reason = " ".join(str(getattr(error, "message", error)).split())
            yield {"image": name, "failed": f"{path} cannot be read: {reason}"}
    contents = [content for _, _, content in readable]
    try:
        answers = _answer(contents, exported) if contents else []
    except tf.errors.InvalidArgumentError:
        # One image spoils its batch.
        answers = [_answer_alone(content, exported) for content in contents]
    for (name, path, _), answer in zip(readable, answers, strict=True):
        if answer is None:
            bands = exported.bands
            kinds = "JPEG, PNG or BMP" if bands == RGB else f"PNG of {bands}"
            reason = f"{path} cannot be decoded: expected a complete {kinds}"
            yield {"image": name, "failed": reason}
        else:
            yield {"image": name, **answer}


def _read(path: str, bands: Bands) -> bytes:
    """Reads a file as the model takes it; RGB as every other command reads it."""
    if bands == RGB:
        return image_files.read(tf.constant(path)).numpy()
    return image_bytes.load(path)


def _answer(contents: Sequence[bytes], exported: Exported) -> list[dict]:
    function = exported.model.signatures[_SIGNATURE]
    outputs = function(**{_INPUT: tf.constant(contents)})
    names = [name.decode() for name in outputs["label"][0].numpy()]
    order = [names.index(label) for label in exported.spec.labels]
    texts, scores = (np.take(outputs[x].numpy(), order, 1) for x in ("rle", "score"))
    return [
        {"rle": [text.decode() for text in row], "scores": numbers.tolist()}
        for row, numbers in zip(texts, scores, strict=True)
    ]


def _answer_alone(content: bytes, exported: Exported) -> dict | None:
    try:
        return _answer([content], exported)[0]
    except tf.errors.InvalidArgumentError:
        return None


def run(
    settings: Archive, version: str, images: Iterable[tuple[str, str]]
) -> list[dict]:
    """Predicts images on the runner.

    Args:
      settings: runner, its options, output folder and batch size.
      version: folder of the model's version.
      images: name and path of each image.

    Returns:
      The result of each image (see `predict`), in any order.

    Raises:
      InputError: the runner rejects its options.
    """
    folder = f"{settings.out}/{results.PART}{uuid.uuid4().hex}"
    pipeline, _ = beam.pipeline(settings.runner, settings.runner_options)
    try:
        with pipeline as root:
            (
                root
                | Create(list(images))
                | Reshuffle()
                | RunInference(Handler(version, settings.batch_size))
                | Map(json.dumps)
                | WriteToText(f"{folder}/results", file_name_suffix=".jsonl")
            )
        names = sorted(tf.io.gfile.listdir(folder))
        lines = (files.read(f"{folder}/{name}").decode() for name in names)
        return [json.loads(line) for text in lines for line in text.splitlines()]
    finally:
        if tf.io.gfile.isdir(folder):
            tf.io.gfile.rmtree(folder)
