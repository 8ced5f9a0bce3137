"""Results of chunks of images, and the files that are made of them.

Each chunk is a JSON file with a checksum, so that a result is written once and is not
lost. Names are in the order of the list of images.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

import tensorflow as tf

from clouds import rle
from clouds.data.masks.csv_rows import STANDARD
from clouds.errors import InputError
from clouds.runtime import checksums, files
from clouds.runtime.json_types import NUMBER
from clouds.schema import MaskSpec

PART = "part."
"""Prefix of the folders into which a runner writes."""
SUBMISSION, SCORES, FAILED = "submission_post.csv", "scores.csv", "failed.csv"

_RESULT = {"image": str, "rle?": [str], "scores?": [NUMBER], "failed?": str}


def path_of(out: str, chunk: int) -> str:
    """Returns the path of a chunk's file."""
    return f"{out}/chunk-{chunk:05d}.json"


def write_chunk(
    out: str, chunk: int, names: Sequence[str], found: Sequence[dict], spec: MaskSpec
) -> None:
    """Checks and writes the results of a chunk.

    Args:
      out: folder.
      chunk: number of the chunk.
      names: names of its images.
      found: results (see `inference.predict`), in any order.
      spec: labels and grid of the masks.

    Raises:
      RuntimeError: an image has no result or several, or a result is malformed.
    """
    by_name = {result["image"]: result for result in found}
    if sorted(names) != sorted(result["image"] for result in found):
        missing = sorted(set(names) - set(by_name))
        raise RuntimeError(
            f"The runner returned {len(found)} results for {len(names)} images; "
            f"{len(missing)} have none, first {missing[:1]}."
        )
    for result in found:
        if "failed" not in result:
            for text in result["rle"]:
                rle.parse(text, spec.grid, where=result["image"])
            if len(result["rle"]) != len(spec.labels):
                raise RuntimeError(f"{result['image']} has {len(result['rle'])} masks.")
    ordered = [by_name[name] for name in names]
    checksums.write_json(path_of(out, chunk), {"images": ordered})


def read_chunk(out: str, chunk: int) -> list[dict] | None:
    """Reads the results of a chunk; None if it has none yet.

    Raises:
      InputError: its file is damaged.
    """
    path = path_of(out, chunk)
    if not tf.io.gfile.exists(path):
        return None
    try:
        return checksums.read_json(path, {"images": [_RESULT]})["images"]
    except ValueError as error:
        raise InputError(
            f"{path} is damaged ({error}). Remove it and run the same command again: "
            "its images are predicted again."
        ) from error


def write_tables(
    out: str, results: Iterator[dict], labels: Sequence[str]
) -> tuple[int, int]:
    """Writes the csv files.

    Args:
      out: folder.
      results: results of all images, in order.
      labels: names of the labels.

    Returns:
      The number of images with masks, and of those that failed.
    """
    drawn = failed = 0
    with (
        files.writing(f"{out}/{SUBMISSION}") as masks_file,
        files.writing(f"{out}/{SCORES}") as scores_file,
        files.writing(f"{out}/{FAILED}") as failed_file,
    ):
        masks, scores, reasons = (
            csv.writer(file, lineterminator="\n")
            for file in (masks_file, scores_file, failed_file)
        )
        masks.writerow(STANDARD.arrange(STANDARD.columns))
        scores.writerow(["image", *labels])
        reasons.writerow(["image", "reason"])
        for result in results:
            name = result["image"]
            if "failed" in result:
                failed += 1
                reasons.writerow([name, result["failed"]])
                continue
            drawn += 1
            for label, text in zip(labels, result["rle"], strict=True):
                masks.writerow(STANDARD.row(name, label, text))
            scores.writerow([name, *(f"{score:.6f}" for score in result["scores"])])
    return drawn, failed


def find_chunks(out: str) -> list[str]:
    """Returns the names of the files of chunks in a folder."""
    names = tf.io.gfile.listdir(out)
    return [name for name in names if PurePosixPath(name).match("chunk-*.json")]


def clear(out: str) -> None:
    """Removes all results of a folder."""
    tables = {SUBMISSION, SCORES, FAILED}.intersection(tf.io.gfile.listdir(out))
    for name in (*find_chunks(out), *tables):
        tf.io.gfile.remove(f"{out}/{name}")


def clear_parts(out: str) -> None:
    """Removes what a runner left that was killed."""
    for name in tf.io.gfile.listdir(out):
        if name.startswith(PART) and tf.io.gfile.isdir(f"{out}/{name}"):
            tf.io.gfile.rmtree(f"{out}/{name.rstrip('/')}")
